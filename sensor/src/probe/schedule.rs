//! The sweep: whom to ask what, and when. Pure: events in, effects out, bounded, no clock.

use super::{
    answer::Outcome,
    identify::{Hint, Interrogation, Options},
    knock::{
        packet::Heard,
        plan::{Counts, Plan},
    },
    question::{Ask, Question},
    targets::Space,
};
use rules::{Timestamp, endpoint::Endpoint, evidence::Evidence};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

mod state;

use state::{Briefing, Frontier, Halt, Pacing};

#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    Answered(Box<(Question, Outcome)>),
    /// The port stage: somebody answered a SYN.
    Heard(Heard),
    /// The port stage: a batch has left.
    Knocked {
        sent: u32,
        failed: u32,
    },
    /// Begin nobody new for now (true), or go on (false); who was begun is asked to the end.
    Rest(bool),
    /// Ask nothing new; what is under way may end, sessions are still ended.
    Stop,
}

#[derive(Debug)]
pub enum Effect {
    Ask(Question),
    /// Send each of these a SYN, and say when that is done.
    Knock(Vec<Endpoint>),
    Found(Vec<Evidence>),
}

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Endpoints finished, of all.
    pub finished: u64,
    /// Endpoints where something answered.
    pub reached: u64,
    pub questions: u64,
    pub sessions_minted: u64,
    pub sessions_ended: u64,
    /// What the port stage did, where there is one.
    pub knocks: Counts,
}

/// Bounds of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Questions under way at once.
    pub concurrency: usize,
    /// Packets of the port stage and questions per second: in all, to one host, and to one subnet (/24, /64).
    pub rate: u32,
    pub per_host_rate: u32,
    pub per_subnet_rate: u32,
}

/// Where a sweep is: what another one needs to go on from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub round: u8,
    pub next: u64,
    /// Begun and not finished, or perhaps on the way to answering: asked again.
    pub pending: Vec<Endpoint>,
}

/// In a sweep no larger than this, what did not take a connection is tried once more: a SYN may be lost, a server may be
/// just starting again.
pub const SECOND_LOOK: u64 = 2048;
pub const SECOND_LOOK_AFTER: Duration = Duration::from_secs(3);
/// Endpoints begun for each question that may be under way: while one host rests, another is asked.
const ACTIVE_PER_SLOT: usize = 8;

/// Open endpoints that wait for their first question; when there are more, the port stage rests.
const MAX_OPEN: usize = 4096;

#[derive(Debug)]
pub struct Sweep {
    frontier: Frontier,
    briefing: Briefing,
    pacing: Pacing,
    halt: Halt,
    active: HashMap<Endpoint, (Interrogation, Option<Question>)>,
    /// Active endpoints with a question to send, and from when.
    ready: BTreeSet<(Instant, Endpoint)>,
    progress: Progress,
}

impl Sweep {
    pub fn new(space: Arc<Space>, seed: u64, options: Options, bounds: Bounds, now: Instant) -> Sweep {
        Sweep {
            frontier: Frontier::new(space, seed),
            briefing: Briefing { seed, options, hints: HashMap::new() },
            pacing: Pacing::new(bounds, now),
            halt: Halt::default(),
            active: HashMap::new(),
            ready: BTreeSet::new(),
            progress: Progress::default(),
        }
    }

    /// Asks only where the port stage finds somebody; and, before others, where a hint says that there is a server.
    pub fn knocking(mut self, now: Instant) -> Sweep {
        let mut plan = Plan::new(self.frontier.space.clone(), self.briefing.seed, self.pacing.bounds.rate, now);
        for (address, hints) in &self.briefing.hints {
            for endpoint in hints.iter().filter_map(|(port, _)| Some(Endpoint::new(*address, (*port)?))) {
                if self.frontier.space.index_of(endpoint).is_some() {
                    plan.spare(endpoint);
                    self.frontier.open.push_back(endpoint);
                }
            }
        }
        self.frontier.stage = Some(plan);
        self
    }

    /// Goes on where another sweep of the same space and seed stopped.
    pub fn resume(&mut self, position: &Position, now: Instant) {
        let known: HashSet<Endpoint> = self.frontier.open.iter().copied().collect();
        let pending = position.pending.iter().copied().filter(|e| self.frontier.space.index_of(*e).is_some() && !known.contains(e));
        match &mut self.frontier.stage {
            Some(plan) => plan.resume(position.round, position.next, pending, now),
            None => {
                self.frontier.next_index = position.next.min(self.frontier.order.len());
                self.frontier.open.extend(pending);
            }
        }
    }

    pub fn position(&self, now: Instant) -> Position {
        if let Some(position) = &self.halt.stopped_at {
            return position.clone();
        }
        let (round, next) = self.frontier.stage.as_ref().map_or((0, self.frontier.next_index), |plan| plan.position(now));
        let unanswered = self.frontier.stage.iter().flat_map(|plan| plan.begun(now));
        let begun = self.active.keys().chain(&self.frontier.open).copied().chain(self.frontier.again.iter().map(|(_, e)| *e));
        Position { round, next, pending: begun.chain(unanswered).collect() }
    }

    /// What is known about an address, on one port or all.
    pub fn hint(&mut self, address: IpAddr, port: Option<u16>, hint: Hint) {
        self.briefing.hints.entry(address).or_default().push((port, hint));
    }

    pub fn progress(&self) -> Progress {
        let Some(plan) = &self.frontier.stage else { return self.progress.clone() };
        let unfinished = (self.frontier.open.len() + self.active.len()) as u64;
        Progress { finished: plan.visited().saturating_sub(unfinished), knocks: plan.counts(), ..self.progress.clone() }
    }

    pub fn is_done(&self) -> bool {
        let all_begun = self.frontier.open.is_empty()
            && self.frontier.stage.as_ref().map_or(self.frontier.next_index >= self.frontier.order.len(), Plan::is_done);
        self.active.is_empty() && (self.halt.stopping || all_begun && self.frontier.again.is_empty())
    }

    /// When to tick, if nothing else happens before.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let stage =
            self.frontier.stage.as_ref().filter(|_| !self.idle() && self.frontier.open.len() < MAX_OPEN).and_then(|p| p.wake_at(now));
        let first = [stage, self.question_at(now)].into_iter().flatten().min()?;
        Some(first.max(self.pacing.pace.free_at(now)))
    }

    fn question_at(&self, now: Instant) -> Option<Instant> {
        if self.pacing.under_way >= self.pacing.bounds.concurrency {
            return None;
        }
        let more = !self.frontier.open.is_empty() || self.frontier.stage.is_none() && self.frontier.next_index < self.frontier.order.len();
        if more && !self.idle() && self.active.len() < self.max_active() {
            return Some(now);
        }
        let ready = self.ready.first().map(|(at, _)| *at);
        let again = self.frontier.again.front().map(|(at, _)| *at).filter(|_| !self.idle());
        [ready, again].into_iter().flatten().min()
    }

    pub fn handle(&mut self, event: Event, now: Instant, at: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tick => {}
            Event::Answered(answered) => {
                let (question, outcome) = *answered;
                self.answered(&question, &outcome, now, at, &mut effects);
            }
            Event::Heard(heard) => {
                // After a stop nobody is asked any more.
                let opened = self.frontier.stage.as_mut().and_then(|plan| plan.hear(heard));
                self.frontier.open.extend(opened.filter(|_| !self.halt.stopping));
            }
            Event::Knocked { sent, failed } => {
                if let Some(plan) = &mut self.frontier.stage {
                    plan.sent(sent, failed, now);
                }
            }
            Event::Rest(resting) => self.halt.resting = resting,
            Event::Stop => self.stop(now, at, &mut effects),
        }
        self.fill(now, &mut effects);
        effects
    }

    /// Nobody new is begun.
    fn idle(&self) -> bool {
        self.halt.stopping || self.halt.resting
    }

    fn max_active(&self) -> usize {
        self.pacing.bounds.concurrency.saturating_mul(ACTIVE_PER_SLOT)
    }

    fn answered(&mut self, question: &Question, outcome: &Outcome, now: Instant, at: Timestamp, effects: &mut Vec<Effect>) {
        self.pacing.under_way = self.pacing.under_way.saturating_sub(1);
        let Some((interrogation, _)) = self.active.get_mut(&question.endpoint) else { return };
        interrogation.absorb(question, outcome);
        if self.halt.stopping {
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
            self.ready.insert((self.pacing.courtesy.free_at(endpoint, now).max(from), endpoint));
            return;
        }
        if interrogation.absent()
            && !self.halt.stopping
            && self.frontier.space.len() <= SECOND_LOOK
            && self.frontier.tried_again.insert(endpoint)
        {
            self.active.remove(&endpoint);
            self.frontier.again.push_back((now + SECOND_LOOK_AFTER, endpoint));
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
        self.halt.stopped_at.get_or_insert(self.position(now));
        self.halt.stopping = true;
        self.frontier.again.clear();
        self.frontier.open.clear();
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
        self.ask(now, effects);
        self.knock(now, effects);
    }

    /// Questions go before the port stage: what was found is looked at before more is looked for.
    fn ask(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.pacing.under_way < self.pacing.bounds.concurrency && self.pacing.pace.free(now) > 0 {
            let Some((from, endpoint)) = self.ready.pop_first() else { return };
            let free = self.pacing.courtesy.free_at(endpoint, now).max(from);
            if free > now {
                self.ready.insert((free, endpoint));
                // The earliest of all is not free yet, unless another's host was asked meanwhile: look at each once.
                if from > now {
                    return;
                }
                continue;
            }
            let Some(question) = self.active.get_mut(&endpoint).and_then(|(_, slot)| slot.take()) else { continue };
            self.pacing.pace.take(connections(&question), now);
            self.pacing.courtesy.take(endpoint, now);
            self.pacing.under_way += 1;
            self.progress.questions += 1;
            effects.push(Effect::Ask(question));
        }
    }

    fn knock(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let slots = self.pacing.pace.free(now);
        if slots == 0 || self.idle() || self.frontier.open.len() >= MAX_OPEN {
            return;
        }
        let Some(plan) = self.frontier.stage.as_mut() else { return };
        let batch = plan.fill(slots, &mut self.pacing.courtesy, now);
        if !batch.is_empty() {
            self.pacing.pace.take(batch.len() as u32, now);
            effects.push(Effect::Knock(batch));
        }
    }

    /// Takes new endpoints while there is room: those that are open, those in permuted order, those to be tried once more.
    fn begin(&mut self, now: Instant) {
        while !self.idle() && self.active.len() < self.max_active() {
            if let Some(endpoint) = self.frontier.open.pop_front() {
                if !self.active.contains_key(&endpoint) {
                    self.begin_at(endpoint, self.frontier.space.index_of(endpoint).unwrap_or_default(), now);
                }
                continue;
            }
            let Some(position) = self.frontier.order.at(self.frontier.next_index).filter(|_| self.frontier.stage.is_none()) else { break };
            self.frontier.next_index += 1;
            if let Some(endpoint) = self.frontier.space.at(position) {
                self.begin_at(endpoint, position, now);
            }
        }
        while !self.idle() && self.active.len() < self.max_active() && self.frontier.again.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, endpoint)) = self.frontier.again.pop_front() else { break };
            self.begin_at(endpoint, u64::from(endpoint.port), now);
        }
    }

    fn begin_at(&mut self, endpoint: Endpoint, position: u64, now: Instant) {
        let mut interrogation = self.briefing.interrogation(endpoint, position);
        let question = interrogation.next_question();
        self.active.insert(endpoint, (interrogation, question));
        self.ready.insert((self.pacing.courtesy.free_at(endpoint, now), endpoint));
    }
}

/// Connections a question may open: an event stream, and a message and the control to the place it announces.
fn connections(question: &Question) -> u32 {
    if matches!(question.ask, Ask::Stream) { 3 } else { 1 }
}

/// How long after a stop the last answers are waited for.
pub const STOP_GRACE: Duration = Duration::from_millis(800);

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
