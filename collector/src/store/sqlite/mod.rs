//! The store in one SQLite file: WAL, `synchronous=FULL`, so that a commit survives a power cut.

mod migrate;
mod read;
mod rows;
pub(crate) mod snapshot;
mod write;

use super::{Engine, Outcome, Read, Records, Unavailable};
use crate::Error;
use migrate::SCHEMA;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a connection waits for another program's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

type Sql<T> = Result<T, rusqlite::Error>;

impl From<rusqlite::Error> for Unavailable {
    fn from(error: rusqlite::Error) -> Unavailable {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Unavailable::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Unavailable::Locked,
            _ => Unavailable::Failed(rules::printable::printable(&error.to_string(), 300)),
        }
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct Sqlite {
    db: Connection,
}

impl Engine for Sqlite {
    fn records(&self) -> &dyn Records {
        self
    }

    fn begin(&mut self) -> Outcome<()> {
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&mut self) -> Outcome<()> {
        Ok(self.db.execute_batch("COMMIT")?)
    }

    fn roll_back(&mut self) {
        // A full disk may have ended the transaction already.
        if !self.db.is_autocommit()
            && let Err(why) = self.db.execute_batch("ROLLBACK")
        {
            tracing::warn!(%why, "a transaction could not be rolled back");
        }
    }

    fn begin_job(&mut self) -> Outcome<()> {
        Ok(self.db.prepare_cached("SAVEPOINT job")?.execute([]).map(drop)?)
    }

    fn keep_job(&mut self) -> Outcome<()> {
        Ok(self.db.prepare_cached("RELEASE job")?.execute([]).map(drop)?)
    }

    fn undo_job(&mut self) -> Outcome<()> {
        Ok(self.db.execute_batch("ROLLBACK TO job; RELEASE job")?)
    }

    fn close(&mut self) {
        // Leaves one file behind instead of three.
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// Opens the database, looks whether it is whole, and brings it to this version's schema.
pub(crate) fn open(path: &Path, pages: Option<u32>) -> Result<Sqlite, Error> {
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
    Ok(Sqlite { db })
}

/// Whether SQLite can read all of it.
pub(crate) fn is_whole(path: &Path) -> bool {
    open_reader(path).is_ok_and(|db| sound(&db, "PRAGMA quick_check(1)").is_ok())
}

/// No file, nothing in it, or a database in which nothing was ever made.
pub(crate) fn is_empty(path: &Path) -> bool {
    let tables = || Connection::open(path)?.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0));
    // A file that cannot be read is not empty: it is damaged, and opening it says how.
    fs::metadata(path).map_or(0, |m| m.len()) == 0 || tables().is_ok_and(|n| n == 0)
}

fn whole(path: &Path) -> Sql<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(LOCK_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(64);
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
fn sound(db: &Connection, check: &str) -> Sql<()> {
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
fn open_reader(path: &Path) -> Outcome<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(LOCK_TIMEOUT)?;
    Ok(db)
}

/// Asks the database itself, beside the writer: for what is too large to be in memory (the journal, the outbox).
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    path: PathBuf,
}

impl Reader {
    pub(crate) fn of(path: PathBuf) -> Reader {
        Reader { path }
    }

    /// Blocks.
    pub(crate) fn ask_now<T>(&self, ask: impl FnOnce(&dyn Read) -> T) -> Outcome<T> {
        Ok(ask(&Sqlite { db: open_reader(&self.path)? }))
    }

    pub(crate) async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Read) -> T + Send + 'static) -> Outcome<T> {
        let reader = self.clone();
        tokio::task::spawn_blocking(move || reader.ask_now(ask)).await.map_err(|_| Unavailable::Stopping)?
    }
}

#[cfg(test)]
impl Sqlite {
    pub(crate) fn raw(&self) -> &Connection {
        &self.db
    }
}
