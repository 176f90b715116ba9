//! One connection: both its halves put together in causal order, and what it lacks.

use super::{
    Both, Context, Conversation, End, Peers,
    half::{Half, HeldSegment, Place, distance},
    keys::Key,
};
use crate::{
    decode::{Cut, Segment},
    moment::Moment,
};
use rules::endpoint::Endpoint;
use std::time::Duration;

/// What a table could not keep or put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Connections that made room for newer ones.
    pub evicted: u64,
    /// Times the bound on held bytes was reached.
    pub held_full: u64,
    /// Connections given up since they kept too much of what was not whole yet.
    pub buffers_full: u64,
    /// Holes in streams, and their bytes.
    pub gaps: u64,
    pub gap_bytes: u64,
    /// Segments far outside of the window.
    pub strays: u64,
    /// Segments that said other bytes than an earlier copy. The first copy counts.
    pub ambiguous: u64,
    /// Segments with urgent data, which a reader may take out of the stream.
    pub urgent: u64,
}

/// A connection that nobody needs to look into, as both its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heavy {
    /// Nothing more can be read of it, and this much came again: [`UNREAD`].
    Unread(Endpoint, Endpoint),
    /// It ended, or began anew.
    Over(Endpoint, Endpoint),
}

/// Bytes, at least, of a connection that is heavy.
const UNREAD: u32 = 1 << 20;

/// Patience with a hole nobody has acknowledged: a retransmission is still to come.
const WAIT: Duration = Duration::from_secs(3);
const WAIT_SEGMENTS: usize = 512;
const WAIT_BYTES: usize = 512 << 10;
/// Patience with a hole the receiver has acknowledged: only the capture can be out of order.
const WAIT_KNOWN: Duration = Duration::from_millis(200);
const WAIT_KNOWN_SEGMENTS: usize = 48;

/// No place in the table.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Flow<C> {
    pub(super) key: Key,
    pub(super) peers: Peers,
    halves: Both<Half>,
    /// Nothing is dissected until somebody says something.
    pub(super) conversation: Option<Box<C>>,
    pub(super) last: Moment,
    /// What the conversation kept when it was last asked.
    pub(super) buffered: usize,
    /// Bytes that came since nothing more can be read of it, or since that was last noticed.
    unread: u32,
    /// It was noticed as heavy.
    heavy: bool,
    /// It began anew before it had ended: both may be real, or one of them made up to hide the other.
    doubtful: bool,
    /// Which queue it is in. Set by `link` alone, whatever the conversation has become since.
    pub(super) speaking: bool,
    pub(super) older: u32,
    pub(super) newer: u32,
}

impl<C: Conversation> Flow<C> {
    pub(super) fn new(key: Key, at: Moment) -> Flow<C> {
        Flow {
            key,
            peers: Peers { ends: key.ends(), opener: None, seen: Both::default(), taken: Both::default() },
            halves: Both::default(),
            conversation: None,
            last: at,
            buffered: 0,
            unread: 0,
            heavy: false,
            doubtful: false,
            speaking: false,
            older: NONE,
            newer: NONE,
        }
    }

    /// Bytes it holds of segments that came before their turn.
    pub(super) fn cost(&self) -> usize {
        self.halves.low.held_cost + self.halves.high.held_cost
    }

    /// Whether this segment makes it heavy, or ends that.
    pub(super) fn weigh(&mut self, segment: &Segment<'_>, room: bool) -> Option<Heavy> {
        let Both { low, high } = self.peers.ends;
        if self.heavy && (segment.syn || segment.fin || segment.rst) {
            (self.heavy, self.unread) = (false, 0);
            return Some(Heavy::Over(low, high));
        }
        if !self.indifferent() || self.doubtful {
            return None;
        }
        let length = segment.payload.bytes.len() + segment.payload.missing;
        self.unread = self.unread.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        if self.unread < UNREAD || !room {
            return None;
        }
        (self.heavy, self.unread) = (true, 0);
        Some(Heavy::Unread(low, high))
    }

    fn indifferent(&self) -> bool {
        self.conversation.as_ref().is_some_and(|c| c.indifferent())
    }

    /// True when the connection is over.
    pub(super) fn segment(&mut self, from: End, segment: &Segment<'_>, at: Moment, world: &mut C::World, lost: &mut Lost) -> bool {
        if segment.syn && self.is_new_connection(from, segment) {
            self.restart(at, world, lost);
        }
        if (segment.fin || segment.rst) && self.indifferent() {
            // What came before may not have been looked at: whatever the number, this is the end.
            self.halves.at_mut(from).next = Some(segment.sequence);
        }
        *self.peers.seen.at_mut(from) = true;
        let mut sequence = segment.sequence;
        if segment.syn {
            if segment.acknowledgment.is_none() {
                self.peers.opener = Some(from);
            } else if self.peers.opener.is_none() {
                self.peers.opener = Some(from.other());
            }
            sequence = sequence.wrapping_add(1);
            self.halves.at_mut(from).next.get_or_insert(sequence);
        }
        if let Some(number) = segment.acknowledgment {
            let other = self.halves.at_mut(from.other());
            other.acknowledge(number);
            *self.peers.taken.at_mut(from.other()) = other.taken();
        }
        let length = segment.payload.bytes.len() + segment.payload.missing;
        if length > 0 && segment.urgent {
            lost.urgent += 1;
            self.conversation.get_or_insert_default().ambiguous(&mut Context { now: at, peers: &self.peers, world });
        }
        if length > 0 {
            self.payload(from, &Segment { sequence, ..*segment }, at, world, lost);
        }
        if segment.fin {
            self.halves.at_mut(from).fin.get_or_insert(sequence.wrapping_add(u32::try_from(length).unwrap_or(0)));
        }
        let in_window = |next: u32| (0..1 << 16).contains(&distance(sequence, next));
        if segment.rst && self.halves.at(from).next.is_none_or(in_window) {
            self.settle(at, world, lost, true);
            return true;
        }
        self.pump(at, world, lost);
        if self.cost() > 0 {
            self.settle(at, world, lost, false);
        }
        self.halves.low.ended && self.halves.high.ended
    }

    /// A port used again: another initial sequence number than the one this connection began with. Of one that nothing more can be read
    /// of, nobody knows how far it came.
    fn is_new_connection(&self, from: End, segment: &Segment<'_>) -> bool {
        let half = self.halves.at(from);
        let far = |next| distance(segment.sequence.wrapping_add(1), next).unsigned_abs() > 1 << 20;
        segment.acknowledgment.is_none() && half.next.is_some_and(|next| far(next) || half.ended || self.indifferent())
    }

    fn restart(&mut self, at: Moment, world: &mut C::World, lost: &mut Lost) {
        self.settle(at, world, lost, true);
        // Both ends had spoken, if only to begin.
        self.doubtful = self.peers.seen.low && self.peers.seen.high && !(self.halves.low.ended || self.halves.high.ended);
        if let Some(mut old) = self.conversation.take() {
            old.closed(&mut Context { now: at, peers: &self.peers, world });
            self.conversation = Some(Box::default());
        }
        self.halves = Both::default();
        self.peers.opener = None;
        self.peers.seen = Both::default();
        self.peers.taken = Both::default();
    }

    fn payload(&mut self, from: End, segment: &Segment<'_>, at: Moment, world: &mut C::World, lost: &mut Lost) {
        let Cut { bytes, missing } = segment.payload;
        let indifferent = self.indifferent();
        // Behind held segments one more is held too, so that the first copy of a byte wins.
        let ready = indifferent || (self.halves.at(from).held.is_empty() && self.heard(from, segment.acknowledgment));
        let half = self.halves.at_mut(from);
        let place = match half.place(segment.sequence, bytes.len() + missing) {
            // A loss beyond repair, or made up to look like one.
            Place::Anew => {
                if !indifferent {
                    self.contradicted(at, world, lost);
                }
                Place::Now(0)
            }
            place => place,
        };
        let half = self.halves.at_mut(from);
        match place {
            Place::Anew => {}
            Place::Old => {
                if half.contradicts(segment.sequence, bytes) {
                    self.contradicted(at, world, lost);
                }
            }
            // Its middle may have been left in the kernel, and is no loss.
            Place::Stray if indifferent && !self.doubtful => {
                half.next = Some(segment.sequence);
                half.advance(bytes.len() + missing);
            }
            Place::Stray => {
                lost.strays += 1;
                if self.doubtful {
                    // What was there before goes on.
                    self.contradicted(at, world, lost);
                }
            }
            Place::Now(skip) if ready => {
                let differs = skip > 0 && half.contradicts(segment.sequence, bytes);
                half.advance(bytes.len() + missing - skip);
                if !indifferent {
                    half.remember(segment.sequence, bytes);
                }
                if differs {
                    self.contradicted(at, world, lost);
                }
                let new = bytes.get(skip..).unwrap_or_default();
                self.hand_on(from, new, missing, at, world, lost);
            }
            Place::Later if indifferent => {
                half.next = Some(segment.sequence);
                half.advance(bytes.len() + missing);
                self.hand_on(from, bytes, missing, at, world, lost);
            }
            Place::Now(_) | Place::Later => {
                if half.hold(segment, at) {
                    self.contradicted(at, world, lost);
                }
            }
        }
    }

    /// Two copies of the same bytes differ.
    fn contradicted(&mut self, at: Moment, world: &mut C::World, lost: &mut Lost) {
        lost.ambiguous += 1;
        self.conversation.get_or_insert_default().ambiguous(&mut Context { now: at, peers: &self.peers, world });
    }

    /// Whether everything that `from` had received when it sent this was handed on.
    fn heard(&self, from: End, acknowledgment: Option<u32>) -> bool {
        let other = self.halves.at(from.other());
        match (acknowledgment, other.next) {
            (Some(number), Some(next)) => distance(number, next) <= i32::from(other.fin.is_some()),
            _ => true,
        }
    }

    fn hand_on(&mut self, from: End, bytes: &[u8], missing: usize, at: Moment, world: &mut C::World, lost: &mut Lost) {
        let conversation = self.conversation.get_or_insert_default();
        if !bytes.is_empty() {
            conversation.bytes(from, bytes, &mut Context { now: at, peers: &self.peers, world });
        }
        if missing > 0 {
            lost.gaps += 1;
            lost.gap_bytes += missing as u64;
            conversation.gap(from, missing, &mut Context { now: at, peers: &self.peers, world });
        }
    }

    /// Hands on whatever has its turn now, of both ends.
    fn pump(&mut self, at: Moment, world: &mut C::World, lost: &mut Lost) {
        let mut moved = true;
        while moved {
            moved = false;
            for from in [End::Low, End::High] {
                while let Some(held) = self.take_ready(from) {
                    moved = true;
                    self.hand_on_held(from, &held, at, world, lost);
                }
                self.end_half(from, at, world);
            }
        }
    }

    fn take_ready(&mut self, from: End) -> Option<HeldSegment> {
        let held = self.halves.at_mut(from).take_due()?;
        if self.heard(from, held.acknowledgment) {
            return Some(held);
        }
        self.halves.at_mut(from).put_back(held);
        None
    }

    fn hand_on_held(&mut self, from: End, held: &HeldSegment, at: Moment, world: &mut C::World, lost: &mut Lost) {
        let missing = held.missing as usize;
        let half = self.halves.at_mut(from);
        if let Place::Now(skip) = half.place(held.sequence, held.bytes.len() + missing) {
            half.advance(held.bytes.len() + missing - skip);
            half.remember(held.sequence, &held.bytes);
            let new = held.bytes.get(skip..).unwrap_or_default();
            self.hand_on(from, new, missing, at, world, lost);
        }
    }

    fn end_half(&mut self, from: End, at: Moment, world: &mut C::World) {
        let half = self.halves.at_mut(from);
        let done = !half.ended && half.fin.is_some_and(|fin| half.next.is_none_or(|next| distance(next, fin) >= 0));
        if done {
            half.ended = true;
            if let Some(conversation) = self.conversation.as_mut() {
                conversation.ended(from, &mut Context { now: at, peers: &self.peers, world });
            }
        }
    }

    /// Gives up on holes that have waited long enough; with `now_or_never`, on all.
    pub(super) fn settle(&mut self, at: Moment, world: &mut C::World, lost: &mut Lost, now_or_never: bool) {
        while let Some((from, hole)) = self.blocking(at, now_or_never) {
            lost.gaps += 1;
            lost.gap_bytes += u64::from(hole);
            self.halves.at_mut(from).advance(hole as usize);
            let conversation = self.conversation.get_or_insert_default();
            conversation.gap(from, hole as usize, &mut Context { now: at, peers: &self.peers, world });
            self.pump(at, world, lost);
        }
    }

    /// The hole to give up on next: whose stream it is in, and its bytes.
    fn blocking(&self, at: Moment, now_or_never: bool) -> Option<(End, u32)> {
        [End::Low, End::High].into_iter().find_map(|from| {
            let (half, other) = (self.halves.at(from), self.halves.at(from.other()));
            let first = half.held.front()?;
            let next = half.next?;
            let waited = half.held.iter().map(|h| at.since(h.since)).max().unwrap_or_default();
            let ahead = distance(first.sequence, next);
            let (owner, hole, known) = if ahead > 0 {
                let hole = ahead.unsigned_abs();
                (from, hole, half.acknowledged.is_some_and(|a| distance(a, first.sequence) >= 0))
            } else {
                // It waits for what it acknowledges.
                let hole = distance(first.acknowledgment?, other.next?);
                (from.other(), u32::try_from(hole).ok().filter(|h| *h > 0)?, true)
            };
            let impatient = now_or_never
                || (known && (waited > WAIT_KNOWN || half.held.len() > WAIT_KNOWN_SEGMENTS))
                || waited > WAIT
                || half.held.len() > WAIT_SEGMENTS
                || half.held_cost > WAIT_BYTES;
            impatient.then_some((owner, hole))
        })
    }
}
