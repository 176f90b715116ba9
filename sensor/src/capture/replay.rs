//! Frames from a pcap or pcapng file, without any privilege.

use crate::{decode::Link, flow::Bounds, moment::Moment, watch::Watch};
use pcap::{Capture, Error as PcapError};
use rules::{evidence::Evidence, observation::Coverage};
use std::{fs, path::Path};

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{path}: {why}; give a capture written by tcpdump, Wireshark or the like")]
    Unreadable { path: String, why: String },
    #[error("{path}: is empty; a capture has at least a header")]
    Empty { path: String },
    #[error("{path}: link type {number} is not one the sensor reads (Ethernet, Linux cooked, raw IP, loopback)")]
    UnknownLink { path: String, number: i32 },
}

/// Reads the whole file; each piece of evidence is handed to `out` as it is found. A file that ends in the middle is read up to
/// there, and the coverage says so (`file-truncated`).
pub fn watch_file(path: &Path, out: &mut dyn FnMut(Evidence)) -> Result<Coverage, ReplayError> {
    let shown = rules::printable::printable(&path.display().to_string(), 200);
    let unreadable = |why: &str| ReplayError::Unreadable { path: shown.clone(), why: rules::printable::printable(why, 200) };
    match fs::metadata(path) {
        Err(why) => return Err(unreadable(&why.to_string())),
        Ok(meta) if meta.is_dir() => return Err(unreadable("is a directory")),
        Ok(meta) if meta.is_file() && meta.len() == 0 => return Err(ReplayError::Empty { path: shown }),
        Ok(_) => {}
    }
    let mut capture = Capture::from_file(path).map_err(|e| unreadable(&words(&e)))?;
    let number = capture.get_datalink().0;
    let link = Link::from_number(number).ok_or_else(|| ReplayError::UnknownLink { path: shown.clone(), number })?;

    let mut watch = Watch::new(Bounds::default());
    let mut broken = false;
    loop {
        match capture.next_packet() {
            Ok(packet) => {
                let at = Moment::new(packet.header.ts.tv_sec, packet.header.ts.tv_usec.saturating_mul(1000));
                watch.frame(link, packet.data, packet.header.len as usize, at);
                watch.evidence().for_each(&mut *out);
            }
            Err(PcapError::NoMorePackets) => break,
            Err(why) => {
                tracing::warn!(file = %shown, why = %words(&why), "the capture ends in the middle");
                broken = true;
                break;
            }
        }
    }
    watch.finish();
    watch.evidence().for_each(&mut *out);
    let mut coverage = watch.coverage(&shown);
    if broken {
        coverage.lost.insert("file-truncated".to_owned(), 1);
    }
    Ok(coverage)
}

fn words(error: &PcapError) -> String {
    match error {
        PcapError::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}
