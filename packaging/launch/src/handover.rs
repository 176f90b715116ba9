//! Files by which two processes speak: each is written whole, beside the file of signed sets.

use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The ending of the file in which the enforcer reports: `set.json.applied`.
pub const APPLIED: &str = ".applied";
/// The ending of the file in which the courier says whether what this host needs still answers: `set.json.health`.
pub const HEALTH: &str = ".health";

/// The file of that ending beside the signed sets.
pub fn beside(sets: &Path, ending: &str) -> PathBuf {
    let mut name = sets.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Whole or not at all: whoever reads it never sees half. The directory may belong to somebody with less privilege: nothing
/// that is there already is opened (O_EXCL follows no link), and the name cannot be known in advance.
pub fn replace(file: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let mut chance = [0; 16];
    let no_chance = |_| io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut chance).map_err(no_chance)?;
    let fresh = file.with_extension(format!("new-{:032x}", u128::from_ne_bytes(chance)));
    put(&fresh, &serde_json::to_vec(value)?).and_then(|()| fs::rename(&fresh, file)).inspect_err(|_| drop(fs::remove_file(&fresh)))
}

/// Into a file that was not there.
fn put(fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).custom_flags(nix::libc::O_NOFOLLOW).open(fresh)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_lies_in_wait_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, file, trap) = (dir.path().join("victim"), dir.path().join("set.json"), dir.path().join("trap"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &file).unwrap();
        std::os::unix::fs::symlink(&victim, &trap).unwrap();
        replace(&file, &7).unwrap();
        assert_eq!(put(&trap, b"x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read_to_string(&victim).unwrap(), fs::read_to_string(&file).unwrap()), ("mine".to_owned(), "7".to_owned()));
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left over");
    }
}
