//! The decisions of the reconciler: which action, and when. Pure: events and the time in, effects out; [`crate::run()`] performs them.

mod event;
mod gate;
mod kernel;
mod repair;
mod report;
mod trial;
mod validity;

pub use event::{Candidate, Cause, Effect, Event, Now};

use crate::{config::Mode, health, state::PointState};
use gate::HealthGate;
use repair::Repairs;
use report::Reports;
use rules::{decision::DecisionSet, observation::Outcome};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use trial::Trial;
use validity::Validity;

/// A set that could not be applied for a reason that may pass is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);

/// Decides what has to happen at one enforcement point.
#[derive(Debug)]
pub struct Core {
    point: String,
    mode: Mode,
    state: PointState,
    current: Option<Arc<DecisionSet>>,
    /// A set that could not be applied yet, and when it is tried again.
    pending: Option<(Arc<DecisionSet>, Instant)>,
    renew_at: Option<Instant>,
    /// The kernel's generation after our last commit: commits up to there are known.
    kernel: Option<u32>,
    /// Set once the state was read for the first time.
    started: bool,
    repairs: Repairs,
    trial: Trial,
    validity: Validity,
    gate: HealthGate,
    reports: Reports,
}

impl Core {
    pub fn new(point: &str, mode: Mode) -> Core {
        Core {
            point: point.to_owned(),
            mode,
            state: PointState::default(),
            current: None,
            pending: None,
            renew_at: None,
            kernel: None,
            started: false,
            repairs: Repairs::default(),
            trial: Trial::default(),
            validity: Validity::default(),
            gate: HealthGate::default(),
            reports: Reports::default(),
        }
    }

    /// New blocks wait until somebody says that this host is well.
    pub fn gated(mut self) -> Core {
        self.gate.enabled = true;
        self
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
    pub fn handle_state(&mut self, state: &PointState, current: Arc<DecisionSet>) {
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
                self.trial.disturbed = Some(format!("was on trial when {who} changed table inet gnomon ({why})"));
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
        if self.gate.waiting.is_some() {
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

    fn on_state(&mut self, state: PointState, current: Option<Arc<DecisionSet>>, now: Now) -> Vec<Effect> {
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
        let waits = self.state.gate.as_ref().filter(|g| self.gate.enabled && g.failed.is_none() && self.state.stopped.is_none());
        // Somebody else settled it; what we could not write down stays refused.
        self.gate.refused.take_if(|(refused, _)| self.state.gate.as_ref().is_none_or(|g| g.generation != *refused));
        self.gate.waiting = waits.filter(|_| self.gate.refused.is_none()).map(|g| (g.generation, now.mono + health::ANSWER_TIMEOUT));
        if let Some((generation, _)) = self.gate.waiting {
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
        Some(match &self.gate.refused {
            Some((generation, why)) if *generation == set.generation => Effect::Withdraw(set, why.clone()),
            _ => Effect::Uphold(set, cause),
        })
    }

    fn on_tick(&mut self, now: Now) -> Vec<Effect> {
        if self.state.stopped.is_some() {
            return Vec::new();
        }
        if let Some((generation, by)) = self.gate.waiting {
            let late = by <= now.mono;
            let why = format!("nobody said within {} s whether this host is well", health::ANSWER_TIMEOUT.as_secs());
            return if late { self.withdraw(generation, why) } else { Vec::new() };
        }
        if self.state.confirm_by.is_some() {
            // On trial the kernel's own clock decides; afterwards we tidy up.
            let wait = self.on_trial(now) || self.trial.roll_back_at.is_some_and(|at| at > now.mono);
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
        if self.repairs.paused_until.is_some_and(|until| until <= now.mono) {
            self.repairs.paused_until = None;
            self.repairs.times.clear();
            return self.uphold(Cause::Look { actor: String::new() }).into_iter().collect();
        }
        if self.repairs.paused_until.is_none() && self.renew_at.is_some_and(|at| at <= now.mono) {
            return self.uphold(Cause::Renewal).into_iter().collect();
        }
        Vec::new()
    }

    /// What could not be applied for a reason that may pass.
    pub fn try_again(&mut self, set: Arc<DecisionSet>, now: Now) {
        self.pending = Some((set, now.mono + RETRY));
    }
}

#[cfg(test)]
mod tests;
