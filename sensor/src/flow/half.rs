//! What one end of a connection sent, put in order.

use crate::{decode::Segment, moment::Moment};
use std::collections::VecDeque;

/// A segment that came before its turn.
#[derive(Debug)]
pub(super) struct HeldSegment {
    pub(super) sequence: u32,
    /// What its sender had received when it sent this.
    pub(super) acknowledgment: Option<u32>,
    pub(super) bytes: Box<[u8]>,
    /// Bytes on the wire after `bytes` that were not captured.
    pub(super) missing: u32,
    pub(super) since: Moment,
}

impl HeldSegment {
    /// Bytes of memory, roughly.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + std::mem::size_of::<HeldSegment>()
    }
}

#[derive(Debug, Default)]
pub(super) struct Half {
    /// The sequence number of the next byte; `None` until something was seen.
    pub(super) next: Option<u32>,
    /// How far the peer has acknowledged: bytes before this did arrive there, whether we saw them or not.
    pub(super) acknowledged: Option<u32>,
    /// And how far when that was first heard.
    acknowledged_first: Option<u32>,
    /// The sequence number after the last byte.
    pub(super) fin: Option<u32>,
    /// In order of sequence numbers, starting after `next`.
    pub(super) held: VecDeque<HeldSegment>,
    pub(super) held_cost: usize,
    pub(super) ended: bool,
    /// Sequence number, length and digest of the start of segments lately handed on, to notice a later copy that differs.
    handed: [(u32, u32, u32); REMEMBERED],
    turn: u8,
    /// Segments in a row that were far out of the window.
    strays: u8,
}

/// Segments of an end whose later copies are compared.
const REMEMBERED: usize = 4;

/// What to do with a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing new in it.
    Old,
    /// Its turn, from this byte on.
    Now(usize),
    /// Of so many in a row that were too far ahead that this is where it goes on.
    Anew,
    Later,
    /// Too far ahead to be believed.
    Stray,
}

/// Further ahead than any window: not of this connection, or after a loss beyond repair.
const FAR: i32 = 16 << 20;
const STRAYS: u8 = 16;

/// `a - b` in sequence space (RFC 9293 §3.4).
pub(super) fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

impl Half {
    pub(super) fn place(&mut self, sequence: u32, length: usize) -> Place {
        let Some(next) = self.next else {
            // Joined mid-stream: what is seen first is where it starts.
            self.next = Some(sequence);
            return Place::Now(0);
        };
        let ahead = distance(sequence, next);
        if !(-FAR..=FAR).contains(&ahead) {
            self.strays = self.strays.saturating_add(1);
            if self.strays < STRAYS {
                return Place::Stray;
            }
            self.strays = 0;
            self.next = Some(sequence);
            return Place::Anew;
        }
        self.strays = 0;
        if ahead > 0 {
            return Place::Later;
        }
        let old = usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX);
        if old >= length { Place::Old } else { Place::Now(old) }
    }

    pub(super) fn advance(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.next = self.next.map(|n| n.wrapping_add(length));
    }

    /// Keeps a copy of what came too early, as far as it is not held already: the first copy wins. True when a part says
    /// something else than the copy held there.
    pub(super) fn hold(&mut self, segment: &Segment<'_>, at: Moment) -> bool {
        let mut differs = false;
        let (mut sequence, mut rest) = (segment.sequence, segment.payload.bytes);
        let mut index = 0;
        while let Some(held) = self.held.get(index).filter(|_| !rest.is_empty()) {
            let ahead = distance(held.sequence, sequence);
            let taken = match usize::try_from(ahead) {
                Ok(before) if before > 0 => {
                    let taken = before.min(rest.len());
                    self.insert(index, sequence, rest.get(..taken).unwrap_or(rest), 0, segment.acknowledgment, at);
                    taken
                }
                _ => {
                    let offset = usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX);
                    let span = held.bytes.len() + held.missing as usize;
                    let taken = span.saturating_sub(offset).min(rest.len());
                    let theirs = held.bytes.get(offset..).unwrap_or_default();
                    let shared = theirs.len().min(taken);
                    differs |= theirs.get(..shared) != rest.get(..shared);
                    taken
                }
            };
            sequence = sequence.wrapping_add(u32::try_from(taken).unwrap_or(0));
            rest = rest.get(taken..).unwrap_or_default();
            index += 1;
        }
        let missing = u32::try_from(segment.payload.missing).unwrap_or(u32::MAX);
        if !rest.is_empty() || missing > 0 {
            self.insert(index, sequence, rest, missing, segment.acknowledgment, at);
        }
        differs
    }

    fn insert(&mut self, index: usize, sequence: u32, bytes: &[u8], missing: u32, acknowledgment: Option<u32>, since: Moment) {
        let held = HeldSegment { sequence, acknowledgment, bytes: bytes.into(), missing, since };
        self.held_cost += held.cost();
        self.held.insert(index.min(self.held.len()), held);
    }

    /// Takes the first held segment if its turn has come.
    pub(super) fn take_due(&mut self) -> Option<HeldSegment> {
        let next = self.next?;
        let due = self.held.front().is_some_and(|h| distance(h.sequence, next) <= 0);
        if !due {
            return None;
        }
        let held = self.held.pop_front()?;
        self.held_cost = self.held_cost.saturating_sub(held.cost());
        Some(held)
    }

    pub(super) fn put_back(&mut self, held: HeldSegment) {
        self.held_cost += held.cost();
        self.held.push_front(held);
    }

    /// Notes a segment that is handed on.
    pub(super) fn remember(&mut self, sequence: u32, bytes: &[u8]) {
        if let Some(place) = self.handed.get_mut(usize::from(self.turn) % REMEMBERED) {
            *place = (sequence, bytes.len() as u32, digest(bytes));
        }
        self.turn = self.turn.wrapping_add(1);
    }

    /// Whether a copy of a segment that was handed on says something else. Copies that begin elsewhere, or are cut otherwise
    /// before the digest ends, cannot be compared: the bytes themselves are gone.
    pub(super) fn contradicts(&self, sequence: u32, bytes: &[u8]) -> bool {
        let alike = |length: u32| length == bytes.len() as u32 || (length as usize).min(bytes.len()) >= COMPARED;
        let same = |(s, length, _): &&(u32, u32, u32)| *s == sequence && alike(*length);
        !bytes.is_empty() && self.handed.iter().find(same).is_some_and(|(_, _, known)| *known != digest(bytes))
    }

    /// Bytes acknowledged since the first acknowledgement: what is behind it was there before, or is the handshake.
    pub(super) fn taken(&self) -> u32 {
        self.acknowledged.zip(self.acknowledged_first).map_or(0, |(now, first)| now.wrapping_sub(first))
    }

    pub(super) fn acknowledge(&mut self, number: u32) {
        self.acknowledged_first.get_or_insert(number);
        let newer = self.acknowledged.is_none_or(|a| distance(number, a) > 0);
        if newer {
            self.acknowledged = Some(number);
        }
    }
}

/// Bytes of a segment that are compared with a later copy.
const COMPARED: usize = 64;

/// Of the first bytes only: enough to notice, cheap enough for every segment.
fn digest(bytes: &[u8]) -> u32 {
    let start = bytes.get(..COMPARED).unwrap_or(bytes);
    start.chunks(8).fold(0x9e37_79b9, |state: u32, chunk| {
        let word = chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let mixed = (word ^ u64::from(state)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    })
}
