//! A segment to the resets it deserves: at most one for each end, with numbers that the segment itself gives. Pure.

use super::snapshot::{PolicySnapshot, Sides};
use crate::decode::Segment;
use rules::{Timestamp, endpoint::Endpoint};

/// One reset as it is to be sent, in the name of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    pub from: Endpoint,
    pub to: Endpoint,
    pub sequence: u32,
    pub acknowledgment: Option<u32>,
}

/// Both resets: the agent's first, since it is the agent that should not get its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetPair {
    pub sides: Sides,
    pub resets: [Reset; 2],
}

/// `None`: this segment is nobody's business, or the set is over.
///
/// An end heeds a reset only where its number is exactly the next byte it waits for; else it asks back with an acknowledgement (RFC
/// 5961 §3.2), which is a segment, too, and tells the exact number. What the sender of a segment waits for, the segment
/// acknowledges. What its receiver waits for comes after the segment. An end that has only sent its SYN heeds what acknowledges that
/// (RFC 9293 §3.10.7.3), so each reset acknowledges what its receiver sent, as far as that was seen.
///
/// A reset is never answered: neither an end's own, nor ours when we see it again.
pub fn answer(
    snapshot: &PolicySnapshot,
    source: Endpoint,
    destination: Endpoint,
    segment: &Segment<'_>,
    now: Timestamp,
) -> Option<ResetPair> {
    // Only the very first segment acknowledges nothing; another one that does not is no part of a connection.
    if segment.rst || snapshot.until <= now || (segment.acknowledgment.is_none() && !segment.syn) {
        return None;
    }
    let sides = snapshot.sides(source, destination)?;
    let payload = segment.payload.bytes.len().saturating_add(segment.payload.missing);
    let length = u32::try_from(payload).ok()?.wrapping_add(u32::from(segment.syn)).wrapping_add(u32::from(segment.fin));
    let after = segment.sequence.wrapping_add(length);
    let to_sender = Reset { from: destination, to: source, sequence: segment.acknowledgment.unwrap_or(0), acknowledgment: Some(after) };
    let to_receiver = Reset { from: source, to: destination, sequence: after, acknowledgment: segment.acknowledgment };
    let resets = if sides.agent == source { [to_sender, to_receiver] } else { [to_receiver, to_sender] };
    Some(ResetPair { sides, resets })
}
