//! Frames from a pcap or pcapng file, without any privilege.

use super::file::Reader;
use crate::{decode::Link, flow::Bounds, watch::Watch};
use rules::{evidence::Evidence, observation::Coverage};
use std::{
    fs::{self, File},
    path::Path,
};

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{path}: {why}; give a capture written by tcpdump, Wireshark or the like")]
    Unreadable { path: String, why: String },
    #[error("{path}: is empty; a capture has at least a header")]
    Empty { path: String },
    #[error("{path}: link type {number} is not one the sensor reads (Ethernet, Linux cooked, raw IP, loopback)")]
    UnknownLink { path: String, number: i32 },
}

/// Reads the whole file; each piece of evidence is handed to `out` as it is found. A file that ends in the middle, or makes no sense
/// from some point on, is read up to there, and the coverage says so (`file-truncated`), as it says what the file's own capture lost.
pub fn watch_file(path: &Path, out: &mut dyn FnMut(Evidence)) -> Result<Coverage, ReplayError> {
    let shown = rules::printable::printable(&path.display().to_string(), 200);
    let unreadable = |why: &str| ReplayError::Unreadable { path: shown.clone(), why: rules::printable::printable(why, 200) };
    match fs::metadata(path) {
        Err(why) => return Err(unreadable(&why.to_string())),
        Ok(meta) if meta.is_dir() => return Err(unreadable("is a directory")),
        Ok(meta) if meta.is_file() && meta.len() == 0 => return Err(ReplayError::Empty { path: shown }),
        Ok(_) => {}
    }
    let input = File::open(path).map_err(|e| unreadable(&e.to_string()))?;
    let mut file = Reader::new(input).map_err(|e| unreadable(&e.to_string()))?;
    let mut watch = Watch::new(Bounds::default());
    let (mut broken, mut foreign) = (false, Foreign::default());
    loop {
        match file.next_record() {
            Ok(Some(record)) => match Link::from_number(i32::from(record.link)) {
                Some(link) => {
                    foreign.read = true;
                    watch.frame(link, record.bytes, record.wire_length, record.at);
                    watch.evidence().for_each(&mut *out);
                }
                None => foreign.note(record.link),
            },
            Ok(None) => break,
            Err(why) => {
                tracing::warn!(file = %shown, %why, "the capture ends early");
                broken = true;
                break;
            }
        }
    }
    if let Some(number) = foreign.only() {
        return Err(ReplayError::UnknownLink { path: shown, number: i32::from(number) });
    }
    watch.finish();
    watch.evidence().for_each(&mut *out);
    let mut coverage = watch.coverage(&shown);
    let counted = [("file-truncated", u64::from(broken)), ("unknown-link", foreign.frames), ("kernel-drop", file.dropped)];
    coverage.lost.extend(counted.into_iter().filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.to_owned(), n)));
    Ok(coverage)
}

/// Frames of links the sensor does not read.
#[derive(Default)]
struct Foreign {
    number: Option<u16>,
    frames: u64,
    /// Others were read.
    read: bool,
}

impl Foreign {
    fn note(&mut self, number: u16) {
        self.number = Some(number);
        self.frames += 1;
    }

    /// The link type, when there is no other in the file.
    fn only(&self) -> Option<u16> {
        self.number.filter(|_| !self.read)
    }
}
