//! Whom to knock at, and when. Pure; memory is one bit per endpoint and a few bounded queues.

use super::packet::Heard;
use crate::probe::{
    order::Permutation,
    pace::{Courtesy, Pace},
    targets::Space,
};
use rules::endpoint::Endpoint;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// A space no larger than this is knocked at twice; a larger one only when packets were lost on the way.
const TWICE: u64 = 65_536;
/// The last answers are waited for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Endpoints whose host or subnet rests, kept for later; then the order itself waits.
const MAX_DEFERRED: usize = 4096;
/// Batches that may be on their way to the kernel.
const MAX_BATCHES: u32 = 4;
const BATCH: u32 = 512;

#[derive(Debug)]
pub struct Plan {
    space: Arc<Space>,
    order: Permutation,
    round: u8,
    next: u64,
    /// From when, and which index of the space.
    deferred: BTreeSet<(Instant, u64)>,
    unanswered: Unanswered,
    open: Bits,
    canaries: Canaries,
    batches: u32,
    last_sent: Option<Instant>,
    done: bool,
    counts: Counts,
}

/// What the stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// SYNs that left, and that could not.
    pub sent: u64,
    pub failed: u64,
    /// Endpoints that take connections.
    pub open: u64,
    /// Questions to endpoints that had answered before, and those that stayed open: loss on the way.
    pub canaries: u64,
    pub canaries_lost: u64,
}

impl Plan {
    /// `rate`: the most packets per second; less when packets are lost.
    pub fn new(space: Arc<Space>, seed: u64, rate: u32, now: Instant) -> Plan {
        Plan {
            order: Permutation::new(space.len(), seed),
            open: Bits::new(space.len()),
            space,
            round: 0,
            next: 0,
            deferred: BTreeSet::new(),
            unanswered: Unanswered::default(),
            canaries: Canaries::new(rate, now),
            batches: 0,
            last_sent: None,
            done: false,
            counts: Counts::default(),
        }
    }

    /// Goes on where another plan for the same space stopped, with those that it had begun: one SYN costs less than a connection
    /// that nobody takes.
    pub fn resume(&mut self, round: u8, next: u64, begun: impl Iterator<Item = Endpoint>, now: Instant) {
        (self.round, self.next) = (round.min(1), next.min(self.order.len()));
        self.deferred.extend(begun.filter_map(|endpoint| Some((now, self.space.index_of(endpoint)?))));
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn rate(&self) -> u32 {
        self.canaries.rate
    }

    /// The round, and the position in it up to which nobody can answer any more.
    pub fn position(&self, now: Instant) -> (u8, u64) {
        (self.round, self.unanswered.since(self.next, now))
    }

    /// Taken from the order before [`Plan::position`], and not knocked at yet or so lately that an answer may come.
    pub fn begun(&self, now: Instant) -> impl Iterator<Item = Endpoint> + '_ {
        let deferred = self.deferred.iter().map(|(_, index)| *index);
        deferred.chain(self.unanswered.rested(now)).filter_map(|index| self.space.at(index))
    }

    /// Endpoints that had their first packet.
    pub fn visited(&self) -> u64 {
        if self.round == 0 { self.next.saturating_sub(self.deferred.len() as u64) } else { self.order.len() }
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    /// This one is asked anyway.
    pub fn spare(&mut self, endpoint: Endpoint) {
        if let Some(index) = self.space.index_of(endpoint) {
            self.open.set(index);
        }
    }

    /// When there is something to do, if nothing is heard before.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.done || self.batches >= MAX_BATCHES {
            return None;
        }
        let rested = self.deferred.first().map(|(at, _)| *at);
        let at = match (self.next < self.order.len() && self.deferred.len() < MAX_DEFERRED, rested) {
            (true, _) => now,
            (false, Some(at)) => at,
            (false, None) => return self.round_over_at(),
        };
        Some(at.max(self.canaries.pace.free_at(now)))
    }

    fn round_over_at(&self) -> Option<Instant> {
        (self.batches == 0).then_some(self.last_sent? + LAST_ANSWERS)
    }

    /// At most `slots` endpoints to send a SYN to, now.
    pub fn fill(&mut self, slots: u32, courtesy: &mut Courtesy, now: Instant) -> Vec<Endpoint> {
        self.canaries.judge(now, &mut self.counts);
        if self.done || self.batches >= MAX_BATCHES {
            return Vec::new();
        }
        let room = slots.min(self.canaries.pace.free(now)).min(BATCH) as usize;
        let mut batch = Vec::with_capacity(room);
        if room > 0 {
            self.unanswered.signature(self.next, now);
            // Only beside fresh ones: canaries alone would keep a round from ending, and their hosts' other ports from their turn.
            if self.next < self.order.len() {
                batch.extend(self.canaries.next(courtesy, now));
            }
            self.rested(room, &mut batch, courtesy, now);
            self.fresh(room, &mut batch, courtesy, now);
        }
        if !batch.is_empty() {
            self.canaries.pace.take(batch.len() as u32, now);
            self.batches += 1;
            self.last_sent = Some(now);
        } else if self.next >= self.order.len() && self.deferred.is_empty() {
            self.end_round(now);
        }
        batch
    }

    fn rested(&mut self, room: usize, batch: &mut Vec<Endpoint>, courtesy: &mut Courtesy, now: Instant) {
        while batch.len() < room && self.deferred.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, index)) = self.deferred.pop_first() else { return };
            let Some(endpoint) = self.space.at(index).filter(|_| !self.open.get(index)) else { continue };
            let free = courtesy.free_at(endpoint, now);
            if free > now {
                self.deferred.insert((free, index));
                continue;
            }
            courtesy.take(endpoint, now);
            self.unanswered.after_rest(index, now);
            batch.push(endpoint);
        }
    }

    fn fresh(&mut self, room: usize, batch: &mut Vec<Endpoint>, courtesy: &mut Courtesy, now: Instant) {
        while batch.len() < room && self.deferred.len() < MAX_DEFERRED {
            let Some(index) = self.order.at(self.next) else { return };
            self.next += 1;
            let Some(endpoint) = self.space.at(index).filter(|_| !self.open.get(index)) else { continue };
            let free = courtesy.free_at(endpoint, now);
            if free > now {
                self.deferred.insert((free, index));
                continue;
            }
            courtesy.take(endpoint, now);
            batch.push(endpoint);
        }
    }

    fn end_round(&mut self, now: Instant) {
        // Nothing had to be sent at all, or the last answers may still come.
        if self.last_sent.is_some() && self.round_over_at().is_none_or(|at| at > now) {
            return;
        }
        let lossy = self.counts.canaries_lost * 100 > self.counts.canaries;
        if self.round == 0 && self.last_sent.is_some() && (self.space.len() <= TWICE || lossy) {
            (self.round, self.next) = (1, 0);
            self.unanswered = Unanswered::default();
        } else {
            self.done = true;
        }
    }

    /// A batch has left.
    pub fn sent(&mut self, sent: u32, failed: u32, now: Instant) {
        self.batches = self.batches.saturating_sub(1);
        self.last_sent = Some(now);
        self.counts.sent += u64::from(sent);
        self.counts.failed += u64::from(failed);
    }

    /// Somebody answered. Gives an endpoint that was not known to be open.
    pub fn hear(&mut self, heard: Heard) -> Option<Endpoint> {
        let endpoint = heard.endpoint();
        let index = self.space.index_of(endpoint)?;
        self.canaries.hear(endpoint);
        if matches!(heard, Heard::Closed(_)) || self.open.get(index) {
            return None;
        }
        self.open.set(index);
        self.counts.open += 1;
        Some(endpoint)
    }
}

/// What left so lately that its answer may be on the way: a sweep that goes on after a crash asks it again.
#[derive(Debug, Default)]
struct Unanswered {
    /// Where the order was, and when; the first is the last that lies [`LAST_ANSWERS`] back.
    signatures: VecDeque<(Instant, u64)>,
    /// Knocked at after a rest, hence not by the order.
    rested: VecDeque<(Instant, u64)>,
}

const MARK_EVERY: Duration = Duration::from_millis(50);
/// Beyond it the oldest are forgotten.
const MAX_RESTED: usize = 16_384;

impl Unanswered {
    fn signature(&mut self, next: u64, now: Instant) {
        if self.signatures.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < MARK_EVERY) {
            return;
        }
        self.signatures.push_back((now, next));
        while self.signatures.get(1).is_some_and(|(at, _)| is_over(*at, now)) {
            self.signatures.pop_front();
        }
    }

    fn after_rest(&mut self, index: u64, now: Instant) {
        while self.rested.len() >= MAX_RESTED || self.rested.front().is_some_and(|(at, _)| is_over(*at, now)) {
            self.rested.pop_front();
        }
        self.rested.push_back((now, index));
    }

    /// Where the order was [`LAST_ANSWERS`] ago; `next` when nothing has left since.
    fn since(&self, next: u64, now: Instant) -> u64 {
        let over = self.signatures.iter().rev().find(|(at, _)| is_over(*at, now)).or(self.signatures.front());
        let all_over = self.signatures.back().is_none_or(|(at, _)| is_over(*at + MARK_EVERY, now));
        if all_over { next } else { over.map_or(next, |(_, next)| *next) }
    }

    fn rested(&self, now: Instant) -> impl Iterator<Item = u64> + '_ {
        self.rested.iter().filter(move |(at, _)| !is_over(*at, now)).map(|(_, index)| *index)
    }
}

fn is_over(sent: Instant, now: Instant) -> bool {
    now.saturating_duration_since(sent) >= LAST_ANSWERS
}

/// One bit per endpoint.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: u64) -> Bits {
        Bits(vec![0; usize::try_from(len.div_ceil(64)).unwrap_or(0)])
    }

    fn get(&self, index: u64) -> bool {
        self.0.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set(&mut self, index: u64) {
        if let Some(word) = self.0.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
    }
}

/// Who has answered is knocked at again now and then: when they fall silent, packets are lost on the way, and the rate is halved;
/// it grows again by an eighth of its most each second.
#[derive(Debug)]
struct Canaries {
    most: u32,
    rate: u32,
    pace: Pace,
    alive: VecDeque<Endpoint>,
    asked: HashMap<Endpoint, Instant>,
    next: Instant,
    judged: Instant,
    recent: (u32, u32),
}

const MAX_ALIVE: usize = 64;
const CANARY_EVERY: Duration = Duration::from_millis(50);
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Never slower than this share of the most, nor than a packet per second.
const SLOWEST: u32 = 64;

impl Canaries {
    fn new(rate: u32, now: Instant) -> Canaries {
        let most = rate.max(1);
        let (alive, asked) = (VecDeque::new(), HashMap::new());
        Canaries { most, rate: most, pace: Pace::new(most), alive, asked, next: now, judged: now, recent: (0, 0) }
    }

    fn hear(&mut self, endpoint: Endpoint) {
        if self.asked.remove(&endpoint).is_some() {
            self.recent.0 += 1;
        }
        if self.alive.len() < MAX_ALIVE && !self.alive.contains(&endpoint) {
            self.alive.push_back(endpoint);
        }
    }

    fn next(&mut self, courtesy: &mut Courtesy, now: Instant) -> Option<Endpoint> {
        let endpoint = *self.alive.front()?;
        if self.next > now || self.asked.contains_key(&endpoint) {
            return None;
        }
        self.alive.rotate_left(1);
        self.next = now + CANARY_EVERY;
        if courtesy.free_at(endpoint, now) > now {
            return None;
        }
        courtesy.take(endpoint, now);
        self.asked.insert(endpoint, now);
        Some(endpoint)
    }

    fn judge(&mut self, now: Instant, counts: &mut Counts) {
        if now.saturating_duration_since(self.judged) < ANSWERS_WITHIN {
            return;
        }
        self.judged = now;
        let before = self.asked.len();
        let lost: Vec<Endpoint> =
            self.asked.iter().filter(|(_, at)| now.saturating_duration_since(**at) >= ANSWERS_WITHIN).map(|(e, _)| *e).collect();
        self.asked.retain(|e, _| !lost.contains(e));
        // A canary that died is no canary: those that are silent make room for others.
        self.alive.retain(|e| !lost.contains(e));
        self.recent.1 += (before - self.asked.len()) as u32;
        let (answered, lost) = std::mem::take(&mut self.recent);
        counts.canaries += u64::from(answered + lost);
        counts.canaries_lost += u64::from(lost);
        let rate = if lost >= 2 && lost * 5 > answered + lost {
            (self.rate / 2).max(self.most / SLOWEST).max(1)
        } else {
            self.rate.saturating_add(self.most / 8).min(self.most)
        };
        if rate != self.rate {
            self.rate = rate;
            let mut pace = Pace::new(rate);
            pace.take(1, now);
            self.pace = pace;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::targets::{Limits, Target, parse};

    fn space(target: &str, ports: &[u16]) -> Arc<Space> {
        let limits =
            Limits { allow_public: false, allow: Vec::new(), max_addresses: 65_536, exclude: Vec::new(), exclude_ports: BTreeSet::new() };
        let Ok(Target::Block(first, last)) = parse(target) else { panic!("{target}") };
        Arc::new(Space::new(&[(first, last)], ports, &limits).unwrap())
    }

    /// Runs to the end on a clock of its own. `network` says what comes back; a packet may be lost.
    fn play(
        mut plan: Plan,
        per_host: u32,
        mut network: impl FnMut(Endpoint, Duration) -> Option<Heard>,
    ) -> (Vec<(Duration, Endpoint)>, Plan) {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(per_host, 100_000, start);
        let (mut now, mut sent) = (start, Vec::new());
        for _ in 0..2_000_000 {
            let batch = plan.fill(u32::MAX, &mut courtesy, now);
            if !batch.is_empty() {
                plan.sent(batch.len() as u32, 0, now);
            }
            for endpoint in batch {
                sent.push((now - start, endpoint));
                network(endpoint, now - start).map(|heard| plan.hear(heard));
            }
            if plan.is_done() {
                return (sent, plan);
            }
            now = plan.wake_at(now).expect("a plan that waits for nothing").max(now + Duration::from_micros(100));
        }
        panic!("a plan without end");
    }

    #[test]
    fn everybody_is_knocked_at_and_who_is_silent_once_more() {
        let plan = Plan::new(space("10.0.0.0/24", &[3000, 3001]), 7, 1000, Instant::now());
        let open: Endpoint = "10.0.0.9:3001".parse().unwrap();
        let (sent, plan) = play(plan, 10, |e, _| (e == open).then_some(Heard::Open(e)));
        let mut times: HashMap<Endpoint, Vec<Duration>> = HashMap::new();
        sent.iter().for_each(|(at, e)| times.entry(*e).or_default().push(*at));
        assert_eq!((times.len(), plan.counts().open), (508, 1));
        assert!(times.iter().filter(|(e, _)| **e != open).all(|(_, t)| t.len() == 2 && t[1] - t[0] >= Duration::from_secs(1) / 10));
        for (i, (at, e)) in sent.iter().enumerate() {
            let second = || sent[i..].iter().take_while(|(t, _)| *t < *at + Duration::from_secs(1));
            assert!(second().count() <= 1000);
            assert!(second().filter(|(_, o)| o.address == e.address).count() <= 10);
        }
    }

    #[test]
    fn where_packets_are_lost_the_rate_falls_and_comes_back() {
        let plan = Plan::new(space("10.0.0.0/18", &[80, 3000, 3001, 8000, 8080]), 7, 4000, Instant::now());
        let mut at_most = HashMap::new();
        let (sent, plan) = play(plan, 10, |e, at| {
            *at_most.entry(at.as_secs()).or_insert(0) += 1;
            // Between the fourth and the tenth second the way is jammed.
            let jammed = (4..10).contains(&at.as_secs());
            (!jammed && e.address.to_string().ends_with('7')).then_some(Heard::Open(e))
        });
        assert!(at_most[&2] > 3500 && at_most[&9] < 1500, "{at_most:?}");
        let last = sent.last().unwrap().0.as_secs();
        assert!((10..last).any(|s| at_most.get(&s).is_some_and(|n| *n > 3000)), "{at_most:?}");
        assert!(plan.counts().canaries_lost > 5 && plan.position(Instant::now()).0 == 1, "loss: a second round");
    }

    #[test]
    fn a_plan_goes_on_where_another_stopped() {
        let space = space("10.0.0.0/17", &[80, 3000, 3001]);
        let mut plan = Plan::new(space.clone(), 7, 100_000, Instant::now());
        plan.resume(0, 90_000, [space.at(1).unwrap()].into_iter(), Instant::now());
        let (sent, _) = play(plan, 10, |_, _| None);
        assert!((space.len() - 90_000..=space.len() - 89_999).contains(&(sent.len() as u64)), "{}", sent.len());
        assert_eq!(sent[0].1, space.at(1).unwrap());
    }

    #[test]
    fn what_may_still_be_answered_is_not_behind_the_position() {
        let start = Instant::now();
        let space = space("10.0.0.0/17", &[80, 3000, 3001]);
        let mut plan = Plan::new(space.clone(), 7, 1000, start);
        // Few per host, so that many rest first.
        let mut courtesy = Courtesy::new(1, 20, start);
        let (mut sent, mut now) = (Vec::new(), start);
        for step in 0..4000u64 {
            now = start + Duration::from_millis(step);
            let batch = plan.fill(u32::MAX, &mut courtesy, now);
            plan.sent(batch.len() as u32, 0, now);
            sent.extend(batch.into_iter().map(|e| (now, e)));
        }
        let (round, next) = plan.position(now);
        let mut again = Plan::new(space, 7, 100_000, now);
        again.resume(round, next, plan.begun(now).collect::<Vec<_>>().into_iter(), now);
        let (repeated, _) = play(again, 100_000, |_, _| None);
        let repeated: std::collections::HashSet<Endpoint> = repeated.into_iter().map(|(_, e)| e).collect();
        let (mut early, mut late) = (0, 0);
        for (at, endpoint) in sent {
            let age = now - at;
            if age < LAST_ANSWERS {
                assert!(repeated.contains(&endpoint), "{endpoint}, sent {age:?} ago");
                late += 1;
            } else if age > LAST_ANSWERS + 2 * MARK_EVERY {
                assert!(!repeated.contains(&endpoint), "{endpoint}, sent {age:?} ago");
                early += 1;
            }
        }
        assert!(early > 1000 && late > 500, "{early} {late}");
    }
}
