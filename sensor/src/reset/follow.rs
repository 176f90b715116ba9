//! The file that a courier keeps up to date, to the snapshot in force. What is in the file now counts: when it cannot be read, believed or
//! is over, nothing is reset.
//!
//! The enforcer follows such a file too. How a file is opened that somebody with less privilege may write is said twice, since roles
//! do not know each other and `rules` opens none; whether its content is to be believed is said once, in `rules`.

use super::snapshot::PolicySnapshot;
use crate::{host, replace::replace};
use nix::fcntl::OFlag;
use rules::{
    Timestamp,
    printable::printable,
    wire::v1::{
        Keys, Signed,
        decisions::{self, Expect},
    },
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The base64 of the largest payload, and room for the rest.
const MAX_FILE: u64 = (Signed::MAX_PAYLOAD as u64) / 3 * 4 + (64 << 10);
/// A number and a newline.
const MAX_MEMORY: u64 = 32;

/// What the sets have to fit, and what was seen of them.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) file: PathBuf,
    pub(super) keys: Keys,
    pub(super) site: String,
    pub(super) name: String,
    pub(super) memory: Option<PathBuf>,
    /// The newest generation ever acted on.
    pub(super) newest: u64,
}

type Stamp = Option<(u64, u64, Option<SystemTime>)>;

/// Keeps the snapshot in force up to date, until nobody wants it any more.
pub(super) async fn follow(mut reader: Reader, snapshots: watch::Sender<Option<Arc<PolicySnapshot>>>) {
    let mut seen: Option<Stamp> = None;
    let mut look = tokio::time::interval(LOOK_AGAIN);
    while !snapshots.is_closed() {
        look.tick().await;
        let until = snapshots.borrow().as_ref().map(|snapshot| snapshot.until);
        if until.is_some_and(|until| until <= Timestamp::now()) {
            tracing::warn!("reactive reset: the set has expired, nothing is reset");
            snapshots.send_replace(None);
        }
        let stamp = stamp(&reader.file);
        if seen == Some(stamp) {
            continue;
        }
        seen = Some(stamp);
        // A large set is read and verified beside the loop.
        let (back, snapshot) = match tokio::task::spawn_blocking(move || {
            let snapshot = reader.snapshot(Timestamp::now());
            (reader, snapshot)
        })
        .await
        {
            Ok(done) => done,
            Err(_) => return drop(snapshots.send_replace(None)),
        };
        reader = back;
        match &snapshot {
            Ok(snapshot) => tracing::info!(
                generation = snapshot.generation,
                endpoints = snapshot.len(),
                left_out = snapshot.left_out,
                until = %snapshot.until,
                "reactive reset (best effort): a set is in force"
            ),
            Err(why) => tracing::warn!(file = %reader.file.display(), why = %printable(why, 300), "reactive reset: nothing is reset"),
        }
        snapshots.send_replace(snapshot.ok().map(Arc::new));
    }
}

impl Reader {
    pub(super) fn snapshot(&mut self, now: Timestamp) -> Result<PolicySnapshot, String> {
        let signed: Signed = serde_json::from_slice(&read(&self.file, MAX_FILE)?).map_err(|why| why.to_string())?;
        let generation = self.newest.max(self.remembered()?);
        let set =
            decisions::verify(&signed, Expect { keys: &self.keys, site: &self.site, generation, now }).map_err(|why| why.to_string())?;
        if set.generation > generation {
            self.remember(set.generation)
                .map_err(|why| format!("its generation cannot be noted, so an older one could come again: {why}"))?;
        }
        self.newest = set.generation;
        Ok(PolicySnapshot::new(set, &self.name, host::own_addresses()))
    }

    fn remembered(&self) -> Result<u64, String> {
        let Some(path) = self.memory.as_deref().filter(|path| path.exists()) else { return Ok(0) };
        let damaged = |why: String| format!("{}: {why}; if the newest generation does not matter, remove it", path.display());
        let text = String::from_utf8(read(path, MAX_MEMORY).map_err(damaged)?).unwrap_or_default();
        text.trim().parse().map_err(|_| damaged("holds no generation".to_owned()))
    }

    fn remember(&self, generation: u64) -> io::Result<()> {
        self.memory.as_deref().map_or(Ok(()), |path| replace(path, format!("{generation}\n").as_bytes()))
    }
}

/// Inode and time: a rename changes the first even within one tick of the clock.
fn stamp(path: &Path) -> Stamp {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.modified().ok()))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = open(path).map_err(|why| why.to_string())?;
    if !file.metadata().map_err(|why| why.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    if bytes.len() as u64 > most { Err(format!("more than {most} bytes")) } else { Ok(bytes) }
}

/// Whoever may write the directory is not to make us wait at a pipe, or read another file in our name.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}
