//! Datagrams that came in pieces (RFC 791 §3.2, RFC 8200 §4.5), put together within narrow bounds.
//!
//! Pieces that overlap and disagree spoil their datagram (as RFC 5722 asks of every overlap): which of them a host believes
//! depends on the host.

use super::Fragment;
use crate::moment::Moment;
use std::{collections::VecDeque, net::IpAddr, time::Duration};

/// Unfinished datagrams; the oldest makes room.
const MAX_DATAGRAMS: usize = 128;
const MAX_PIECES: usize = 64;
const MAX_BYTES: usize = 65_535;
/// RFC 8200 asks hosts for 60 seconds; a capture needs less.
const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(15);

/// A datagram's payload, whole again.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Partial {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: u8,
    since: Moment,
    /// In order of their offsets; never overlapping.
    pieces: Vec<(usize, Vec<u8>)>,
    /// Where the last piece ends.
    length: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Assembler {
    partial: VecDeque<Partial>,
    /// Pieces that led to nothing.
    pub lost: u64,
    /// Datagrams whose pieces disagreed.
    pub ambiguous: u64,
}

impl Assembler {
    /// Takes one piece; gives the datagram when it is the last one missing.
    pub fn add(&mut self, source: IpAddr, destination: IpAddr, fragment: &Fragment<'_>, at: Moment) -> Option<Whole> {
        self.expire(at);
        let end = fragment.offset + fragment.payload.bytes.len();
        if fragment.payload.missing > 0 || end > MAX_BYTES || (fragment.more && !fragment.payload.bytes.len().is_multiple_of(8)) {
            self.lost += 1;
            return None;
        }
        let same = |p: &Partial| p.id == fragment.id && p.source == source && p.destination == destination;
        let index = self.partial.iter().position(same).unwrap_or_else(|| {
            if self.partial.len() >= MAX_DATAGRAMS {
                self.drop_at(0);
            }
            let (id, protocol) = (fragment.id, fragment.protocol);
            self.partial.push_back(Partial { source, destination, id, protocol, since: at, pieces: Vec::new(), length: None });
            self.partial.len() - 1
        });
        let partial = self.partial.get_mut(index)?;
        if !partial.place(fragment, end) {
            self.ambiguous += 1;
            self.drop_at(index);
            return None;
        }
        let bytes = partial.whole()?;
        let Partial { source, destination, protocol, .. } = self.partial.remove(index)?;
        Some(Whole { source, destination, protocol, bytes })
    }

    fn expire(&mut self, now: Moment) {
        while self.partial.front().is_some_and(|p| now.since(p.since) > REASSEMBLY_TIMEOUT) {
            self.drop_at(0);
        }
    }

    fn drop_at(&mut self, index: usize) {
        self.lost += self.partial.remove(index).map_or(0, |p| p.pieces.len() as u64);
    }
}

impl Partial {
    /// False when the piece contradicts the others.
    fn place(&mut self, fragment: &Fragment<'_>, end: usize) -> bool {
        let bytes = fragment.payload.bytes;
        if fragment.offset == 0 {
            // Only the first piece of IPv6 names what is inside for sure.
            self.protocol = fragment.protocol;
        }
        if !fragment.more && self.length.replace(end).is_some_and(|known| known != end) {
            return false;
        }
        let at = self.pieces.partition_point(|(offset, _)| *offset < fragment.offset);
        if let Some((_, twin)) = self.pieces.get(at).filter(|(offset, _)| *offset == fragment.offset) {
            return twin == bytes;
        }
        let before = at.checked_sub(1).and_then(|i| self.pieces.get(i)).is_none_or(|(offset, b)| offset + b.len() <= fragment.offset);
        let after = self.pieces.get(at).is_none_or(|(offset, _)| end <= *offset);
        let within = self.length.is_none_or(|length| end <= length) && self.pieces.len() < MAX_PIECES;
        if before && after && within {
            self.pieces.insert(at, (fragment.offset, bytes.to_vec()));
        }
        before && after && within
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let length = self.length?;
        let mut bytes = Vec::with_capacity(length);
        for (offset, piece) in &self.pieces {
            if *offset != bytes.len() {
                return None;
            }
            bytes.extend_from_slice(piece);
        }
        (bytes.len() == length).then_some(bytes)
    }
}
