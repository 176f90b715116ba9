//! The sweep: whom to ask what, and when. Pure: events in, effects out, bounded, no clock.

use super::{
    answer::Outcome,
    identify::{Hint, Interrogation, Manner},
    order::Permutation,
    pace::Pace,
    question::Question,
    targets::Space,
};
use rules::{Timestamp, endpoint::Endpoint, evidence::Evidence};
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    Answered(Box<(Question, Outcome)>),
    /// Ask nothing new; what is under way may end, sessions are still ended.
    Stop,
}

#[derive(Debug)]
pub enum Effect {
    Ask(Question),
    Found(Vec<Evidence>),
}

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Endpoints finished, of all.
    pub finished: u64,
    pub excluded: u64,
    /// Endpoints where something answered.
    pub reached: u64,
    pub questions: u64,
    pub sessions_minted: u64,
    pub sessions_ended: u64,
}

/// Bounds of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Questions under way at once.
    pub concurrency: usize,
    /// Questions per second, in all and per host.
    pub rate: u32,
    pub per_host_rate: u32,
}

/// In a sweep no larger than this, what did not take a connection is tried once more: a SYN may be lost, a server may be
/// just starting again.
const SECOND_LOOK: u64 = 2048;
pub const SECOND_LOOK_AFTER: Duration = Duration::from_secs(3);
/// Endpoints begun for each question that may be under way: while one host rests, another is asked.
const ACTIVE_PER_SLOT: usize = 8;

#[derive(Debug)]
pub struct Sweep {
    space: Space,
    order: Permutation,
    next_index: u64,
    seed: u64,
    manner: Manner,
    hints: HashMap<IpAddr, Vec<(Option<u16>, Hint)>>,
    pace: Pace,
    bounds: Bounds,
    active: HashMap<Endpoint, (Interrogation, Option<Question>)>,
    /// Active endpoints with a question to send, and from when.
    ready: BTreeSet<(Instant, Endpoint)>,
    under_way: usize,
    /// To be tried once more, and from when, in that order.
    again: VecDeque<(Instant, Endpoint)>,
    tried_again: HashSet<Endpoint>,
    stopping: bool,
    progress: Progress,
}

impl Sweep {
    pub fn new(space: Space, seed: u64, manner: Manner, bounds: Bounds) -> Sweep {
        Sweep {
            order: Permutation::new(space.len(), seed),
            space,
            next_index: 0,
            seed,
            manner,
            hints: HashMap::new(),
            pace: Pace::new(bounds.rate, bounds.per_host_rate),
            bounds,
            active: HashMap::new(),
            ready: BTreeSet::new(),
            under_way: 0,
            again: VecDeque::new(),
            tried_again: HashSet::new(),
            stopping: false,
            progress: Progress::default(),
        }
    }

    /// What is known about an address, on one port or all.
    pub fn hint(&mut self, address: IpAddr, port: Option<u16>, hint: Hint) {
        self.hints.entry(address).or_default().push((port, hint));
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn is_done(&self) -> bool {
        self.active.is_empty() && (self.stopping || self.next_index >= self.order.len() && self.again.is_empty())
    }

    /// When to tick, if nothing else happens before.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.under_way >= self.bounds.concurrency {
            return None;
        }
        let more = !self.stopping && self.next_index < self.order.len() && self.active.len() < self.max_active();
        let ready = self.ready.first().map(|(at, _)| *at);
        let again = self.again.front().map(|(at, _)| *at).filter(|_| !self.stopping);
        let first = if more { Some(now) } else { [ready, again].into_iter().flatten().min() };
        first.map(|at| at.max(self.pace.free_at(now)))
    }

    pub fn handle(&mut self, event: Event, now: Instant, at: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tick => {}
            Event::Answered(answered) => {
                let (question, outcome) = *answered;
                self.answered(&question, &outcome, now, at, &mut effects);
            }
            Event::Stop => self.stop(now, at, &mut effects),
        }
        self.fill(now, &mut effects);
        effects
    }

    fn max_active(&self) -> usize {
        self.bounds.concurrency.saturating_mul(ACTIVE_PER_SLOT)
    }

    fn answered(&mut self, question: &Question, outcome: &Outcome, now: Instant, at: Timestamp, effects: &mut Vec<Effect>) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some((interrogation, _)) = self.active.get_mut(&question.endpoint) else { return };
        interrogation.absorb(question, outcome);
        if self.stopping {
            interrogation.only_end_sessions();
        }
        self.advance(question.endpoint, now, at, effects);
    }

    /// The next question of an endpoint, or its end.
    fn advance(&mut self, endpoint: Endpoint, now: Instant, at: Timestamp, effects: &mut Vec<Effect>) {
        let Some((interrogation, slot)) = self.active.get_mut(&endpoint) else { return };
        if let Some(question) = interrogation.next_question() {
            *slot = Some(question);
            let from = if interrogation.take_pause() { now + SECOND_LOOK_AFTER } else { now };
            self.ready.insert((self.pace.host_free_at(endpoint.address, now).max(from), endpoint));
            return;
        }
        if interrogation.absent() && !self.stopping && self.space.len() <= SECOND_LOOK && self.tried_again.insert(endpoint) {
            self.active.remove(&endpoint);
            self.again.push_back((now + SECOND_LOOK_AFTER, endpoint));
            return;
        }
        let found = interrogation.evidence(at);
        let (minted, ended) = interrogation.sessions();
        self.progress.sessions_minted += u64::from(minted);
        self.progress.sessions_ended += u64::from(ended);
        self.progress.finished += 1;
        self.progress.reached += u64::from(interrogation.reached());
        self.active.remove(&endpoint);
        if !found.is_empty() {
            effects.push(Effect::Found(found));
        }
    }

    fn stop(&mut self, now: Instant, at: Timestamp, effects: &mut Vec<Effect>) {
        self.stopping = true;
        self.again.clear();
        let waiting: Vec<Endpoint> = self.ready.iter().map(|(_, e)| *e).collect();
        self.ready.clear();
        for endpoint in waiting {
            if let Some((interrogation, slot)) = self.active.get_mut(&endpoint) {
                interrogation.give_back(slot.take());
                interrogation.only_end_sessions();
            }
            self.advance(endpoint, now, at, effects);
        }
    }

    fn fill(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.begin(now);
        while self.under_way < self.bounds.concurrency && self.pace.free_at(now) <= now {
            let Some((from, endpoint)) = self.ready.pop_first() else { return };
            let free = self.pace.host_free_at(endpoint.address, now).max(from);
            if free > now {
                self.ready.insert((free, endpoint));
                // The earliest of all is not free yet, unless another's host was asked meanwhile: look at each once.
                if from > now {
                    return;
                }
                continue;
            }
            let Some(question) = self.active.get_mut(&endpoint).and_then(|(_, slot)| slot.take()) else { continue };
            self.pace.take(endpoint.address, now);
            self.under_way += 1;
            self.progress.questions += 1;
            effects.push(Effect::Ask(question));
        }
    }

    /// Takes new endpoints in permuted order while there is room, then those to be tried once more.
    fn begin(&mut self, now: Instant) {
        while !self.stopping && self.active.len() < self.max_active() {
            let Some(position) = self.order.at(self.next_index) else { break };
            self.next_index += 1;
            match self.space.at(position) {
                Some(endpoint) => self.begin_at(endpoint, position, now),
                None => self.progress.excluded += 1,
            }
        }
        while !self.stopping && self.active.len() < self.max_active() && self.again.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, endpoint)) = self.again.pop_front() else { break };
            self.begin_at(endpoint, u64::from(endpoint.port), now);
        }
    }

    fn begin_at(&mut self, endpoint: Endpoint, position: u64, now: Instant) {
        let seed = self.seed ^ position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut interrogation = Interrogation::new(endpoint, self.hint_for(endpoint), self.manner.clone(), seed);
        let question = interrogation.next_question();
        self.active.insert(endpoint, (interrogation, question));
        self.ready.insert((self.pace.host_free_at(endpoint.address, now), endpoint));
    }

    fn hint_for(&self, endpoint: Endpoint) -> Hint {
        let hints = self.hints.get(&endpoint.address).map(Vec::as_slice).unwrap_or_default();
        let exact = hints.iter().find(|(port, _)| *port == Some(endpoint.port));
        exact.or_else(|| hints.iter().find(|(port, _)| port.is_none())).map(|(_, h)| h.clone()).unwrap_or_default()
    }
}

/// How long after a stop the last answers are waited for.
pub const STOP_GRACE: Duration = Duration::from_millis(800);

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
