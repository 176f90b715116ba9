//! A file that holds the newest signed set, followed by polling: how the standalone process is told, without a network.

use rules::{printable::printable, wire::v1::Signed};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// The base64 of the largest payload, and room for the rest.
const MAX_FILE: u64 = (crate::intake::MAX_PAYLOAD as u64) / 3 * 4 + (64 << 10);

/// Gives each new content of `path` to `sets`, forever. Whoever writes the file replaces it by rename; one that cannot be read is
/// said once and looked at again when it changes.
pub async fn follow(path: PathBuf, sets: watch::Sender<Option<Arc<Signed>>>, every: Duration) {
    let mut seen = None;
    let mut tick = tokio::time::interval(every);
    loop {
        tick.tick().await;
        let stamp = stamp(&path);
        if stamp == seen {
            continue;
        }
        seen = stamp;
        match read(&path) {
            Ok(signed) => drop(sets.send_replace(Some(Arc::new(signed)))),
            Err(why) => tracing::warn!(path = %path.display(), why = printable(&why, 200), "not a signed set; the last good one stays"),
        }
    }
}

/// Inode and time: a rename changes the first even within one tick of the clock.
fn stamp(path: &Path) -> Option<(u64, u64, Option<SystemTime>)> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.modified().ok()))
}

fn read(path: &Path) -> Result<Signed, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(MAX_FILE).read_to_end(&mut bytes)).map_err(|why| why.to_string())?;
    serde_json::from_slice(&bytes).map_err(|why| why.to_string())
}
