//! Files only we may read.

use crate::Error;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Makes the directory with mode 0700, with its parents.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| Error::Data { path: path.to_owned(), why: e.to_string() })
}

/// Makes the file, or makes it ours alone: what is beside it (a database's log) inherits its mode.
pub(crate) fn close_to_others(path: &Path) -> Result<(), Error> {
    let close = || {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
    };
    close().map_err(|e: std::io::Error| Error::Data { path: path.to_owned(), why: e.to_string() })
}

/// The file's text; made by `make` with mode 0600 and durable before it is used, when there is none.
pub(crate) fn read_or_make(path: &Path, make: impl FnOnce() -> Result<String, String>) -> Result<String, Error> {
    let fail = |why: String| Error::Secret { path: path.to_owned(), why };
    match fs::metadata(path) {
        Ok(found) if found.mode() & 0o077 != 0 => {
            let why = format!(
                "can be read by others (mode {:o}); run chmod 600 on it, and replace it if somebody may have",
                found.mode() & 0o777
            );
            return Err(fail(why));
        }
        Ok(_) => return fs::read_to_string(path).map_err(|e| fail(e.to_string())),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(fail(e.to_string())),
    }
    let text = make().map_err(fail)?;
    replace(path, &text).map_err(|e| fail(e.to_string()))?;
    Ok(text)
}

/// Written aside with mode 0600 and renamed: a crash leaves no half of it.
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// `n` random bytes, hexadecimal.
pub(crate) fn random_hex(n: usize) -> Result<String, String> {
    let mut bytes = vec![0; n];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no randomness".to_owned())?;
    Ok(crate::hex(&bytes))
}
