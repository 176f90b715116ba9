//! A file that is replaced whole or not at all, beside others that are none of ours.

use ring::rand::{SecureRandom, SystemRandom};
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Whoever reads it never sees half; only its owner does (0600). Nothing that is there already is opened, and the name beside it
/// cannot be known in advance: no other file is overwritten, and no link followed. Where `path` is a link, the link is replaced.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut chance = [0; 16];
    SystemRandom::new().fill(&mut chance).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let mut beside = OsString::from(path);
    beside.push(format!(".new-{:032x}", u128::from_ne_bytes(chance)));
    let beside = Path::new(&beside);
    put(beside, bytes).and_then(|()| fs::rename(beside, path)).inspect_err(|_| drop(fs::remove_file(beside)))
}

/// Into a file that was not there (O_EXCL follows no link).
fn put(fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    file.write_all(bytes)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn neither_a_neighbour_nor_what_a_link_points_to_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("lab.new"), "mine").unwrap();
        fs::write(at("victim"), "mine").unwrap();
        symlink(at("victim"), at("lab2.new")).unwrap();
        symlink(at("victim"), at("link")).unwrap();
        for name in ["lab.position", "lab2.position", "link"] {
            replace(&at(name), b"7").unwrap();
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "7");
        }
        for name in ["lab.new", "victim", "lab2.new"] {
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "mine", "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6, "nothing is left over");
        assert_eq!(put(&at("lab2.new"), b"x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
