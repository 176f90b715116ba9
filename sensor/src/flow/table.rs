//! The table of connections: bounded, oldest out first, half-open ones before those that spoke.

use super::{
    Both, Bounds, Conversation, End, Peers,
    half::{Half, Held, Place, distance},
    keys::{Key, Seeded},
};
use crate::{
    decode::{Cut, Segment},
    moment::Moment,
};
use rules::endpoint::Endpoint;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

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
/// Noticed and not asked for, at most; what does not fit is noticed again.
const NOTICED: usize = 64;

const NONE: u32 = u32::MAX;
/// So much every connection may buffer without being asked for it: it adds up to little.
const LITTLE: usize = 64;

/// Patience with a hole nobody has acknowledged: a retransmission is still to come.
const WAIT: Duration = Duration::from_secs(3);
const WAIT_SEGMENTS: usize = 512;
const WAIT_BYTES: usize = 512 << 10;
/// Patience with a hole the receiver has acknowledged: only the capture can be out of order.
const WAIT_KNOWN: Duration = Duration::from_millis(200);
const WAIT_KNOWN_SEGMENTS: usize = 48;

#[derive(Debug)]
struct Flow<C> {
    key: Key,
    peers: Peers,
    halves: Both<Half>,
    /// Nothing is dissected until somebody says something.
    conversation: Option<Box<C>>,
    last: Moment,
    /// What the conversation kept when it was last asked.
    buffered: usize,
    /// Bytes that came since nothing more can be read of it, or since that was last noticed.
    unread: u32,
    /// It was noticed as heavy.
    heavy: bool,
    /// It began anew before it had ended: both may be real, or one of them made up to hide the other.
    doubtful: bool,
    /// Which queue it is in. Set by `link` alone, whatever the conversation has become since.
    speaking: bool,
    older: u32,
    newer: u32,
}

/// A queue through the slots, oldest first.
#[derive(Clone, Copy, Debug)]
struct Queue {
    oldest: u32,
    newest: u32,
    length: usize,
}

impl Queue {
    const EMPTY: Queue = Queue { oldest: NONE, newest: NONE, length: 0 };
}

#[derive(Debug)]
pub struct Table<C> {
    bounds: Bounds,
    index: HashMap<Key, u32, Seeded>,
    slots: Vec<Option<Flow<C>>>,
    free: Vec<u32>,
    /// Connections nobody has said anything on yet: a flood of them must not push out the others.
    silent: Queue,
    speaking: Queue,
    held: usize,
    buffered: usize,
    /// Connections that buffer more than a little: where room is looked for.
    buffering: BTreeSet<u32>,
    /// Where the last search for room ended.
    cursor: u32,
    /// Connections that hold something: time alone may end their patience.
    waiting: BTreeSet<u32>,
    noticed: Vec<Heavy>,
    lost: Lost,
}

impl<C: Conversation> Table<C> {
    pub fn new(bounds: Bounds) -> Table<C> {
        Table {
            bounds: Bounds { flows: bounds.flows.clamp(1, NONE as usize - 1), ..bounds },
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            silent: Queue::EMPTY,
            speaking: Queue::EMPTY,
            held: 0,
            buffered: 0,
            buffering: BTreeSet::new(),
            cursor: 0,
            waiting: BTreeSet::new(),
            noticed: Vec::new(),
            lost: Lost::default(),
        }
    }

    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// What was noticed of heavy connections since the last call.
    pub fn heavy(&mut self) -> impl Iterator<Item = Heavy> + '_ {
        self.noticed.drain(..)
    }

    /// Bytes held of segments that came before their turn.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Places for connections, used or free: what the table takes of memory.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Bytes conversations keep of what is not whole yet.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Takes the next segment. Bare acknowledgements of unknown connections leave no trace.
    pub fn segment(&mut self, source: Endpoint, destination: Endpoint, segment: &Segment<'_>, at: Moment, world: &mut C::World) {
        let (key, from) = Key::new(source, destination);
        let slot = match self.index.get(&key) {
            Some(slot) => *slot,
            None if segment.syn || !segment.payload.bytes.is_empty() || segment.payload.missing > 0 => self.open(key, at, world),
            None => return,
        };
        self.touch(slot, at);
        let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let before = flow.cost();
        let over = flow.segment(from, segment, at, world, &mut self.lost);
        let held = (before, flow.cost());
        // An end is always told: there are no more of them than were noticed.
        let noticed = flow.weigh(segment, self.noticed.len() < NOTICED);
        self.noticed.extend(noticed);
        self.settled(slot, held);
        if over {
            self.close(slot, at, world);
        }
        while self.held > self.bounds.held_bytes {
            self.lost.held_full += 1;
            self.make_room(at, world);
        }
        while self.buffered > self.bounds.buffered_bytes {
            let Some(victim) = self.largest(|t| &t.buffering, |f| f.buffered) else { break };
            self.lost.buffers_full += 1;
            self.close(victim, at, world);
        }
    }

    /// Ends the wait of one that holds much: whoever sends on must not pay for those that only wait.
    fn make_room(&mut self, at: Moment, world: &mut C::World) {
        let Some(victim) = self.largest(|t| &t.waiting, Flow::cost) else { return self.held = 0 };
        let Some(flow) = self.slots.get_mut(victim as usize).and_then(Option::as_mut) else { return };
        let before = flow.cost();
        flow.settle(at, world, &mut self.lost, true);
        let now = flow.cost();
        self.settled(victim, (before, now));
        if now > 0 {
            self.close(victim, at, world);
        }
    }

    /// The one that takes most of eight, by turns: to look at all would cost more than a flood should.
    fn largest(&mut self, among: impl Fn(&Self) -> &BTreeSet<u32>, size: impl Fn(&Flow<C>) -> usize) -> Option<u32> {
        let candidates: Vec<u32> = {
            let all = among(self);
            all.range(self.cursor..).chain(all.range(..self.cursor)).take(8).copied().collect()
        };
        self.cursor = candidates.last()?.wrapping_add(1);
        candidates.into_iter().max_by_key(|slot| self.slots.get(*slot as usize).and_then(Option::as_ref).map_or(0, &size))
    }

    /// Books what a connection holds now, and whether it speaks.
    fn settled(&mut self, slot: u32, (before, now): (usize, usize)) {
        self.held = (self.held + now).saturating_sub(before);
        if now > 0 {
            self.waiting.insert(slot);
        } else if before > 0 {
            self.waiting.remove(&slot);
        }
        let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let (before, now) = (flow.buffered, flow.conversation.as_ref().map_or(0, |c| c.buffered()));
        flow.buffered = now;
        let began = !flow.speaking && flow.conversation.is_some();
        if before != now {
            self.buffered = (self.buffered + now).saturating_sub(before);
            if now > LITTLE {
                self.buffering.insert(slot)
            } else {
                self.buffering.remove(&slot)
            };
        }
        if began {
            self.unlink(slot);
            self.link(slot, true);
        }
    }

    /// Gives up on holes that waited too long, and forgets connections that were idle too long. Cheap when there are none.
    pub fn expire(&mut self, now: Moment, world: &mut C::World) {
        for slot in self.waiting.iter().copied().collect::<Vec<_>>() {
            let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            let before = flow.cost();
            flow.settle(now, world, &mut self.lost, false);
            let held = (before, flow.cost());
            self.settled(slot, held);
        }
        let idle = Duration::from_secs(u64::from(self.bounds.idle_seconds));
        // A handshake that leads nowhere is forgotten sooner.
        for (speaking, idle) in [(false, idle.min(Duration::from_secs(60))), (true, idle)] {
            loop {
                let slot = if speaking { self.speaking.oldest } else { self.silent.oldest };
                let Some(flow) = self.slots.get(slot as usize).and_then(Option::as_ref) else { break };
                if now.since(flow.last) <= idle {
                    break;
                }
                self.close(slot, now, world);
            }
        }
    }

    /// The capture is over: everything held is handed on, and every connection closed.
    pub fn finish(&mut self, now: Moment, world: &mut C::World) {
        for slot in 0..self.slots.len() {
            self.close(slot as u32, now, world);
        }
    }

    fn open(&mut self, key: Key, at: Moment, world: &mut C::World) -> u32 {
        let too_many_silent = self.silent.length > self.bounds.flows / 4;
        if self.index.len() >= self.bounds.flows || too_many_silent {
            let victim = if self.silent.length > 0 { self.silent.oldest } else { self.speaking.oldest };
            self.lost.evicted += 1;
            self.close(victim, at, world);
        }
        let flow = Flow {
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
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(flow);
        }
        self.index.insert(key, slot);
        self.link(slot, false);
        slot
    }

    fn close(&mut self, slot: u32, at: Moment, world: &mut C::World) {
        let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let before = flow.cost();
        flow.settle(at, world, &mut self.lost, true);
        if let Some(conversation) = flow.conversation.as_mut() {
            conversation.closed(&flow.peers, at, world);
        }
        self.held = self.held.saturating_sub(before);
        self.waiting.remove(&slot);
        self.buffered = self.buffered.saturating_sub(flow.buffered);
        self.buffering.remove(&slot);
        self.unlink(slot);
        if let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.index.remove(&flow.key);
        }
        self.free.push(slot);
    }

    fn touch(&mut self, slot: u32, at: Moment) {
        let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        flow.last = at;
        let speaking = flow.speaking;
        if flow.newer != NONE {
            self.unlink(slot);
            self.link(slot, speaking);
        }
    }

    fn link(&mut self, slot: u32, speaking: bool) {
        let queue = if speaking { &mut self.speaking } else { &mut self.silent };
        let newest = queue.newest;
        queue.newest = slot;
        queue.length += 1;
        if queue.oldest == NONE {
            queue.oldest = slot;
        }
        if let Some(flow) = self.slots.get_mut(newest as usize).and_then(Option::as_mut) {
            flow.newer = slot;
        }
        if let Some(flow) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) {
            (flow.older, flow.newer, flow.speaking) = (newest, NONE, speaking);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(flow) = self.slots.get(slot as usize).and_then(Option::as_ref) else { return };
        let (older, newer, speaking) = (flow.older, flow.newer, flow.speaking);
        let queue = if speaking { &mut self.speaking } else { &mut self.silent };
        queue.length = queue.length.saturating_sub(1);
        if queue.oldest == slot {
            queue.oldest = newer;
        }
        if queue.newest == slot {
            queue.newest = older;
        }
        if let Some(flow) = self.slots.get_mut(older as usize).and_then(Option::as_mut) {
            flow.newer = newer;
        }
        if let Some(flow) = self.slots.get_mut(newer as usize).and_then(Option::as_mut) {
            flow.older = older;
        }
    }
}

impl<C: Conversation> Flow<C> {
    fn cost(&self) -> usize {
        self.halves.low.held_cost + self.halves.high.held_cost
    }

    /// Whether this segment makes it heavy, or ends that.
    fn weigh(&mut self, segment: &Segment<'_>, room: bool) -> Option<Heavy> {
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
    fn segment(&mut self, from: End, segment: &Segment<'_>, at: Moment, world: &mut C::World, lost: &mut Lost) -> bool {
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
            self.conversation.get_or_insert_default().ambiguous(&self.peers, at, world);
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
            old.closed(&self.peers, at, world);
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
        self.conversation.get_or_insert_default().ambiguous(&self.peers, at, world);
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
            conversation.bytes(&self.peers, from, bytes, at, world);
        }
        if missing > 0 {
            lost.gaps += 1;
            lost.gap_bytes += missing as u64;
            conversation.gap(&self.peers, from, missing, at, world);
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

    fn take_ready(&mut self, from: End) -> Option<Held> {
        let held = self.halves.at_mut(from).take_due()?;
        if self.heard(from, held.acknowledgment) {
            return Some(held);
        }
        self.halves.at_mut(from).put_back(held);
        None
    }

    fn hand_on_held(&mut self, from: End, held: &Held, at: Moment, world: &mut C::World, lost: &mut Lost) {
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
                conversation.ended(&self.peers, from, at, world);
            }
        }
    }

    /// Gives up on holes that have waited long enough; with `now_or_never`, on all.
    fn settle(&mut self, at: Moment, world: &mut C::World, lost: &mut Lost, now_or_never: bool) {
        while let Some((from, hole)) = self.blocking(at, now_or_never) {
            lost.gaps += 1;
            lost.gap_bytes += u64::from(hole);
            self.halves.at_mut(from).advance(hole as usize);
            let conversation = self.conversation.get_or_insert_default();
            conversation.gap(&self.peers, from, hole as usize, at, world);
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
