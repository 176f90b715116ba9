//! Where a scan is, on disk, so that a crash costs a second of work and not the whole.
//!
//! Noted once a second and at the end of a scan that was stopped; gone when a scan has come to its end. What left after the last
//! note, or so shortly before it that an answer may have come later (a second), leaves again; what was begun and not finished is
//! asked again.

use super::{config::ScanError, schedule::Position};
use crate::replace::replace;
use rules::printable::printable;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    /// Of the space: targets, ports and exclusions as they were.
    fingerprint: u64,
    seed: u64,
    knocking: bool,
    position: Position,
}

/// The file, and what is the same in every note.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    fingerprint: u64,
    pub(super) seed: u64,
    pub(super) knocking: bool,
}

/// A note is a few kilobytes; one that is larger is none of ours.
const MAX: u64 = 4 << 20;

impl Checkpoint {
    /// Reads what another scan left, if it left something. An error when that is not for this space.
    pub(super) fn open(path: &Path, fingerprint: u64, seed: u64, knocking: bool) -> Result<(Checkpoint, Option<Position>), ScanError> {
        let wrong =
            |why: &dyn std::fmt::Display| ScanError::Resume(printable(&path.display().to_string(), 200), printable(&why.to_string(), 200));
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => file.take(MAX).read_to_string(&mut text).map_err(|e| wrong(&e))?,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok((Checkpoint { path: path.to_owned(), fingerprint, seed, knocking }, None));
            }
            Err(e) => return Err(wrong(&e)),
        };
        let noted: Noted = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        if noted.fingerprint != fingerprint {
            return Err(wrong(&"it was noted for other targets, ports or exclusions; name the same ones, or remove it to begin anew"));
        }
        if noted.knocking != knocking {
            return Err(wrong(&"it was noted by a scan with (or without) raw sockets; run it as before, or remove it to begin anew"));
        }
        Ok((Checkpoint { path: path.to_owned(), fingerprint, seed: noted.seed, knocking }, Some(noted.position)))
    }

    /// Replaces the note.
    pub(super) fn note(&self, position: Position) -> io::Result<()> {
        let noted = Noted { fingerprint: self.fingerprint, seed: self.seed, knocking: self.knocking, position };
        replace(&self.path, &serde_json::to_vec(&noted)?)
    }

    /// The scan came to its end.
    pub(super) fn done(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_gone_on_from_and_only_for_the_same_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("position");
        let (first, nothing) = Checkpoint::open(&path, 1, 42, true).unwrap();
        assert_eq!(nothing, None);
        let position = Position { round: 0, next: 17, pending: vec!["10.0.0.5:3001".parse().unwrap()] };
        first.note(position.clone()).unwrap();
        let (second, found) = Checkpoint::open(&path, 1, 43, true).unwrap();
        assert_eq!((second.seed, found), (42, Some(position)));
        assert!(matches!(Checkpoint::open(&path, 2, 42, true), Err(ScanError::Resume(..))));
        assert!(matches!(Checkpoint::open(&path, 1, 42, false), Err(ScanError::Resume(..))));
        second.done().unwrap();
        assert_eq!(Checkpoint::open(&path, 2, 42, false).unwrap().1, None);
    }
}
