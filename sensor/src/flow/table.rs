//! The table of connections: bounded, oldest out first, half-open ones before those that spoke.

use super::{
    Bounds, Context, Conversation,
    connection::{Flow, Heavy, Lost, NONE},
    keys::{Key, Seeded},
};
use crate::{decode::Segment, moment::Moment};
use rules::endpoint::Endpoint;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Noticed and not asked for, at most; what does not fit is noticed again.
const NOTICED: usize = 64;
/// So much every connection may buffer without being asked for it: it adds up to little.
const LITTLE: usize = 64;

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
        let flow = Flow::new(key, at);
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
            conversation.closed(&mut Context { now: at, peers: &flow.peers, world });
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
