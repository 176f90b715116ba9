//! A file that holds the newest signed set, followed by polling: how the standalone process is told, without a network.

use crate::health::Health;
use nix::fcntl::OFlag;
use rules::{printable::printable, wire::v1::Signed};
use serde::de::DeserializeOwned;
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, watch},
    time::Interval,
};

/// The base64 of the largest payload, and room for the rest.
const MAX_FILE: u64 = (Signed::MAX_PAYLOAD as u64) / 3 * 4 + (64 << 10);

/// Gives each new content of `path` to `sets`, forever, and keeps none of it. Whoever writes the file replaces it by rename; one that cannot
/// be read is said once and looked at again when it changes.
pub async fn follow(path: PathBuf, sets: mpsc::Sender<Arc<Signed>>, every: Duration, complain: impl Fn(&str)) {
    let mut file = Followed::new(path, every, "no signed set, the last good one stays");
    while sets.send(Arc::new(file.next(&complain).await)).await.is_ok() {}
}

/// The same for what the courier found out about this host's health.
pub async fn follow_health(path: PathBuf, told: watch::Sender<Option<Health>>, every: Duration, complain: impl Fn(&str)) {
    let mut file = Followed::new(path, every, "no word on this host's health");
    loop {
        let health: Health = file.next(&complain).await;
        told.send_replace(Some(health));
    }
}

struct Followed {
    path: PathBuf,
    seen: Option<(u64, u64, Option<SystemTime>)>,
    tick: Interval,
    /// What a file holds that cannot be read.
    lacks: &'static str,
}

impl Followed {
    fn new(path: PathBuf, every: Duration, lacks: &'static str) -> Followed {
        Followed { path, seen: None, tick: tokio::time::interval(every), lacks }
    }

    /// The content that is there next.
    async fn next<T: DeserializeOwned>(&mut self, complain: &impl Fn(&str)) -> T {
        loop {
            self.tick.tick().await;
            let stamp = stamp(&self.path);
            if stamp == self.seen {
                continue;
            }
            self.seen = stamp;
            match read(&self.path) {
                Ok(content) => return content,
                // It is not there yet, or was taken away: nothing newer to tell.
                Err(_) if stamp.is_none() => {}
                Err(why) => complain(&format!("{} holds {}: {}", self.path.display(), self.lacks, printable(&why, 200))),
            }
        }
    }
}

/// Inode and time: a rename changes the first even within one tick of the clock.
fn stamp(path: &Path) -> Option<(u64, u64, Option<SystemTime>)> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.modified().ok()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    use std::os::unix::fs::OpenOptionsExt;
    // Whoever may write the directory is not to make us wait at a pipe, open a device, or read another file in our name.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(|why| match why.raw_os_error() {
        Some(code) if code == nix::errno::Errno::ELOOP as i32 => "a symbolic link; put the file itself there".to_owned(),
        _ => why.to_string(),
    })?;
    if !file.metadata().map_err(|why| why.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("more than {MAX_FILE} bytes"));
    }
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
        let (sets, mut told) = mpsc::channel(1);
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
            assert_eq!(told.recv().await.unwrap().key_id, key_id);
            put("{\"domain\":");
            while said.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(said.lock().unwrap().drain(..).count(), 1);
        }
        assert!(told.is_empty(), "what cannot be read is no set");
        task.abort();
    }

    #[test]
    fn only_a_regular_file_of_a_bounded_size_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // Nobody writes to it: opened as a file it would block forever.
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(at("real"), "{}").unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        std::fs::File::create(at("large")).unwrap().set_len(MAX_FILE + 1).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let said: Vec<String> = ["pipe", "link", "large", "."].iter().map(|name| read::<Signed>(&at(name)).unwrap_err()).collect();
        let large = format!("more than {MAX_FILE} bytes");
        assert_eq!(said, ["not a regular file", "a symbolic link; put the file itself there", &large, "not a regular file"]);
        assert!(read::<Signed>(&at("socket")).is_err());
    }
}
