//! Copies of the database to go back to: one a day, a bounded number, each checked before an older one goes.

use super::{SCHEMA, Sql, migrate, open_reader, sound};
use crate::{Error, Unavailable, secrets};
use rules::Timestamp;
use rusqlite::Connection;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// `<data>/snapshots`, beside the database.
pub(crate) fn directory(database: &Path) -> PathBuf {
    database.with_file_name("snapshots")
}

/// The newest snapshot beside this database, for whoever has to restore one.
pub fn newest(database: &Path) -> Option<PathBuf> {
    let daily = daily(&directory(database)).pop();
    daily.map(|name| directory(database).join(name))
}

/// Makes today's (UTC) when there is none, and removes what is beyond `keep`. True: one was made.
pub(crate) fn today(database: &Path, keep: usize, now: Timestamp) -> Result<bool, Error> {
    let dir = directory(database);
    let name = format!("gnomon-{}.db", now.strftime("%Y-%m-%d"));
    let made = keep > 0 && !dir.join(&name).exists();
    if made {
        take(database, &dir.join(name))?;
    }
    let known = daily(&dir);
    for old in known.iter().take(known.len().saturating_sub(keep.max(1))) {
        fs::remove_file(dir.join(old)).map_err(|e| unusable(&dir.join(old), &e))?;
    }
    Ok(made)
}

/// The database as it is before it is brought forward from this schema.
pub(super) fn before_step(database: &Path, schema: i64) -> Result<(), Error> {
    let to = directory(database).join(format!("schema-{schema}.db"));
    if to.exists() { Ok(()) } else { take(database, &to) }
}

/// Puts a snapshot in the database's place; what was there is moved to `aside`.
pub(crate) fn restore(database: &Path, from: &Path, aside: &Path) -> Result<(), Error> {
    let unfit = |why: String| Error::Restore { path: from.to_owned(), why };
    let db = open_reader(from).map_err(|e| unfit(e.to_string()))?;
    let schema = checked(&db).map_err(|e| unfit(e.to_string()))?;
    if !(1..=SCHEMA).contains(&schema) {
        return Err(unfit(format!("it has schema {schema}, this version knows 1 to {SCHEMA}")));
    }
    drop(db);
    let next = database.with_extension("restored");
    copy(from, &next)?.map_err(|e| unfit(e.to_string()))?;
    fs::File::open(&next).and_then(|f| f.sync_all()).map_err(|e| unusable(&next, &e))?;
    set_aside(database, aside)?;
    fs::rename(&next, database).and_then(|()| sync(database)).map_err(|e| unusable(database, &e))
}

/// Moves a database, with its log, out of the way. Nothing is deleted.
pub(crate) fn set_aside(database: &Path, aside: &Path) -> Result<(), Error> {
    let name = database.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    for part in [name.clone(), format!("{name}-wal"), format!("{name}-shm")] {
        let from = database.with_file_name(&part);
        if from.exists() {
            secrets::make_dir(aside)?;
            fs::rename(&from, aside.join(part)).map_err(|e| unusable(&from, &e))?;
        }
    }
    Ok(())
}

fn take(database: &Path, to: &Path) -> Result<(), Error> {
    let dir = to.parent().unwrap_or(Path::new("."));
    secrets::make_dir(dir)?;
    let next = to.with_extension("new");
    copy(database, &next)??;
    let kept = fs::File::open(&next).and_then(|f| f.sync_all()).and_then(|()| fs::rename(&next, to)).and_then(|()| sync(to));
    kept.map_err(|e| unusable(to, &e))
}

/// All that was committed, whether SQLite has moved it from the log (`-wal`) to the database yet or not, checked. The outer error
/// is the place it goes to, the inner one the copy.
fn copy(from: &Path, to: &Path) -> Result<Result<i64, Unavailable>, Error> {
    if to.exists() {
        fs::remove_file(to).map_err(|e| unusable(to, &e))?;
    }
    // Made first, empty and ours alone: SQLite fills it.
    secrets::close_to_others(to)?;
    let copy = || -> Result<i64, Unavailable> {
        open_reader(from)?.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(checked(&open_reader(to)?)?)
    };
    let copied = copy();
    if copied.is_err() {
        // Half of a copy would only take room on a disk that may be full.
        let _ = fs::remove_file(to);
    }
    Ok(copied)
}

/// Whole, indexes too. Gives its schema.
fn checked(db: &Connection) -> Sql<i64> {
    sound(db, "PRAGMA integrity_check(1)")?;
    migrate::at(db)
}

/// Names of the daily ones, oldest first.
fn daily(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = files.filter_map(|f| f.file_name().into_string().ok()).collect();
    names.retain(|n| n.starts_with("gnomon-") && n.ends_with(".db"));
    names.sort();
    names
}

fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn unusable(path: &Path, why: &io::Error) -> Error {
    Error::Data { path: path.to_owned(), why: why.to_string() }
}
