//! When to do what. Pure: events and the time in, effects out; [`crate::run()`] performs them.

use crate::{
    config::Mode,
    health::{self, Health},
    intake::is_early,
    netlink::Commit,
    point::{Enacted, Error},
    state::State,
};
use rules::{
    Timestamp,
    decision::DecisionSet,
    observation::{Applied, Outcome, PointStatus},
    wire::v1::Signed,
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// More repairs than this within [`FIGHT`], and somebody means it: we stop for [`TRUCE`], and say so.
const REPAIRS: usize = 5;
const FIGHT: Duration = Duration::from_secs(600);
const TRUCE: Duration = Duration::from_secs(600);
/// A set that could not be applied for a reason that may pass is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Instant,
    pub wall: Timestamp,
    /// How long this host was suspended since it started. `mono` and the kernel's leases stand still then; a set's validity does not.
    pub slept: Duration,
}

impl Now {
    /// By a clock that nobody can set and that runs while the host sleeps.
    fn passed(&self) -> Instant {
        self.mono.checked_add(self.slept).unwrap_or(self.mono)
    }
}

/// A set and the signed bytes it came in.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub set: Arc<DecisionSet>,
    pub signed: Arc<Signed>,
}

/// Why the kernel is to be made to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    New,
    /// We have just started; the kernel may hold anything.
    Start,
    Renewal,
    /// Somebody (`actor`, empty if unknown) committed something that may concern us.
    Look {
        actor: String,
    },
}

#[derive(Debug)]
pub enum Event {
    /// A set arrived and verified, or did not.
    Set(Result<Candidate, (u64, String)>),
    /// What the state directory says, whenever it differs from before; with the set that should be in force.
    State(State, Option<Arc<DecisionSet>>),
    Tick,
    /// `None`: commits were missed.
    Commit(Option<Commit>),
    Enacted {
        generation: u64,
        cause: Cause,
        result: Result<Enacted, Error>,
        /// The kernel's generation afterwards.
        kernel: Option<u32>,
    },
    Rehearsed {
        generation: u64,
        result: Result<Enacted, Error>,
    },
    /// The state directory cannot be used.
    Trouble(String),
    /// Somebody asked what this host needs.
    Health(Health),
    /// New blocks were taken out again.
    Withdrawn {
        generation: u64,
        why: String,
        result: Result<Enacted, Error>,
        kernel: Option<u32>,
    },
    /// Somebody changed the table while a trial was running.
    Disturbed {
        actor: String,
        why: String,
    },
    RolledBack {
        from: u64,
        result: Result<u64, Error>,
    },
}

#[derive(Debug)]
pub enum Effect {
    /// Remember a set that arrived, whether or not it will be applied: on disk, for its signed bytes are as large as all else together.
    Keep(u64, Arc<Signed>),
    /// Make the kernel hold this set and remember it as current.
    Adopt(Arc<DecisionSet>),
    /// Make the kernel hold the current set.
    Uphold(Arc<DecisionSet>, Cause),
    Rehearse(Arc<DecisionSet>),
    /// Somebody committed something while this set is on trial: does the kernel still hold it?
    Inspect(Arc<DecisionSet>, String),
    RollBack,
    /// What this host needs still answers: the full lease for what is new.
    Pass(Arc<DecisionSet>),
    /// The set's time is over and the kernel may not know: whatever is still blocked is lifted.
    Open(u64),
    /// What is new is taken out again, for this reason; the rest stays, and lifts are done.
    Withdraw(Arc<DecisionSet>, String),
    Report(Box<Applied>),
}

#[derive(Debug)]
pub struct Core {
    point: String,
    mode: Mode,
    state: State,
    current: Option<Arc<DecisionSet>>,
    /// Wants to be applied and could not yet.
    pending: Option<(Arc<DecisionSet>, Instant)>,
    renew_at: Option<Instant>,
    /// The kernel's generation after our last commit: up to there nothing is news.
    kernel: Option<u32>,
    repairs: VecDeque<Instant>,
    truce_until: Option<Instant>,
    roll_back_at: Option<Instant>,
    /// When the trial ends by the clock that nobody can set.
    trial_ends: Option<(Timestamp, Instant)>,
    /// Why a trial ends before its time.
    disturbed: Option<String>,
    said_expired: Option<u64>,
    /// The generation whose time was over, and whose blocks were lifted for that.
    opened: Option<u64>,
    /// Until when the current set holds by the clock that nobody can set: generation, `not_after`, and that moment. Taken while the wall
    /// clock could be right.
    term: Option<(u64, Timestamp, Instant)>,
    /// The last complaint: the same one is not made every five seconds.
    complaint: Option<(u64, String)>,
    /// What the last good report said: a renewal is told when that changes.
    said: Option<String>,
    /// Somebody tells us about this host's health.
    gated: bool,
    /// The generation whose new blocks wait for that, and until when.
    gate: Option<(u64, Instant)>,
    /// Failed their check and are not known to be out: the generation is taken out wherever it would be renewed, for this reason.
    refused: Option<(u64, String)>,
    /// Until then an answer may have been asked for while refused blocks were still in force.
    deaf_until: Option<Instant>,
    /// What failed without new blocks.
    usual: Health,
    /// The checks for which new blocks were taken out.
    blamed: BTreeSet<String>,
    /// The last word was that something failed; that it no longer does is worth one, too.
    unwell: bool,
    /// Set once the state was read for the first time.
    started: bool,
}

impl Core {
    pub fn new(point: &str, mode: Mode) -> Core {
        Core {
            point: point.to_owned(),
            mode,
            state: State::default(),
            current: None,
            pending: None,
            renew_at: None,
            kernel: None,
            repairs: VecDeque::new(),
            truce_until: None,
            roll_back_at: None,
            trial_ends: None,
            disturbed: None,
            said_expired: None,
            opened: None,
            term: None,
            complaint: None,
            said: None,
            gated: false,
            gate: None,
            refused: None,
            deaf_until: None,
            usual: Health::default(),
            blamed: BTreeSet::new(),
            unwell: false,
            started: false,
        }
    }

    /// New blocks wait until somebody says that this host is well.
    pub fn gated(self) -> Core {
        Core { gated: true, ..self }
    }

    /// The oldest generation that may still come.
    pub fn highest(&self) -> u64 {
        self.state.highest
    }

    /// The set that should be in force.
    pub fn current(&self) -> Option<Arc<DecisionSet>> {
        self.current.clone()
    }

    /// What we wrote ourselves: nothing to look at.
    pub fn handle_state(&mut self, state: &State, current: Arc<DecisionSet>) {
        self.state = state.clone();
        self.current = Some(current);
    }

    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        self.note_term(now);
        let effects = self.think(event, now);
        self.note_term(now);
        self.note_trial(now);
        effects
    }

    /// How long a set may still be kept up by the monotonic clock.
    pub fn left(&self, set: &DecisionSet, now: Now) -> Duration {
        let term = self.term.filter(|(generation, not_after, _)| (*generation, *not_after) == (set.generation, set.not_after));
        term.map_or(Duration::MAX, |(.., end)| end.saturating_duration_since(now.passed()))
    }

    /// Once for each trial, as [`Core::note_term`].
    fn note_trial(&mut self, now: Now) {
        let known = self.trial_ends.map(|(by, _)| by);
        if known != self.state.confirm_by {
            let left = |by: Timestamp| Duration::try_from(by.duration_since(now.wall)).unwrap_or_default();
            self.trial_ends = self.state.confirm_by.map(|by| (by, now.mono.checked_add(left(by)).unwrap_or(now.mono)));
        }
    }

    fn on_trial(&self, now: Now) -> bool {
        self.state.trial(now.wall) && self.trial_ends.is_none_or(|(_, end)| end > now.mono)
    }

    /// Once for each set: a wall clock that is set back later gives it no more time.
    fn note_term(&mut self, now: Now) {
        let Some(set) = &self.current else { return };
        if self.left(set, now) == Duration::MAX && !is_early(set.issued_at, now.wall) {
            let left = Duration::try_from(set.not_after.duration_since(now.wall)).unwrap_or_default();
            self.term = Some((set.generation, set.not_after, now.passed().checked_add(left).unwrap_or(now.mono)));
        }
    }

    /// Why the current set is not kept up now.
    fn void(&self, now: Now) -> Option<String> {
        let set = self.current.as_ref()?;
        if set.not_after <= now.wall || self.left(set, now).is_zero() {
            return Some(format!(
                "the set expired at {} and no newer one came: its blocks have lapsed, the network is open",
                set.not_after
            ));
        }
        // A clock set back since takes nothing from a set whose end is known; one that was never right says nothing of it.
        (self.left(set, now) == Duration::MAX && is_early(set.issued_at, now.wall)).then(|| {
            format!("the set was issued at {}, and this host's clock says {}: no renewal until it is set right", set.issued_at, now.wall)
        })
    }

    fn think(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Set(Ok(candidate)) => self.on_set(candidate, now),
            Event::Set(Err((generation, why))) => vec![self.report(generation, Outcome::Refused, 0, why)],
            Event::State(state, current) => self.on_state(state, current, now),
            Event::Health(health) => self.on_health(health, now),
            Event::Withdrawn { generation, why, result, kernel } => {
                self.kernel = kernel.or(self.kernel);
                self.on_withdrawn(generation, &why, result, now)
            }
            Event::Tick => self.on_tick(now),
            Event::Commit(commit) => self.on_commit(commit, now),
            Event::Enacted { generation, cause, result, kernel } => {
                self.kernel = kernel.or(self.kernel);
                self.on_enacted(generation, &cause, result, now)
            }
            Event::Rehearsed { generation, result } => vec![self.on_rehearsed(generation, result)],
            Event::Disturbed { actor, why } => {
                let who = if actor.is_empty() { "somebody" } else { &actor };
                self.disturbed = Some(format!("was on trial when {who} changed table inet gnomon ({why})"));
                vec![Effect::RollBack]
            }
            Event::RolledBack { from, result } => self.on_rolled_back(from, result, now),
            Event::Trouble(why) => self.complain(self.highest(), Outcome::Failed, why).into_iter().collect(),
        }
    }

    fn on_set(&mut self, Candidate { set, signed }: Candidate, now: Now) -> Vec<Effect> {
        let generation = set.generation;
        let keep = Effect::Keep(generation, signed);
        if self.mode == Mode::DryRun {
            return vec![keep, Effect::Rehearse(set)];
        }
        if let Some(why) = self.hindrance(generation, now) {
            let report = self.report(generation, Outcome::Refused, 0, why);
            self.pending = Some((set, now.mono));
            return vec![keep, report];
        }
        if self.gate.is_some() {
            // First the answer about the last one: what is new must not become old unseen.
            self.pending = Some((set, now.mono));
            return vec![keep];
        }
        self.pending = None;
        vec![keep, Effect::Adopt(set)]
    }

    /// A person's word goes before a newer set.
    fn hindrance(&self, generation: u64, now: Now) -> Option<String> {
        if let Some(why) = &self.state.stopped {
            return Some(format!("enforcement was stopped on this host: {why}"));
        }
        if self.state.rolled_back.is_some_and(|g| generation <= g) {
            return Some(format!("generation {generation} was rolled back on this host; the next one will be applied"));
        }
        self.state.confirm_by.filter(|_| self.on_trial(now)).map(|by| format!("a trial is running on this host until {by}"))
    }

    fn on_state(&mut self, state: State, current: Option<Arc<DecisionSet>>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Also at the start: it may have happened while nobody ran.
        if state.stopped.is_some() && self.state.stopped != state.stopped {
            let why = format!("stopped by a person: {}", state.stopped.as_deref().unwrap_or_default());
            effects.push(self.report(state.current.unwrap_or(0), Outcome::RolledBack, 0, why));
        }
        // Whoever wrote the state did so after a commit of their own; look whether we agree.
        let trial = state.confirm_by.is_some();
        self.state = state;
        self.current = current;
        let cause = if self.started { Cause::Look { actor: String::new() } } else { Cause::Start };
        self.started = true;
        let waits = self.state.gate.as_ref().filter(|g| self.gated && g.failed.is_none() && self.state.stopped.is_none());
        // Somebody else settled it; what we could not write down stays refused.
        self.refused.take_if(|(refused, _)| self.state.gate.as_ref().is_none_or(|g| g.generation != *refused));
        self.gate = waits.filter(|_| self.refused.is_none()).map(|g| (g.generation, now.mono + health::PATIENCE));
        if let Some((generation, _)) = self.gate {
            // The process before us died in between: ask again. What lapsed meanwhile comes back when all is well.
            effects.push(self.report(generation, Outcome::Applied, 0, "waits for health checks".to_owned()));
            return effects;
        }
        if !trial {
            effects.extend(self.uphold(cause));
        }
        effects
    }

    fn uphold(&self, cause: Cause) -> Option<Effect> {
        let set = self.current.clone().filter(|_| self.state.stopped.is_none())?;
        Some(match &self.refused {
            Some((generation, why)) if *generation == set.generation => Effect::Withdraw(set, why.clone()),
            _ => Effect::Uphold(set, cause),
        })
    }

    fn on_tick(&mut self, now: Now) -> Vec<Effect> {
        if self.state.stopped.is_some() {
            return Vec::new();
        }
        if let Some((generation, by)) = self.gate {
            let late = by <= now.mono;
            let why = format!("nobody said within {} s whether this host is well", health::PATIENCE.as_secs());
            return if late { self.withdraw(generation, why) } else { Vec::new() };
        }
        if self.state.confirm_by.is_some() {
            // On trial the kernel's own clock decides; afterwards we tidy up.
            let wait = self.on_trial(now) || self.roll_back_at.is_some_and(|at| at > now.mono);
            return if wait { Vec::new() } else { vec![Effect::RollBack] };
        }
        if let Some((set, _)) = self.pending.take_if(|(_, at)| *at <= now.mono) {
            if self.hindrance(set.generation, now).is_none() {
                return vec![Effect::Adopt(set)];
            }
            self.pending = Some((set, now.mono + RETRY));
        }
        if let Some(expired) = self.expired(now) {
            return expired;
        }
        if self.truce_until.is_some_and(|until| until <= now.mono) {
            self.truce_until = None;
            self.repairs.clear();
            return self.uphold(Cause::Look { actor: String::new() }).into_iter().collect();
        }
        if self.truce_until.is_none() && self.renew_at.is_some_and(|at| at <= now.mono) {
            return self.uphold(Cause::Renewal).into_iter().collect();
        }
        Vec::new()
    }

    /// Leases were cut to end with the set; what is left to do is to say it, once, and to lift what a sleeping host kept. By the wall clock
    /// alone nothing is lifted: it may be set right before the leases end.
    fn expired(&mut self, now: Now) -> Option<Vec<Effect>> {
        let why = self.void(now)?;
        let generation = self.current.as_ref().map_or(0, |set| set.generation);
        let mut effects = Vec::new();
        let over = self.current.as_ref().is_some_and(|set| self.left(set, now).is_zero());
        if over && self.opened.replace(generation) != Some(generation) {
            effects.push(Effect::Open(generation));
        }
        if self.said_expired.replace(generation) != Some(generation) {
            // Where it was the clock's doing, that it is over is worth a word.
            self.unwell = true;
            effects.push(self.report(generation, Outcome::Failed, 0, why));
        }
        Some(effects)
    }

    fn on_commit(&mut self, commit: Option<Commit>, now: Now) -> Vec<Effect> {
        let actor = match commit {
            // Ours, or from before ours.
            Some(c) if self.kernel.is_some_and(|k| c.generation.wrapping_sub(k).cast_signed() <= 0) => return Vec::new(),
            // A number that was left out is a commit that nobody told of.
            Some(c) if !c.ours && self.kernel.is_none_or(|k| c.generation == k.wrapping_add(1)) => {
                self.kernel = Some(c.generation);
                return Vec::new();
            }
            Some(c) if !c.ours => String::new(),
            Some(c) => c.actor,
            None => String::new(),
        };
        if self.gate.is_some() || self.truce_until.is_some() || self.void(now).is_some() {
            return Vec::new();
        }
        if self.state.confirm_by.is_some() {
            // What is on trial is not mended: all goes back to what was before, and that is whole.
            return self.current.clone().map(|set| Effect::Inspect(set, actor)).into_iter().collect();
        }
        self.uphold(Cause::Look { actor }).into_iter().collect()
    }

    fn on_enacted(&mut self, generation: u64, cause: &Cause, result: Result<Enacted, Error>, now: Now) -> Vec<Effect> {
        match result {
            Ok(enacted) => {
                self.renew_at = Some(now.mono + enacted.renew_in);
                self.said_expired = None;
                self.complaint = None;
                self.refused = None;
                let waits = self.state.gate.as_ref().filter(|g| self.gated && g.generation == generation && g.failed.is_none());
                self.gate = waits.map(|_| (generation, now.mono + health::PATIENCE));
                let well_again = std::mem::take(&mut self.unwell);
                let report = crate::operator::applied(&self.point, generation, &enacted);
                let changed = self.said.replace(report.reason.clone()).is_some_and(|said| said != report.reason);
                match cause {
                    Cause::New | Cause::Start => vec![Effect::Report(Box::new(report))],
                    Cause::Look { actor } if enacted.drifted => self.on_repair(report, actor, now),
                    Cause::Look { .. } | Cause::Renewal if changed || well_again => vec![Effect::Report(Box::new(report))],
                    Cause::Look { .. } | Cause::Renewal => Vec::new(),
                }
            }
            // A person came in between; the state will say so in a moment.
            Err(Error::Stopped(_) | Error::TrialRunning(_) | Error::Superseded(_)) => Vec::new(),
            Err(why) => {
                // Try again before the leases run out. What fails again and again with a new set puts off no renewal of the one in force.
                let retry = now.mono + RETRY;
                let due = self.renew_at.filter(|_| *cause == Cause::New);
                self.renew_at = Some(due.map_or(retry, |at| at.min(retry)));
                let outcome = match &why {
                    Error::Objected(_) | Error::Refused(_) => Outcome::Refused,
                    _ => Outcome::Failed,
                };
                self.complain(generation, outcome, why.to_string()).into_iter().collect()
            }
        }
    }

    fn on_health(&mut self, health: Health, now: Now) -> Vec<Effect> {
        let generation = match self.gate {
            Some((generation, _)) if generation == health.generation => generation,
            None if health.generation == 0 && self.without_new_blocks(now) => {
                self.usual = health;
                return self.exonerate();
            }
            // Asked while new blocks were, or may have been, in force: what failed then is not usual.
            _ => return Vec::new(),
        };
        match (health.worse_than(&self.usual), self.current.clone()) {
            (Some(why), _) => {
                self.blamed = health.failed.into_keys().filter(|name| !self.usual.failed.contains_key(name)).collect();
                self.withdraw(generation, why)
            }
            (None, Some(set)) => {
                self.gate = None;
                vec![Effect::Pass(set)]
            }
            (None, None) => Vec::new(),
        }
    }

    fn without_new_blocks(&self, now: Now) -> bool {
        self.refused.is_none() && self.deaf_until.is_none_or(|until| until <= now.mono)
    }

    /// The blocks are out, and the same checks fail all the same: it was not the blocks' doing.
    fn exonerate(&mut self) -> Vec<Effect> {
        let still = !self.blamed.is_empty() && self.blamed.iter().all(|name| self.usual.failed.contains_key(name));
        let failed = self.state.gate.as_ref().is_some_and(|g| g.failed.is_some());
        let Some(set) = self.current.clone().filter(|_| still && failed) else { return Vec::new() };
        self.blamed.clear();
        vec![Effect::Pass(set)]
    }

    fn withdraw(&mut self, generation: u64, why: String) -> Vec<Effect> {
        self.gate = None;
        let set = self.current.clone().filter(|s| s.generation == generation);
        self.refused = set.as_ref().map(|_| (generation, why.clone()));
        set.map(|set| Effect::Withdraw(set, why)).into_iter().collect()
    }

    fn on_withdrawn(&mut self, generation: u64, why: &str, result: Result<Enacted, Error>, now: Now) -> Vec<Effect> {
        let done = match result {
            Ok(enacted) => {
                self.refused = None;
                self.renew_at = Some(now.mono + enacted.renew_in);
                "they were taken out again".to_owned()
            }
            Err(error) => {
                self.renew_at = Some(now.mono + RETRY);
                self.deaf_until = Some(now.mono + health::PATIENCE);
                format!("they lapse within {} s (taking them out at once failed: {error})", health::SHORT_LEASE.as_secs())
            }
        };
        let why = format!("after new blocks were applied a health check failed ({why}): {done}");
        let said = self.complain(generation, Outcome::Failed, why);
        // That stays the last word: what is held back is not well again when it is renewed without it.
        self.unwell = false;
        said.into_iter().collect()
    }

    fn on_rolled_back(&mut self, from: u64, result: Result<u64, Error>, now: Now) -> Vec<Effect> {
        match result {
            Ok(to) => {
                self.roll_back_at = None;
                let why = self.disturbed.take().unwrap_or_else(|| "was not confirmed in time".to_owned());
                vec![self.report(to, Outcome::RolledBack, 0, format!("generation {from} {why}"))]
            }
            // A person was there first: confirmed, or rolled back already.
            Err(Error::NothingApplied) => {
                (self.roll_back_at, self.disturbed) = (None, None);
                Vec::new()
            }
            Err(why) => {
                self.roll_back_at = Some(now.mono + RETRY);
                let why = format!("generation {from} was not confirmed and could not be rolled back (its blocks lapse): {why}");
                self.complain(from, Outcome::Failed, why).into_iter().collect()
            }
        }
    }

    /// What could not be applied for a reason that may pass.
    pub fn try_again(&mut self, set: Arc<DecisionSet>, now: Now) {
        self.pending = Some((set, now.mono + RETRY));
    }

    fn on_repair(&mut self, mut report: Applied, actor: &str, now: Now) -> Vec<Effect> {
        let who = if actor.is_empty() { "somebody" } else { actor };
        while self.repairs.front().is_some_and(|at| now.mono.saturating_duration_since(*at) > FIGHT) {
            self.repairs.pop_front();
        }
        self.repairs.push_back(now.mono);
        report.reason = format!("restored after {who} changed table inet gnomon");
        let mut effects = vec![Effect::Report(Box::new(report))];
        if self.repairs.len() >= REPAIRS {
            self.truce_until = Some(now.mono + TRUCE);
            let why = format!(
                "table inet gnomon was changed {REPAIRS} times within {} minutes, last by {who}: no more repairs for {} minutes; find out who it is",
                FIGHT.as_secs() / 60,
                TRUCE.as_secs() / 60
            );
            let generation = self.current.as_ref().map_or(0, |s| s.generation);
            effects.push(self.report(generation, Outcome::Failed, 0, why));
        }
        effects
    }

    fn on_rehearsed(&self, generation: u64, result: Result<Enacted, Error>) -> Effect {
        match result {
            Ok(enacted) => Effect::Report(Box::new(Applied {
                outcome: Outcome::DryRun,
                ..crate::operator::applied(&self.point, generation, &enacted)
            })),
            Err(why @ (Error::Objected(_) | Error::Refused(_))) => self.report(generation, Outcome::Refused, 0, why.to_string()),
            Err(why) => self.report(generation, Outcome::Failed, 0, why.to_string()),
        }
    }

    fn complain(&mut self, generation: u64, outcome: Outcome, why: String) -> Option<Effect> {
        let complaint = Some((generation, why.clone()));
        if self.complaint == complaint {
            return None;
        }
        self.complaint = complaint;
        self.unwell = true;
        Some(self.report(generation, outcome, 0, why))
    }

    fn report(&self, generation: u64, outcome: Outcome, elements: usize, reason: String) -> Effect {
        Effect::Report(Box::new(Applied {
            point: self.point.clone(),
            generation,
            outcome,
            elements: elements as u64,
            reason,
            status: PointStatus::default(),
        }))
    }
}

#[cfg(test)]
mod tests;
