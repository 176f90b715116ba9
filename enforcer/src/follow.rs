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
pub async fn follow(path: PathBuf, sets: watch::Sender<Option<Arc<Signed>>>, every: Duration, complain: impl Fn(&str)) {
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
            // It is not there yet, or was taken away: nothing newer to tell.
            Err(_) if stamp.is_none() => {}
            Err(why) => complain(&format!("{} holds no signed set, the last good one stays: {}", path.display(), printable(&why, 200))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn tells_each_new_content_once_and_complains_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("set.json");
        let (sets, mut told) = watch::channel(None);
        let said = Arc::new(Mutex::new(Vec::new()));
        let complaints = said.clone();
        let every = Duration::from_millis(1);
        let task = tokio::spawn(follow(path.clone(), sets, every, move |why: &str| complaints.lock().unwrap().push(why.to_owned())));
        let put = |text: &str| {
            std::fs::write(path.with_extension("new"), text).unwrap();
            std::fs::rename(path.with_extension("new"), &path).unwrap();
        };
        for key_id in ["a", "b"] {
            let signed = Signed { domain: "d".into(), key_id: key_id.into(), payload: String::new(), signature: String::new() };
            put(&serde_json::to_string(&signed).unwrap());
            told.changed().await.unwrap();
            assert_eq!(told.borrow_and_update().as_ref().unwrap().key_id, key_id);
            put("{\"domain\":");
            while said.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(said.lock().unwrap().drain(..).count(), 1);
        }
        assert!(!told.has_changed().unwrap(), "what cannot be read is no set");
        task.abort();
    }
}
