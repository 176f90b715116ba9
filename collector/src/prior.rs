//! What was here before: a start must not take the loss of a database or of a key for a new site.
//!
//! A new site would forget what is registered and restart every clock, and with a new key every enforcer and gateway would refuse
//! it; so a start that finds less than there was says so and ends. The database is made before the keys: keys without a database
//! show that one was lost. The database knows its keys' names: a database without keys shows that they were.

use crate::{
    Config, Error,
    dispatch::Signer,
    enrol::Authority,
    journal,
    run::database,
    store::{self, Outcome, Turn, rows, snapshot},
};
use rules::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a person answered to a start that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    #[default]
    AsLeft,
    /// An empty database is meant. What is there is moved aside; keys are kept.
    NewSite,
    /// Keys that are missing or others are meant.
    NewKeys,
    /// Goes back to this snapshot; what is there is moved aside.
    Restore(PathBuf),
}

/// Before the database is opened: whether it is the one that was left. Gives what was done about it.
pub(crate) fn settle(config: &Config, now: Timestamp) -> Result<Beginning, Error> {
    let path = database(&config.data);
    let aside = config.data.join(format!("aside-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    let lost = is_empty(&path).then(|| traces(&config.data)).filter(|found| !found.is_empty());
    match (&config.beginning, lost) {
        (Beginning::Restore(from), _) => snapshot::restore(&path, from, &aside)?,
        // Left in a unit file, it must not cost a site at every start.
        (Beginning::NewSite, None) if store::is_whole(&path) => {
            tracing::warn!("a new site was asked for, but this one is whole: it goes on; for another one give another --data");
            return Ok(Beginning::AsLeft);
        }
        (Beginning::NewSite, _) => snapshot::set_aside(&path, &aside)?,
        (_, Some(traces)) => return Err(Error::Emptied { newest: snapshot::newest(&path), path, traces }),
        (_, None) => {}
    }
    Ok(config.beginning.clone())
}

/// No file, nothing in it, or a database in which nothing was ever made.
fn is_empty(path: &Path) -> bool {
    let tables = || Connection::open(path)?.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0));
    // What cannot be read is not empty: it is damaged, and opening it says how.
    fs::metadata(path).map_or(0, |m| m.len()) == 0 || tables().is_ok_and(|n| n == 0)
}

/// What only a directory in use has.
fn traces(data: &Path) -> Vec<String> {
    let files = ["signing.key", "ca.key", "decisions.pub", "enforcer/state.json", "gateway/bundle.json"];
    let folders = ["snapshots", "spool"];
    let holds = |name: &str| fs::read_dir(data.join(name)).is_ok_and(|mut inside| inside.next().is_some());
    let files = files.into_iter().filter(|name| data.join(name).exists());
    files.chain(folders.into_iter().filter(|name| holds(name))).map(str::to_owned).collect()
}

/// The keys that this database was used with, or, where none was yet, new ones.
pub(crate) fn keys(config: &Config, db: &Connection, now: Timestamp) -> Result<(Signer, Authority), Error> {
    let known = |sql| db.query_row(sql, [], |r| r.get::<_, Option<String>>(0)).optional().map(Option::flatten);
    // Before the names were kept, what was signed named its key.
    let signing = known("SELECT value FROM meta WHERE key = 'signing-key'").and_then(|name| match name {
        None => known("SELECT body ->> 'key_id' FROM signed WHERE domain = 'gnomon.bundle.v1'"),
        name => Ok(name),
    });
    let signing = signing.map_err(crate::Unavailable::from)?;
    let root = known("SELECT value FROM meta WHERE key = 'root'").map_err(crate::Unavailable::from)?;
    let (key, ca) = (config.data.join("signing.key"), config.data.join("ca.key"));
    let strict = config.beginning != Beginning::NewKeys;
    there(&key, strict && signing.is_some())?;
    there(&ca, strict && (root.is_some() || signing.is_some()))?;
    let signer = Signer::open(&config.data)?;
    same(&key, signing.filter(|_| strict), &signer.public().key_id)?;
    let authority = Authority::open(&config.data, now, !strict)?;
    same(&ca, root.filter(|_| strict), authority.pin())?;
    Ok((signer, authority))
}

fn there(path: &Path, wanted: bool) -> Result<(), Error> {
    if wanted && !path.exists() { Err(Error::Key { path: path.to_owned(), why: "is gone" }) } else { Ok(()) }
}

fn same(path: &Path, known: Option<String>, found: &str) -> Result<(), Error> {
    match known {
        Some(known) if known != found => Err(Error::Key { path: path.to_owned(), why: "is not the key of this site" }),
        _ => Ok(()),
    }
}

/// The database remembers its keys, and the journal what a person answered.
pub(crate) fn note(turn: &mut Turn<'_>, key: &str, root: &str) -> Outcome<()> {
    rows::set_meta(turn.db, "signing-key", key)?;
    rows::set_meta(turn.db, "root", root)?;
    let (verb, reason) = match &turn.state.config.beginning {
        Beginning::AsLeft => return Ok(()),
        Beginning::NewSite => ("began-anew", "asked for: an empty database; the old one was moved aside".to_owned()),
        Beginning::NewKeys => ("keys-accepted", "asked for: keys that were missing or others".to_owned()),
        Beginning::Restore(from) => ("restored", format!("asked for: from {}", from.display())),
    };
    journal::write(turn, "admin", verb, key, &reason, json!({}))
}
