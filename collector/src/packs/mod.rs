//! A site's own signature packs: a directory, read at the start and again whenever it changes.
//!
//! All files together are one set: it comes into force whole, or not at all, and then the last good one stays, also over a restart.
//! What is laid over what is `rules::pack`; here are only the files and when they are read.

mod copy;
mod directory;
mod in_force;
mod watch;

pub use directory::{Set, read};

use crate::{
    commit::{Announcement, Writer},
    journal::{self, Actor, Verb},
    losses::Loss,
};
use copy::LastGoodSet;
pub(crate) use in_force::InForce;
use in_force::Refused;
use rules::pack::Pack;
use serde_json::json;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

/// A change is looked at when nothing more came for so long: files are written in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// And at the latest after so long, however busy the directory is.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Looked at without being told as well: network file systems and a directory that was replaced tell nothing.
const EVERY: Duration = Duration::from_secs(60);

/// Which packs are in force. They are not in the database: an image that is read from it judges by these again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    now: Arc<Mutex<Option<Arc<InForce>>>>,
    copy: LastGoodSet,
}

impl Shelf {
    /// With the last good set of before, if there is one: what is in the directory may have broken since.
    pub(crate) fn open(directory: Option<&Path>, data: &Path) -> Shelf {
        let copy = LastGoodSet::in_data(data);
        let kept = |dir: &Path| {
            let empty = Set { pack: Pack::shipped(), files: Vec::new(), sha256: String::new(), changed: Vec::new(), texts: Vec::new() };
            let Set { pack, files, sha256, .. } = copy.read(dir).unwrap_or(empty);
            Arc::new(InForce { directory: dir.to_owned(), files, sha256, refused: None, pack: Arc::new(pack) })
        };
        let now = Arc::new(Mutex::new(directory.map(kept)));
        Shelf { now, copy }
    }

    pub(crate) fn now(&self) -> Option<Arc<InForce>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, packs: Arc<InForce>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(packs);
    }
}

/// Reads the directory once and has what changed judged by. False: the writer took nothing, so ask again.
pub(crate) async fn look(writer: &Writer, shelf: &Shelf) -> bool {
    let Some(known) = shelf.now() else { return true };
    let before = (*known).clone();
    let directory = before.directory.clone();
    let copy = shelf.copy.clone();
    let keep = move |directory: &Path, set: &Set| {
        let kept = copy.keep(directory, set);
        _ = kept.inspect_err(|why| tracing::warn!(%why, "no copy of the signature packs is kept for a restart"));
    };
    let known = before.sha256.clone();
    let reading = move || {
        read(&directory).inspect(|set| {
            if set.sha256 != known {
                keep(&directory, set)
            }
        })
    };
    let read = tokio::task::spawn_blocking(reading).await.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    let news = match &read {
        Ok(set) => set.sha256 != before.sha256 || before.refused.is_some(),
        Err(why) => before.refused.as_ref().is_none_or(|r| r.why != *why),
    };
    if !news {
        return true;
    }
    let shelf = shelf.clone();
    let written = writer.write(move |tx| {
        let (now, subject) = (tx.now, before.directory.display().to_string());
        let after = match read {
            Ok(set) => {
                let reason = format!("{} files over the shipped pack, sha256 {}", set.files.len(), set.sha256);
                let detail = json!({"files": set.files, "sha256": set.sha256, "before": before.sha256, "changed": set.changed});
                journal::write(tx, Actor::Packs, Verb::PacksLoaded, &subject, &reason, detail)?;
                InForce { files: set.files, sha256: set.sha256, refused: None, pack: Arc::new(set.pack), ..before }
            }
            Err(why) => {
                tx.announce(Announcement::PacksRefused { why: why.clone() });
                let detail = json!({"in_force": before.files, "sha256": before.sha256});
                journal::write(tx, Actor::Packs, Verb::PacksRefused, &subject, &why, detail)?;
                tx.image.lose(Loss::PacksRefused, 1);
                InForce { refused: Some(Refused { at: now, why }), ..before }
            }
        };
        let after = Arc::new(after);
        tx.image.judge_by(Some(after.clone()));
        tx.touched.tick = true;
        Ok(after)
    });
    match written.await {
        Ok(after) => {
            shelf.put(after);
            true
        }
        Err(why) => {
            tracing::warn!(%why, "the signature packs were not looked at");
            false
        }
    }
}

/// Until the end: looks when the directory changed, and now and then.
pub(crate) async fn run(writer: Writer, shelf: Shelf, stop: CancellationToken) {
    let Some(known) = shelf.now() else { return stop.cancelled().await };
    // One place: that something changed is all there is to say.
    let (told, mut news) = mpsc::channel(1);
    loop {
        // Set up anew each time: a directory that was replaced is another one to the kernel. Before the look, so that nothing
        // falls between.
        let _watcher = watch::watch(&known.directory, told.clone());
        let wait = if look(&writer, &shelf).await { EVERY } else { SETTLE_TIMEOUT };
        tokio::select! {
            () = stop.cancelled() => return,
            () = time::sleep(wait) => {}
            _ = news.recv() => settle(&mut news).await,
        }
    }
}

/// Lets whoever writes finish.
async fn settle(news: &mut mpsc::Receiver<()>) {
    let latest = time::Instant::now() + SETTLE_TIMEOUT;
    while time::Instant::now() < latest && time::timeout(QUIET, news.recv()).await.is_ok() {}
}
