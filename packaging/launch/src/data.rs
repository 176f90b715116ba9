//! The data directory: where it is, that it is ours alone, and that one process at a time uses it.

use crate::{
    failure::{Failure, Side},
    out,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::Uid,
};
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a directory that is in use is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// `/var/lib/gnomon` for root; `$XDG_STATE_HOME/gnomon` or `~/.local/state/gnomon` for anyone else.
pub fn default_dir() -> PathBuf {
    if Uid::effective().is_root() {
        return "/var/lib/gnomon".into();
    }
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("gnomon-{}", Uid::effective())))
        .join("gnomon")
}

/// A data directory held by this process until dropped (or until it dies: the lock is the kernel's).
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<fs::File>,
}

impl DataDir {
    /// Makes the directory if need be (mode 0700) and locks it.
    pub fn take(path: &Path) -> Result<DataDir, Failure> {
        prepare(path)?;
        // A process that was killed holds its lock until the kernel has cleared it away.
        let (started, mut told) = (Instant::now(), false);
        loop {
            match DataDir::try_take(path) {
                Err(Some(why)) => return Err(why),
                Ok(held) => return Ok(held),
                Err(None) if started.elapsed() > LOCK_WAIT => return Err(taken(path, &holder(path).unwrap_or_default())),
                Err(None) => {}
            }
            if !told && started.elapsed() > LOCK_WAIT / 8 {
                told = true;
                out::note(format!("waiting for process {} to let go of {}", holder(path).unwrap_or_default(), path.display()));
            }
            std::thread::sleep(LOCK_WAIT / 40);
        }
    }

    /// `Err(None)`: somebody else holds it.
    fn try_take(path: &Path) -> Result<DataDir, Option<Failure>> {
        let file = path.join("lock");
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(|why| unusable(&file, &why))?;
        let mut lock = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(None),
            Err((_, why)) => return Err(Some(unusable(&file, &why.into()))),
        };
        let pid = std::process::id().to_string();
        let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(pid.as_bytes()));
        written.map_err(|why| unusable(&file, &why))?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory and checks that we may write to it.
pub fn prepare(path: &Path) -> Result<(), Failure> {
    if !path.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|why| unusable(path, &why))?;
    }
    // It holds keys: nobody else has business here, even if it was made with a wider mask.
    let mode = fs::metadata(path).map_err(|why| unusable(path, &why))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|why| unusable(path, &why))?;
    }
    Ok(())
}

/// Whether a running process holds this directory, and its pid as it wrote it.
pub fn holder(path: &Path) -> Option<String> {
    let mut file = OpenOptions::new().read(true).open(path.join("lock")).ok()?;
    let mut pid = String::new();
    let _ = (&mut file).take(32).read_to_string(&mut pid);
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => Some(pid.trim().to_owned()),
        _ => None,
    }
}

fn taken(path: &Path, pid: &str) -> Failure {
    let who = if pid.is_empty() { String::new() } else { format!(" (process {pid})") };
    Failure::new(
        Side::Machine,
        format!("another Gnomon{who} is using {}", path.display()),
        "stop that one first, or give this one a directory of its own: --data DIR",
    )
}

fn unusable(path: &Path, why: &std::io::Error) -> Failure {
    Failure::new(
        Side::Machine,
        format!("cannot use {} as (part of) the data directory: {why}", path.display()),
        "choose a directory you may write to: --data DIR, or GNOMON_DATA",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cannot_hold_one_directory_and_the_second_learns_who_does() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::take(dir.path()).unwrap();
        let why = DataDir::take(dir.path()).unwrap_err().to_string();
        assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
        assert_eq!(holder(dir.path()), Some(std::process::id().to_string()));
        drop(held);
        assert_eq!(holder(dir.path()), None);
        DataDir::take(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_let_go_in_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::take(dir.path()).unwrap();
        let path = dir.path().to_owned();
        let second = std::thread::spawn(move || DataDir::take(&path).map(drop));
        std::thread::sleep(LOCK_WAIT / 8);
        drop(held);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn the_directory_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        let held = DataDir::take(&inner).unwrap();
        assert_eq!(fs::metadata(held.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
