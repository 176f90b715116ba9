//! One SQLite database, one writer.
//!
//! WAL, `synchronous=FULL`: what was committed survives a power cut. Every change goes through [`Writer`], which puts the jobs
//! that wait into one transaction, judges what they touched in the same transaction, and answers only after the commit.

mod migrate;
pub(crate) mod rows;
pub(crate) mod snapshot;
mod writer;

use crate::Error;
pub(crate) use migrate::SCHEMA;
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

/// Opens the database, looks whether it is whole, and brings it to this version's schema.
pub(crate) fn open(path: &Path, pages: Option<u32>) -> Result<Connection, Error> {
    let mut db = whole(path).map_err(|why| unusable(path, why))?;
    let schema = migrate::at(&db).map_err(|why| unusable(path, why))?;
    if schema > SCHEMA {
        return Err(Error::Newer { path: path.to_owned(), schema, ours: SCHEMA });
    }
    if schema > 0 && schema < SCHEMA {
        snapshot::before_step(path, schema)?;
    }
    migrate::forward(&mut db).map_err(|why| unusable(path, why))?;
    if let Some(pages) = pages {
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).map_err(Unavailable::from)?;
    }
    Ok(db)
}

/// Whether SQLite can read all of it.
pub(crate) fn is_whole(path: &Path) -> bool {
    open_reader(path).is_ok_and(|db| sound(&db, "PRAGMA quick_check(1)").is_ok())
}

fn whole(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(2))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "wal_autocheckpoint", 2000)?;
    // A WAL that grew in a storm is cut back at the next checkpoint.
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Every page and row, without the indexes' cross-check: a second for a gigabyte that is cached.
    sound(&db, "PRAGMA quick_check(1)")?;
    Ok(db)
}

/// SQLite's own look at itself; what is wrong is an error like any other that says "corrupt".
fn sound(db: &Connection, check: &str) -> Result<(), rusqlite::Error> {
    let found: String = db.query_row(check, [], |r| r.get(0))?;
    let corrupt = || rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    if found == "ok" { Ok(()) } else { Err(rusqlite::Error::SqliteFailure(corrupt(), Some(found))) }
}

fn unusable(path: &Path, why: rusqlite::Error) -> Error {
    match why.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Damaged { path: path.to_owned(), why: rules::printable::printable(&why.to_string(), 300) }
        }
        _ => Unavailable::from(why).into(),
    }
}

/// A second connection, for questions.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Unavailable> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_secs(2))?;
    Ok(db)
}
