//! A directory of packs: which files count, how much of them is read, and what they make together.

use rules::{pack::Pack, printable::printable};
use std::{
    fs,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const MAX_FILES: usize = 64;
/// Names looked at in the directory, packs or not.
const MAX_NAMES: usize = 4096;
/// Bytes of one file.
const MAX_BYTES: u64 = 256 * 1024;

/// A whole set: the shipped pack with all files of a directory over it.
#[derive(Debug)]
pub struct Set {
    pub pack: Pack,
    /// Laid over the shipped pack, in this order.
    pub files: Vec<String>,
    /// The first twelve digits over names and contents.
    pub sha256: String,
    /// Signatures that are not as shipped.
    pub changed: Vec<String>,
    pub(super) texts: Vec<String>,
}

/// The whole set, or why not.
pub fn read(directory: &Path) -> Result<Set, String> {
    let read = |path: PathBuf| {
        let name = printable(&path.file_name().unwrap_or_default().to_string_lossy(), 120);
        let bytes = bytes(&path).map_err(|why| format!("{name}: {why}"))?;
        let text = text(bytes).map_err(|why| format!("{name}:{why}"))?;
        Ok((name, text))
    };
    lay(paths(directory)?.into_iter().map(read))
}

/// Files laid over the shipped pack, one after the other; up to the first that is broken.
pub(super) fn lay(files: impl Iterator<Item = Result<(String, String), String>>) -> Result<Set, String> {
    let shipped = Pack::shipped();
    let (mut pack, mut names, mut texts) = (shipped.clone(), Vec::new(), Vec::new());
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        let (name, text) = file?;
        pack = pack.lay(&text).map_err(|why| format!("{name}:{why}"))?;
        // Lengths, so that no two sets run together to the same bytes.
        hash.update(format!("{}:{name}{}:{text}", name.len(), text.len()).as_bytes());
        names.push(name);
        texts.push(text);
    }
    let mut sha256 = crate::hex(hash.finish().as_ref());
    sha256.truncate(12);
    let changed = pack.iter().filter(|m| shipped.get(&m.id) != Some(m)).map(|m| m.id.clone()).collect();
    Ok(Set { pack, files: names, sha256, changed, texts })
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
