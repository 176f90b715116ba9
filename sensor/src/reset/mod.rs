//! The reactive reset (best effort): a sensor beside the path that sees an agent talk to a blocked endpoint resets both ends.
//!
//! It is no enforcement and never counts as any: it works for TCP only, it races with the ends and loses to fast servers, and nobody
//! knows whether a reset was heeded. Off unless asked for. Read in this order: [`follow`] (file to decision set in force), [`snapshot`]
//! (who is meant), [`answer`] (segment to two resets), [`packet`] (their bytes), [`pace`] (how many), [`live`] (sockets and threads).

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod answer;
mod follow;
pub(crate) mod live;
pub mod pace;
pub mod packet;
pub mod snapshot;
mod socket;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

use rules::wire::v1::{Distrust, Keys};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Whether and how to reset, best effort. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// The file that `gnomon courier --sets FILE` keeps up to date. Without it, or once the set in it has expired, nothing is reset.
    pub sets: Option<PathBuf>,
    /// Base64 Ed25519 public keys (32 bytes) that may sign decision sets.
    pub trusted_keys: Vec<String>,
    /// A set for another site is refused.
    pub site: String,
    /// Segments answered a second, with two packets each: in all, over every interface.
    pub rate: u32,
    /// Where the newest generation is kept, so that a restart takes no older one. Unset: of this run only.
    pub memory: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config { enabled: false, sets: None, trusted_keys: Vec::new(), site: "default".to_owned(), rate: 50, memory: None }
    }
}

/// Why nothing is reset, although it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`reset.sets` is not set: name the file that `gnomon courier --sets FILE` writes")]
    NoSets,
    #[error("`reset.trusted_keys` is empty: `gnomon tokens issue --role enforcer` at the collector prints the key that signs")]
    NoKeys,
    #[error("`reset.trusted_keys`: {0}")]
    Key(#[from] Distrust),
    #[error("raw sockets cannot be opened: {0}; CAP_NET_RAW is needed")]
    Socket(std::io::Error),
}

impl Config {
    /// What is needed before anything can be reset: the file, and the keys to believe it by.
    pub fn ready(&self) -> Result<(PathBuf, Keys), Error> {
        let sets = self.sets.clone().ok_or(Error::NoSets)?;
        let keys = Keys::parse(&self.trusted_keys)?;
        if keys.is_empty() { Err(Error::NoKeys) } else { Ok((sets, keys)) }
    }
}
