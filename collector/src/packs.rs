//! A site's own signature packs: a directory, read at the start and again whenever it changes.
//!
//! All files together are one set: it comes into force whole, or not at all, and then the last good one stays. What is laid over
//! what is `rules::pack`; here are only the files, how much of them is read, and when.

use crate::{journal, state::State, store::Writer};
use ::notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind, event::AccessMode};
use rules::{Timestamp, pack::Pack, printable::printable};
use serde::Serialize;
use serde_json::json;
use std::{
    fs,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

const MAX_FILES: usize = 64;
/// Names looked at in the directory, packs or not.
const MAX_NAMES: usize = 4096;
/// Bytes of one file.
const MAX_BYTES: u64 = 256 * 1024;
/// A change is looked at when nothing more came for so long: files are written in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// And at the latest after so long, however busy the directory is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looked at without being told as well: network file systems, links and a directory that was replaced tell nothing.
const EVERY: Duration = Duration::from_secs(60);

/// Which packs judge, for the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InForce {
    pub(crate) directory: PathBuf,
    /// Laid over the shipped pack, in this order.
    pub(crate) files: Vec<String>,
    /// The first twelve digits over names and contents; empty as long as only the shipped pack is in force.
    pub(crate) sha256: String,
    /// Why what is in the directory now is not in force.
    pub(crate) refused: Option<Refused>,
    #[serde(skip)]
    pub(crate) pack: Arc<Pack>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    pub(crate) at: Timestamp,
    /// File, line, column and what is wrong.
    pub(crate) why: String,
}

/// What is in force, outside the database: a state that is read back after a failed transaction has it again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<Option<InForce>>>);

impl Shelf {
    pub(crate) fn open(directory: Option<&Path>) -> Shelf {
        let shipped = |dir: &Path| InForce {
            directory: dir.to_owned(),
            files: Vec::new(),
            sha256: String::new(),
            refused: None,
            pack: Arc::new(Pack::shipped()),
        };
        Shelf(Arc::new(Mutex::new(directory.map(shipped))))
    }

    pub(crate) fn now(&self) -> Option<InForce> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, packs: InForce) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(packs);
    }
}

/// A state that judges by what is on the shelf.
pub(crate) fn bring(state: &mut State, packs: Option<InForce>) {
    state.pack = packs.as_ref().map_or_else(|| Arc::new(Pack::shipped()), |p| p.pack.clone());
    state.packs = packs;
}

/// Reads the directory once and has what changed judged by. False: the writer took nothing, so ask again.
pub(crate) async fn look(writer: &Writer, shelf: &Shelf) -> bool {
    let Some(before) = shelf.now() else { return true };
    let directory = before.directory.clone();
    let read = tokio::task::spawn_blocking(move || read(&directory)).await.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    let news = match &read {
        Ok(set) => set.sha256 != before.sha256 || before.refused.is_some(),
        Err(why) => before.refused.as_ref().is_none_or(|r| r.why != *why),
    };
    if !news {
        return true;
    }
    let shelf = shelf.clone();
    let written = writer.write(move |turn| {
        let (now, subject) = (turn.now, before.directory.display().to_string());
        let after = match read {
            Ok(set) => {
                let reason = format!("{} files over the shipped pack, sha256 {}", set.files.len(), set.sha256);
                let detail = json!({"files": set.files, "sha256": set.sha256, "before": before.sha256, "changed": set.changed});
                journal::write(turn, "packs", "packs-loaded", &subject, &reason, detail)?;
                InForce { files: set.files, sha256: set.sha256, refused: None, pack: Arc::new(set.pack), ..before }
            }
            Err(why) => {
                tracing::warn!(%why, "the signature packs are refused; the last good ones stay in force");
                let detail = json!({"in_force": before.files, "sha256": before.sha256});
                journal::write(turn, "packs", "packs-refused", &subject, &why, detail)?;
                turn.state.lose("packs-refused", 1);
                InForce { refused: Some(Refused { at: now, why }), ..before }
            }
        };
        bring(turn.state, Some(after.clone()));
        turn.state.touched.tick = true;
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
    let Some(InForce { directory, .. }) = shelf.now() else { return stop.cancelled().await };
    // One place: that something changed is all there is to say.
    let (told, mut news) = mpsc::channel(1);
    loop {
        // Set up anew each time: a directory that was replaced is another one to the kernel. Before the look, so that nothing
        // falls between.
        let _watcher = watch(&directory, told.clone());
        let wait = if look(&writer, &shelf).await { EVERY } else { PATIENCE };
        tokio::select! {
            () = stop.cancelled() => return,
            () = time::sleep(wait) => {}
            _ = news.recv() => settle(&mut news).await,
        }
    }
}

/// Lets whoever writes finish.
async fn settle(news: &mut mpsc::Receiver<()>) {
    let latest = time::Instant::now() + PATIENCE;
    while time::Instant::now() < latest && time::timeout(QUIET, news.recv()).await.is_ok() {}
}

fn watch(directory: &Path, told: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is no change.
        let read_only = |kind: EventKind| kind.is_access() && kind != EventKind::Access(AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|e| read_only(e.kind)) {
            // Full: a look is due already.
            told.try_send(()).ok();
        }
    });
    let watching = watcher.and_then(|mut w| w.watch(directory, RecursiveMode::NonRecursive).map(|()| w));
    watching.inspect_err(|why| tracing::debug!(%why, "the packs' directory is not watched, only looked at now and then")).ok()
}

struct Set {
    pack: Pack,
    files: Vec<String>,
    sha256: String,
    /// Marks that are not as shipped.
    changed: Vec<String>,
}

/// The whole set, or why not.
fn read(directory: &Path) -> Result<Set, String> {
    let shipped = Pack::shipped();
    let (mut pack, mut files, mut hash) = (shipped.clone(), Vec::new(), ring::digest::Context::new(&ring::digest::SHA256));
    for path in paths(directory)? {
        let name = printable(&path.file_name().unwrap_or_default().to_string_lossy(), 120);
        let bytes = bytes(&path).map_err(|why| format!("{name}: {why}"))?;
        let text = text(bytes).map_err(|why| format!("{name}:{why}"))?;
        pack = pack.lay(&text).map_err(|why| format!("{name}:{why}"))?;
        // Lengths, so that no two sets run together to the same bytes.
        hash.update(format!("{}:{name}{}:{text}", name.len(), text.len()).as_bytes());
        files.push(name);
    }
    let mut sha256 = crate::hex(hash.finish().as_ref());
    sha256.truncate(12);
    let changed = pack.iter().filter(|m| shipped.get(&m.id) != Some(m)).map(|m| m.id.clone()).collect();
    Ok(Set { pack, files, sha256, changed })
}

/// The packs of a directory in lexical order, without what editors and package managers hide.
fn paths(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |why: std::io::Error| format!("{} cannot be read: {why}", directory.display());
    let mut found = Vec::new();
    for (n, entry) in fs::read_dir(directory).map_err(unreadable)?.enumerate() {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|e| e == "yaml") && !hidden {
            found.push(path);
        }
        if n >= MAX_NAMES || found.len() > MAX_FILES {
            return Err(format!("{} holds more than {MAX_FILES} packs or {MAX_NAMES} names", directory.display()));
        }
    }
    found.sort();
    Ok(found)
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    // A pipe without a writer must not hold us up before we know that it is one.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = fs::File::options().read(true).custom_flags(flags).open(path).map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {MAX_BYTES} bytes"));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|e| {
        let good = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        let column = good.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        format!("{line}:{column}: not UTF-8")
    })
}
