//! One SQLite database, one writer.
//!
//! WAL, `synchronous=FULL`: what was committed survives a power cut. Every change goes through [`Writer`], which puts the jobs
//! that wait into one transaction, judges what they touched in the same transaction, and answers only after the commit.

pub(crate) mod rows;
mod writer;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::{path::Path, time::Duration};
pub(crate) use writer::{Outcome, Turn, Writer};

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

impl From<rusqlite::Error> for Unavailable {
    fn from(error: rusqlite::Error) -> Unavailable {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Unavailable::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Unavailable::Locked,
            _ => Unavailable::Failed(rules::printable::printable(&error.to_string(), 300)),
        }
    }
}

/// The schema this version writes; a newer database is refused.
const SCHEMA: i64 = 1;

pub(crate) fn open(path: &Path, pages: Option<u32>) -> Result<Connection, Unavailable> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(2))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "wal_autocheckpoint", 2000)?;
    // A WAL that grew in a storm is cut back at the next checkpoint.
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    if version > SCHEMA {
        return Err(Unavailable::Failed(format!("{} was written by a newer version of gnomon; install that version", path.display())));
    }
    db.execute_batch(include_str!("schema.sql"))?;
    if version < SCHEMA {
        db.pragma_update(None, "user_version", SCHEMA)?;
    }
    if let Some(pages) = pages {
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(db)
}

/// A second connection, for questions.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Unavailable> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_secs(2))?;
    Ok(db)
}
