//! The settings file: TOML, one section per role. An unknown key is refused, with its line and the nearest name.

use crate::failure::{Failure, Side};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Reads a file; without one, the defaults.
pub fn load<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, Failure> {
    let Some(path) = path else { return Ok(T::default()) };
    let text = std::fs::read_to_string(path).map_err(|why| {
        let what = format!("cannot read {}: {why}", path.display());
        Failure::new(Side::Configuration, what, "check the path, and that this user may read it")
    })?;
    parse(&text, &path.display().to_string())
}

/// The directory of a role's state: the data directory, unless its section names another one.
pub fn home(given: &mut PathBuf, default: &Path, data: &Path) {
    if given == default {
        *given = data.to_owned();
    }
}

/// `name` is the reader's name for the text: a path.
pub fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|why| {
        let (line, column) = why.span().map_or((1, 1), |span| position(text, span.start));
        let (what, todo) = unknown(why.message()).unwrap_or_else(|| {
            (why.message().trim().to_owned(), "`gnomon config defaults` prints every key with its default and its form".to_owned())
        });
        Failure::new(Side::Configuration, format!("{name}:{line}:{column}: {what}"), todo)
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// Reads serde's own sentence, ``unknown field `a`, expected one of `b`, `c` ``: what it is, and what to do.
fn unknown(message: &str) -> Option<(String, String)> {
    let (what, rest) = [("key", "unknown field "), ("value", "unknown variant ")]
        .into_iter()
        .find_map(|(what, start)| message.strip_prefix(start).map(|rest| (what, rest)))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let wrong = names.next()?;
    let known = names.collect::<Vec<_>>();
    let near = known.iter().map(|k| (strsim::jaro_winkler(wrong, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    let todo = match near {
        Some((score, best)) if score > 0.75 => format!("did you mean `{best}`?"),
        _ => format!("known here: {}", known.join(", ")),
    };
    Some((format!("unknown {what} `{wrong}`"), todo))
}

/// A role that trusts no key would refuse every set it is given; it says so at its start.
pub fn trusted(keys: &[String], role: &str) -> Result<(), Failure> {
    if keys.iter().any(|k| !k.trim().is_empty()) {
        return Ok(());
    }
    let todo = format!("give --trust KEY; `gnomon tokens issue --role {role}` at the collector prints it");
    Err(Failure::new(Side::CommandLine, format!("this {role} trusts nobody: no key is given that may sign for it"), todo))
}
