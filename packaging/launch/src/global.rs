//! The options that every command takes, and the commands that a hint names.

use crate::{data, failure::Failure, out};
use clap::Args;
use std::{path::PathBuf, sync::OnceLock};

/// The options of every command.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Directory of state and keys [default: /var/lib/gnomon as root, else ~/.local/state/gnomon]
    #[arg(long, global = true, value_name = "DIR", env = "GNOMON_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Log filter for standard error, for example `info` or `sensor=debug` [default: warn]
    #[arg(long, global = true, value_name = "FILTER", env = "GNOMON_LOG", hide_env_values = true)]
    pub(crate) log: Option<String>,
    /// Print one JSON object per line instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// The `--data` of this process, for its hints: a command line is given once.
static GIVEN_DATA: OnceLock<PathBuf> = OnceLock::new();

impl Global {
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(data::default_dir)
    }

    /// Keeps the data directory for the hints.
    pub(crate) fn remember(&self) {
        if let Some(data) = &self.data {
            GIVEN_DATA.get_or_init(|| data.clone());
        }
    }

    /// The line that a role prints once it runs.
    pub fn started(&self, role: &str, text: &str) -> Result<(), Failure> {
        if self.json {
            return out::object(&serde_json::json!({"event": "started", "role": role, "says": text, "pid": std::process::id()}));
        }
        out::line(format!("{role}: {text}"))
    }
}

/// A command for a hint, with the data directory that this one was given: `gnomon enforce confirm --data DIR`.
pub fn command(words: &str) -> String {
    match GIVEN_DATA.get() {
        Some(data) => format!("gnomon {words} --data {}", shell_word(&data.display().to_string())),
        None => format!("gnomon {words}"),
    }
}

/// The `--api` of this process, where it is not the default.
static GIVEN_API: OnceLock<String> = OnceLock::new();

/// Keeps the address of the admin API for the hints.
pub fn remember_api(url: &str) {
    GIVEN_API.get_or_init(|| url.to_owned());
}

/// A command for a hint that speaks to the same collector as this one: `gnomon findings --data DIR --api URL`.
pub fn admin_command(words: &str) -> String {
    match GIVEN_API.get() {
        Some(url) => format!("{} --api {}", command(words), shell_word(url)),
        None => command(words),
    }
}

/// A word as a shell takes it: quoted where it must be.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,[]".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_blank_or_a_quote_is_quoted() {
        let shown = ["/var/lib/gnomon", "/my state", "it's", ""].map(shell_word);
        assert_eq!(shown, ["/var/lib/gnomon", "'/my state'", r"'it'\''s'", "''"]);
    }
}
