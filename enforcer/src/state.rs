//! What an enforcement point remembers: which generations it applied, and the signed sets themselves. A directory of small files,
//! each replaced whole (write, fsync, rename, fsync of the directory), under a lock that every process of ours takes.
//!
//! ```text
//! lock         held while the kernel or the state is changed
//! state.json   [`PointState`]
//! set-42.json  the signed set of generation 42, as it arrived
//! stopped      empty; a person broke the glass, whatever `state.json` says
//! ```

use crate::health::Gate;
use rules::{
    Timestamp,
    decision::DecisionSet,
    observation::{Act, PointStatus},
    period::Period,
    wire::v1::Signed,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointState {
    /// The newest generation ever given to the kernel here. Never goes down.
    pub highest: u64,
    /// What the kernel should hold.
    pub current: Option<u64>,
    /// What it held before, for a rollback.
    pub previous: Option<u64>,
    /// The newest that arrived, applied or not.
    pub latest: Option<u64>,
    /// Unless confirmed by then, `previous` comes back.
    pub confirm_by: Option<Timestamp>,
    /// Rolled back by a person: not applied again by itself.
    pub rolled_back: Option<u64>,
    /// Enforcement was stopped by a person, and why.
    pub stopped: Option<String>,
    /// While new blocks are held back: the generation beyond whose blocks nothing is added, 0 for none.
    pub base: Option<u64>,
    /// New blocks since the begin of this hour.
    pub hour: Option<(Timestamp, usize)>,
    /// New blocks that wait for their health check, or failed it.
    pub gate: Option<Gate>,
    /// What people did here, oldest first: told to the collector when it is there.
    #[serde(default)]
    pub acts: Vec<Act>,
}

impl PointState {
    /// New blocks in the hour before `now`.
    pub fn new_this_hour(&self, now: Timestamp) -> usize {
        match self.hour {
            Some((begin, count)) if Period::seconds(3600).after(begin) > now => count,
            _ => 0,
        }
    }

    pub fn count_new(&mut self, blocks: usize, now: Timestamp) {
        let count = self.new_this_hour(now);
        let begin = self.hour.filter(|_| count > 0).map_or(now, |(begin, _)| begin);
        self.hour = Some((begin, count + blocks));
    }

    /// A set has gone into the kernel. What a person rolled back may be applied by a person again.
    pub fn adopt(&mut self, set: &DecisionSet, new: usize, confirm_by: Option<Timestamp>, now: Timestamp) {
        if self.current != Some(set.generation) {
            self.previous = self.current;
        }
        self.highest = self.highest.max(set.generation);
        self.current = Some(set.generation);
        self.latest = self.latest.max(self.current);
        self.confirm_by = confirm_by;
        self.rolled_back = self.rolled_back.filter(|g| *g > set.generation);
        self.base = None;
        self.gate = None;
        self.count_new(new, now);
    }

    /// A person did this. The oldest make room.
    pub fn note(&mut self, what: String, now: Timestamp) {
        // Two acts have two times, so that each can be told apart.
        let at = self.acts.last().map_or(now, |last| now.max(last.at.checked_add(Duration::from_millis(1)).unwrap_or(now)));
        self.acts.push(Act { at, what });
        let beyond = self.acts.len().saturating_sub(PointStatus::MAX_ACTS);
        self.acts.drain(..beyond);
    }

    /// On trial right now.
    pub fn trial(&self, now: Timestamp) -> bool {
        self.confirm_by.is_some_and(|by| by > now)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the enforcer's state directory {path}: {why}")]
    Directory { path: PathBuf, why: io::Error },
    /// Nothing is done on a guess: a fresh state would take old sets again and forget that a person stopped enforcement.
    #[error(
        "{path} is damaged or not ours ({why}): nothing is applied or renewed, blocks lapse by themselves. Put it back from a backup, or remove it to begin anew: then older sets are taken again, and a stop or rollback by a person is forgotten"
    )]
    Damaged { path: PathBuf, why: String },
    #[error("another process is changing the ruleset since {} s; if it hangs, end it (see `lock` in {path})", WAIT.as_secs())]
    Locked { path: PathBuf },
}

const WAIT: Duration = Duration::from_secs(15);
const STOPPED: &str = "stopped";

/// The directory. Holding a [`Guard`] is what permits to change anything.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// The lock; it ends with the value, or with the process.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

impl Store {
    /// Makes the directory if it is not there (mode 0700).
    pub fn open(directory: &Path) -> Result<Store, Error> {
        let store = Store { directory: directory.to_owned() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|why| store.failed(why))?;
        Ok(store)
    }

    pub async fn lock(&self) -> Result<Guard, Error> {
        self.lock_within(WAIT).await
    }

    pub async fn lock_within(&self, patience: Duration) -> Result<Guard, Error> {
        let path = self.directory.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|why| self.failed(why))?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Guard { _file: file }),
                Err(fs::TryLockError::Error(why)) => return Err(self.failed(why)),
                Err(fs::TryLockError::WouldBlock) if tokio::time::Instant::now() >= deadline => {
                    return Err(Error::Locked { path: self.directory.clone() });
                }
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub fn load(&self) -> Result<PointState, Error> {
        let path = self.directory.join("state.json");
        let mut state: PointState = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|why| Error::Damaged { path, why: why.to_string() })?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => PointState::default(),
            Err(why) => return Err(self.failed(why)),
        };
        if self.is_marked_stopped() {
            state.stopped.get_or_insert_with(|| "why and when could not be written down".to_owned());
        }
        Ok(state)
    }

    pub fn is_marked_stopped(&self) -> bool {
        self.directory.join(STOPPED).exists()
    }

    /// Needs no lock and no room for words. Durable when it returns.
    pub fn mark_stopped(&self) -> Result<(), Error> {
        let mark =
            || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.directory.join(STOPPED))?.sync_all();
        mark().and_then(|()| File::open(&self.directory)?.sync_all()).map_err(|why| self.failed(why))
    }

    pub fn unmark_stopped(&self, _held: &Guard) -> Result<(), Error> {
        match fs::remove_file(self.directory.join(STOPPED)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(self.failed(why)),
            _ => Ok(()),
        }
    }

    /// Durable when it returns. Sets that the state no longer names are removed.
    pub fn save(&self, _held: &Guard, state: &PointState) -> Result<(), Error> {
        self.replace("state.json", state)?;
        let kept = [state.current, state.previous, state.latest, state.base, state.gate.as_ref().map(|g| g.base)];
        for entry in fs::read_dir(&self.directory).map_err(|why| self.failed(why))?.flatten() {
            let name = entry.file_name();
            let generation = name.to_str().and_then(|n| n.strip_prefix("set-")?.strip_suffix(".json")?.parse::<u64>().ok());
            if generation.is_some_and(|g| !kept.contains(&Some(g))) {
                // A file too many is found again next time.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    pub fn set(&self, generation: u64) -> Result<Signed, Error> {
        let path = self.directory.join(format!("set-{generation}.json"));
        let bytes = fs::read(&path).map_err(|why| self.failed(why))?;
        serde_json::from_slice(&bytes).map_err(|why| Error::Damaged { path, why: why.to_string() })
    }

    pub fn keep_set(&self, _held: &Guard, generation: u64, set: &Signed) -> Result<(), Error> {
        self.replace(&format!("set-{generation}.json"), set)
    }

    fn replace(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            let temporary = self.directory.join(format!(".{name}.new"));
            let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
            // Not as one piece in memory: a set may have many megabytes.
            let mut writer = BufWriter::new(file);
            serde_json::to_writer(&mut writer, value)?;
            writer.into_inner()?.sync_all()?;
            fs::rename(&temporary, self.directory.join(name))?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|why| self.failed(why))
    }

    fn failed(&self, why: io::Error) -> Error {
        Error::Directory { path: self.directory.clone(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn remembers_across_processes_and_drops_what_is_not_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("a/b")).unwrap();
        assert_eq!(store.load().unwrap(), PointState::default());
        let held = store.lock().await.unwrap();
        let signed = Signed { domain: "d".into(), key_id: "k".into(), payload: "p".into(), signature: "s".into() };
        for generation in [1, 2, 3] {
            store.keep_set(&held, generation, &signed).unwrap();
        }
        let state = PointState { highest: 3, current: Some(3), previous: Some(2), ..PointState::default() };
        store.save(&held, &state).unwrap();
        assert_eq!(Store::open(&directory.path().join("a/b")).unwrap().load().unwrap(), state);
        assert!(store.set(1).is_err());
        assert_eq!(store.set(2).unwrap(), signed);
    }

    #[test]
    fn a_damaged_state_is_an_error_and_not_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for foreign in
            ["{\"highest\":", "", "null", "{}", "[]", "{\"stopped\":\"outage\"}", "{\"highest\":3,\"hihgest\":4}", "{\"nodes\":[]}"]
        {
            std::fs::write(directory.path().join("state.json"), foreign).unwrap();
            assert!(matches!(store.load(), Err(Error::Damaged { .. })), "{foreign}");
        }
        std::fs::write(directory.path().join("state.json"), "{\"highest\":3}").unwrap();
        assert_eq!(store.load().unwrap(), PointState { highest: 3, ..PointState::default() });
    }

    #[test]
    fn the_hour_of_new_blocks_begins_anew() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut state = PointState::default();
        state.count_new(300, at(0));
        state.count_new(200, at(3599));
        assert_eq!(state.new_this_hour(at(3599)), 500);
        assert_eq!(state.new_this_hour(at(3600)), 0);
        state.count_new(1, at(3700));
        assert_eq!(state.new_this_hour(at(3700)), 1);
    }
}
