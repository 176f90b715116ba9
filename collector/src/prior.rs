//! What was here before: a start must not take the loss of a database or of a key for a new site.
//!
//! A new site would forget what is registered and restart every clock, and with a new key every enforcer and gateway would refuse
//! it; so a start that finds less than there was says so and ends. The database is made before the keys: keys without a database
//! show that one was lost. The database knows its keys' names: a database without keys shows that they were.

use crate::{
    Config, Error,
    commit::{Outcome, Transaction},
    config::Beginning,
    dispatch::Signer,
    enrol::Authority,
    journal::{self, Actor, Verb},
    store::{self, Read, Setting, database, snapshot},
};
use rules::Timestamp;
use serde_json::json;
use std::{fs, path::Path};

/// Before the database is opened: whether it is the one that was left. Gives what was done about it.
pub(crate) fn settle(config: &Config, now: Timestamp) -> Result<Beginning, Error> {
    let path = database(&config.data);
    let aside = config.data.join(format!("aside-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    let lost = store::is_empty(&path).then(|| traces(&config.data)).filter(|found| !found.is_empty());
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

/// What only a directory in use has.
fn traces(data: &Path) -> Vec<String> {
    let files = ["signing.key", "ca.key", "decisions.pub", "enforcer/state.json", "gateway/bundle.json"];
    let folders = ["snapshots", "spool"];
    let holds = |name: &str| fs::read_dir(data.join(name)).is_ok_and(|mut inside| inside.next().is_some());
    let files = files.into_iter().filter(|name| data.join(name).exists());
    files.chain(folders.into_iter().filter(|name| holds(name))).map(str::to_owned).collect()
}

/// The keys that this database was used with, or, where none was yet, new ones.
pub(crate) fn keys(config: &Config, records: &dyn Read, now: Timestamp) -> Result<(Signer, Authority), Error> {
    let signing = match records.setting(Setting::SigningKey)? {
        // Before the names were kept, what was signed named its key.
        None => records.bundle()?.map(|(_, signed)| signed.key_id.clone()),
        name => name,
    };
    let root = records.setting(Setting::Root)?;
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
pub(crate) fn note(tx: &mut Transaction<'_>, key: &str, root: &str) -> Outcome<()> {
    tx.records.set_setting(Setting::SigningKey, key)?;
    tx.records.set_setting(Setting::Root, root)?;
    let (verb, reason) = match &tx.image.config.beginning {
        Beginning::AsLeft => return Ok(()),
        Beginning::NewSite => (Verb::BeganAnew, "asked for: an empty database; the old one was moved aside".to_owned()),
        Beginning::NewKeys => (Verb::KeysAccepted, "asked for: keys that were missing or others".to_owned()),
        Beginning::Restore(from) => (Verb::Restored, format!("asked for: from {}", from.display())),
    };
    journal::write(tx, Actor::Admin, verb, key, &reason, json!({}))
}
