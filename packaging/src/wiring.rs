//! What runs between roles: channels, and the one file that tells an enforcer whom to believe.

use crate::failure::{Failure, Side};
use collector::{AcceptError, Handle};
use collector_client::{Origin, Statements, Untaken};
use rules::{
    evidence::Evidence,
    observation::{Applied, Said},
    wire::v1::{Ack, Batch, Signed},
};
use sensor::Delivery;
use std::{io, path::Path, sync::Arc};
use tokio::sync::{mpsc, watch};

/// Hands a sensor's batches to the collector of the same process, until the sensor has ended.
pub(crate) async fn feed(mut batches: mpsc::Receiver<Delivery>, handle: Handle, seen: Option<mpsc::Sender<Evidence>>) {
    while let Some(Delivery { batch, done }) = batches.recv().await {
        if let Some(seen) = &seen {
            show(&batch, seen);
        }
        let answer = match handle.accept(batch).await {
            // The sensor goes on after it: its spool was set back.
            Err(AcceptError::EpochOver { current, .. }) => Ok(Ack { epoch: current, seq: 0 }),
            other => other.map_err(|why| why.to_string()),
        };
        // A sensor that no longer waits will ask again.
        drop(done.send(answer));
    }
}

fn show(batch: &Batch, seen: &mpsc::Sender<Evidence>) {
    for record in &batch.records {
        if let Said::Evidence(evidence) = &record.said {
            // What the screen misses is in the inventory all the same.
            drop(seen.try_send((**evidence).clone()));
        }
    }
}

/// Hands each signed set on as it is shown; one that a newer one overtook meanwhile is left out.
pub(crate) async fn hand_on(mut shown: watch::Receiver<Option<Arc<Signed>>>, sets: mpsc::Sender<Arc<Signed>>) {
    loop {
        let set = shown.borrow_and_update().clone();
        let taken = match set {
            Some(set) => sets.send(set).await.is_ok(),
            None => true,
        };
        if !taken || shown.changed().await.is_err() {
            return;
        }
    }
}

/// Brings an enforcer's word to the collector of the same process, until the enforcer has ended.
pub(crate) async fn report(statements: Statements, reports: mpsc::Receiver<Applied>, handle: Handle) {
    collector_client::carry("local-enforcer".to_owned(), statements, reports, |batch| {
        let handle = handle.clone();
        async move {
            handle.accept(batch).await.map_err(|why| match why {
                AcceptError::Malformed(_) => Untaken::Never(why.to_string()),
                AcceptError::EpochOver { current, .. } => Untaken::Over(Some(current)),
                _ => Untaken::Later(why.to_string()),
            })
        }
    })
    .await;
}

/// Shows an enforcer's word to two: to whom it is carried, and to whoever asks how the host is.
pub(crate) async fn tee(mut said: mpsc::Receiver<Applied>, onward: mpsc::Sender<Applied>, shown: mpsc::Sender<Applied>) {
    while let Some(applied) = said.recv().await {
        // Whoever asks is busy asking: the next word says the same again.
        drop(shown.try_send(applied.clone()));
        if onward.send(applied).await.is_err() {
            return;
        }
    }
}

/// The way to the collector says itself where an error began and what helps.
pub(crate) fn client_failed(why: collector_client::Error) -> Failure {
    let side = match why.origin() {
        Origin::CommandLine => Side::CommandLine,
        Origin::Machine => Side::Machine,
        Origin::Network => Side::Network,
        Origin::Collector => Side::Collector,
    };
    let fix = why.fix();
    Failure::new(side, why, fix)
}

const KEY_FILE: &str = "decisions.pub";

/// Keeps the public keys of those who may sign decision sets, one a line, where `gnomon enforce` finds them when nothing runs.
pub(crate) fn remember_keys(data: &Path, keys: &[String]) -> Result<(), Failure> {
    remember(&data.join(KEY_FILE), &keys.iter().map(|key| format!("{key}\n")).collect::<String>())
}

/// Replaced whole. What is there already needs no room: a full disk must not keep anybody from starting as before.
fn remember(path: &Path, text: &str) -> Result<(), Failure> {
    if std::fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path)).map_err(|why| {
        let what = format!("cannot write {}: {why}", path.display());
        Failure::new(Side::Machine, what, "make room, or choose another directory: --data DIR")
    })
}

/// The keys that `remember_keys` kept, if it did.
pub(crate) fn known_keys(data: &Path) -> Vec<String> {
    let kept = std::fs::read_to_string(data.join(KEY_FILE)).unwrap_or_default();
    kept.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// How the enforcer of this data directory was started.
const POINT_FILE: &str = "enforcer.json";

/// Keeps it for `gnomon enforce`, which else would judge packets somewhere else than the enforcer does.
pub(crate) fn remember_point(data: &Path, config: &enforcer::Config) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(config)
        .map_err(|why| Failure::new(Side::Gnomon, format!("the enforcer's settings cannot be written: {why}"), "please report this"))?;
    remember(&data.join(POINT_FILE), &text)
}

/// What `remember_point` kept, if it did.
pub(crate) fn known_point(data: &Path) -> Result<Option<enforcer::Config>, Failure> {
    let path = data.join(POINT_FILE);
    let told = |why: &dyn std::fmt::Display| {
        let what = format!("{} says how the enforcer here was started, and cannot be read: {why}", path.display());
        Failure::new(Side::Machine, what, "start the enforcer again, or name its configuration: --config FILE")
    };
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|why| told(&why)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(told(&why)),
    }
}

pub(crate) fn collector_failed(why: collector::Error) -> Failure {
    use collector::Error;
    let (side, todo) = match &why {
        Error::Config(_) => (Side::Configuration, "correct it in the [collector] section, or on the command line".to_owned()),
        Error::Secret { .. } => (Side::Machine, "what it says; a copy of the file from a backup is as good".to_owned()),
        Error::Data { .. } => (Side::Machine, "choose a directory you may write to: --data DIR".to_owned()),
        Error::Running(_) => (Side::Machine, "stop the other one, or give this one a directory of its own: --data DIR".to_owned()),
        Error::Listen { .. } => {
            (Side::Machine, "`ss -ltnp` names what listens there; --admin ADDR or --intake ADDR chooses another".to_owned())
        }
        Error::Emptied { newest, .. } => (Side::Machine, lost(newest.as_deref(), "it, or its last copy")),
        Error::Damaged { path, .. } => (Side::Machine, lost(collector::newest_snapshot(path).as_deref(), "a copy of it")),
        Error::Key { .. } => {
            let todo = "put the key back from a backup. If it is lost for good, start once with --new-keys; then every enforcer and \
                        gateway must be told of the new one (--trust), and every sensor must join anew";
            (Side::Machine, todo.to_owned())
        }
        Error::Newer { .. } => (Side::Machine, "install that version; or --restore a snapshot made before it".to_owned()),
        Error::Restore { .. } => (Side::Input, "name another one of `snapshots/` in the data directory".to_owned()),
        _ => (Side::Machine, "look at the log (--log debug); a copy of the data directory helps whoever looks into it".to_owned()),
    };
    Failure::new(side, why, todo)
}

/// A database that is gone or damaged: what there is to go back to, and the way on without it.
fn lost(newest: Option<&Path>, otherwise: &str) -> String {
    let back = newest.map_or_else(
        || format!("put {otherwise} back from a backup"),
        |snapshot| format!("go back to the newest snapshot: --restore {}", snapshot.display()),
    );
    format!(
        "{back}. If a new site is meant, which forgets registrations and starts all clocks anew: --new-site. Either moves aside what is there"
    )
}

pub(crate) fn gateway_failed(why: gateway::Error) -> Failure {
    use gateway::Error;
    let (side, todo) = match &why {
        Error::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            (Side::Machine, "`ss -ltnp` names what listens there; --gateway ADDR chooses another")
        }
        Error::Listen { .. } => (Side::Machine, "choose an address of this machine: --gateway ADDR"),
        Error::Audit { .. } => (Side::Machine, "choose a directory you may write to: --data DIR"),
        _ => (Side::Configuration, "correct it in the [gateway] section"),
    };
    Failure::new(side, why, todo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_may_sign_are_kept_and_who_no_longer_may_is_forgotten() {
        let data = tempfile::tempdir().unwrap();
        assert!(known_keys(data.path()).is_empty());
        for keys in [vec!["a=".to_owned(), "b=".to_owned()], vec!["b=".to_owned()]] {
            remember_keys(data.path(), &keys).unwrap();
            assert_eq!(known_keys(data.path()), keys);
        }
    }
}
