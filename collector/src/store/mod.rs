//! What is kept on disk, in the collector's own nouns. The only place that knows of SQL.
//!
//! [`Read`] and [`Records`] are all that the collector asks of a database, [`Engine`] is how it changes one. `sqlite` is the engine
//! there is; `conformance` is what another one has to pass.

#[cfg(test)]
mod conformance;
mod records;
mod sqlite;

pub(crate) use records::{Attempt, Engine, LetterOutcome, Outcome, Read, Records, Setting};
pub(crate) use sqlite::{Reader, Sqlite, is_empty, is_whole, open, snapshot};
use std::path::{Path, PathBuf};

/// Why nothing was stored. Nothing was acknowledged either; trying again later is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("the collector has more to write than it can; try again in a few seconds")]
    Busy,
    #[error("another program holds the collector's database locked; close it (an open sqlite3 shell?)")]
    Locked,
    #[error("the collector's disk is full; free some space, it goes on by itself")]
    Full,
    #[error("the collector's database failed: {0}")]
    Failed(String),
    #[error("the collector is stopping")]
    Stopping,
}

/// The database of a data directory.
pub(crate) fn database(data: &Path) -> PathBuf {
    data.join("gnomon.db")
}
