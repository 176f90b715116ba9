//! Being told that packs changed: in the directory, or by a link on the way to it or to one of its files that leads elsewhere now.

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// Links followed, of one path and of all.
const MAX_HOPS: usize = 8;
const MAX_LINKS: usize = 128;

/// Tells of changes as long as it is kept.
pub(super) fn watch(directory: &Path, told: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let ways = ways(directory);
    // The directory's own events have names in it; those beside a link count only when they are about it.
    let (inside, links) = (directory.to_owned(), ways.clone());
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is no change.
        let read_only = |kind: EventKind| kind.is_access() && kind != EventKind::Access(AccessKind::Close(AccessMode::Write));
        let ours = |path: &PathBuf| path.starts_with(&inside) || links.contains(path);
        if !event.is_ok_and(|e| read_only(e.kind) || !(e.paths.is_empty() || e.paths.iter().any(ours))) {
            // Full: a look is due already.
            told.try_send(()).ok();
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        for beside in ways.iter().filter_map(|way| way.parent()).collect::<BTreeSet<_>>() {
            // What cannot be watched is looked at now and then.
            watcher.watch(beside, RecursiveMode::NonRecursive).ok();
        }
        watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| watcher)
    });
    watching.inspect_err(|why| tracing::debug!(%why, "the packs' directory is not watched, only looked at now and then")).ok()
}

/// Links that lead to the directory or its files, and the files they lead to.
fn ways(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let packs = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    std::iter::once(directory.to_owned()).chain(packs).flat_map(hops).take(MAX_LINKS).collect()
}

/// Nothing, when `path` is no link.
fn hops(path: PathBuf) -> Vec<PathBuf> {
    let mut hops = vec![path];
    while hops.len() < MAX_HOPS
        && let Some(last) = hops.last()
        && let Ok(target) = fs::read_link(last)
    {
        hops.push(last.parent().unwrap_or(Path::new("/")).join(target));
    }
    if hops.len() == 1 { Vec::new() } else { hops }
}
