//! `--config FILE`: one TOML section per component, each with the component's own shape and defaults. What no component
//! knows is refused, with the line and the nearest name.

use crate::failure::{Failure, Side};
use rules::policy::Policy;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};

/// Every key with its default and what it means, commented out.
pub const DEFAULTS: &str = include_str!("../config/gnomon.toml");

/// Everything a file may say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub sensor: sensor::Config,
    pub collector: collector::Config,
    pub enforcer: enforcer::Config,
    pub gateway: gateway::Config,
    /// What must answer for new blocks to stay.
    pub health: crate::health::Config,
    /// The site's policy, as long as none was set by the API. The collector's own section may hold it as well, but not both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

impl Config {
    /// Reads a file; without one, the defaults.
    pub fn load(path: Option<&Path>) -> Result<Config, Failure> {
        let Some(path) = path else { return Ok(Config::default()) };
        let text = std::fs::read_to_string(path).map_err(|why| {
            Failure::new(
                Side::Configuration,
                format!("cannot read {}: {why}", path.display()),
                "check the path, and that this user may read it",
            )
        })?;
        let mut config = parse::<Config>(&text, &path.display().to_string())?;
        if let Some(policy) = config.policy.take() {
            if config.collector.policy != Policy::default() {
                let what = format!("{}: both [policy] and [collector.policy] are set", path.display());
                return Err(Failure::new(Side::Configuration, what, "keep one of them"));
            }
            config.collector.policy = policy;
        }
        Ok(config)
    }

    pub fn collector_at(&self, data: &Path) -> collector::Config {
        let mut config = self.collector.clone();
        home(&mut config.data, &collector::Config::default().data, data);
        config
    }

    /// The spool is the sensor's memory over restarts.
    pub fn sensor_at(&self, data: &Path) -> sensor::Config {
        let mut config = self.sensor.clone();
        config.uplink.spool.get_or_insert_with(|| data.join("spool"));
        config.probe.memory.get_or_insert_with(|| data.join("probe.memory"));
        config.reset.memory.get_or_insert_with(|| data.join("reset.generation"));
        config.probe.scan.stop_file.get_or_insert_with(|| crate::scan::halt::file(data));
        config
    }

    pub fn enforcer_at(&self, data: &Path) -> enforcer::Config {
        let mut config = self.enforcer.clone();
        home(&mut config.data, &enforcer::Config::default().data, &data.join("enforcer"));
        config
    }

    pub fn gateway_at(&self, data: &Path) -> gateway::Config {
        let mut config = self.gateway.clone();
        home(&mut config.data, &gateway::Config::default().data, data);
        config
    }
}

/// What a component keeps, it keeps in the one data directory, unless its section says otherwise.
fn home(said: &mut PathBuf, unsaid: &Path, data: &Path) {
    if said == unsaid {
        *said = data.to_owned();
    }
}

/// `name` is what the reader calls the text: a path.
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

#[cfg(test)]
mod tests;
