//! Sets into the kernel and into the state directory, under the lock that a person at the command line takes too.

use super::{now as clocks, reconciler::Reconciler};
use crate::{
    core::{Cause, Event},
    health::{self, Gate},
    intake::Refused,
    point::{ApplyOptions, Enacted, Error, lease},
};
use rules::{Timestamp, decision::DecisionSet, wire::v1::Signed};
use std::{sync::Arc, time::Duration};

impl Reconciler {
    /// The health check was answered: what is new stays (`None`), or is held back from now on.
    pub(super) async fn settle_gate(&mut self, failed: Option<String>) -> Result<(), Error> {
        let held = self.point.store.lock().await?;
        let mut state = self.point.store.load()?;
        state.gate = failed.and_then(|why| state.gate.take().map(|gate| Gate { failed: Some(why), ..gate }));
        self.point.store.save(&held, &state)?;
        if let Some(set) = self.core.current() {
            self.core.handle_state(&state, set);
        }
        self.forget_difference(|seen| seen.gate = state.gate);
        Ok(())
    }

    /// The set without the blocks that a health check spoke against.
    pub(super) fn passed(&self, set: &Arc<DecisionSet>, gate: Option<&Gate>) -> Arc<DecisionSet> {
        let Some(gate) = gate.filter(|g| g.failed.is_some() && g.generation == set.generation) else { return set.clone() };
        Arc::new(health::counted(set, &health::new_blocks(set, self.point.remembered(gate.base).as_ref())))
    }

    pub(super) async fn rehearse(&mut self, set: &DecisionSet) -> Result<Enacted, Error> {
        let (now, state) = (Timestamp::now(), self.point.store.load()?);
        let before = state.current.and_then(|g| self.point.stored(g, now).ok());
        let options = ApplyOptions {
            now,
            trial: None,
            many_new: false,
            hold_back: true,
            before: before.as_ref(),
            new_this_hour: state.new_this_hour(now),
            left: Duration::MAX,
        };
        let (plan, _) = self.point.rehearse(set, options).await?;
        if !plan.objections.is_empty() {
            return Err(Error::Objected(plan.objections));
        }
        let elements = plan.ruleset.blocks.len();
        let (held_back, unknown) = (plan.held_back, self.point.facts().unknown);
        Ok(Enacted {
            elements,
            withheld: plan.withheld,
            new: plan.new,
            held_back,
            unknown,
            drifted: false,
            renew_in: lease(set, &options) / 3,
        })
    }

    pub(super) async fn keep(&mut self, generation: u64, signed: &Signed) -> Result<(), Error> {
        let held = self.point.store.lock().await?;
        let mut state = self.point.store.load()?;
        self.point.store.keep_set(&held, generation, signed)?;
        state.latest = state.latest.max(Some(generation));
        self.point.store.save(&held, &state)?;
        self.forget_difference(|seen| seen.latest = state.latest);
        Ok(())
    }

    pub(super) async fn adopt(&mut self, set: Arc<DecisionSet>) -> Event {
        let generation = set.generation;
        let result = self.try_adopt(&set).await;
        if let Err(Error::Unavailable(_) | Error::Kernel(_) | Error::Differs(_) | Error::State(_)) = &result {
            self.core.try_again(set, clocks());
        }
        Event::Enacted { generation, cause: Cause::New, result, kernel: self.point.generation() }
    }

    pub(super) async fn try_adopt(&mut self, set: &Arc<DecisionSet>) -> Result<Enacted, Error> {
        // In force without its file, it could neither be taken over by a restart nor be gone back to.
        if let Some((generation, signed)) = self.unkept.clone().filter(|(generation, _)| *generation == set.generation) {
            self.keep(generation, &signed).await?;
            self.unkept = None;
        }
        let (held, now) = (self.point.store.lock().await?, Timestamp::now());
        let mut state = self.point.store.load()?;
        // Between the core's thought and this lock a person may have acted.
        if let Some(why) = &state.stopped {
            return Err(Error::Stopped(why.clone()));
        }
        if let Some(by) = state.confirm_by.filter(|_| state.trial(now)) {
            return Err(Error::TrialRunning(by));
        }
        // The signature was verified when it arrived; what may have changed since is looked at again.
        if set.generation < state.highest {
            return Err(Refused::Older { theirs: set.generation, ours: state.highest }.into());
        }
        let known = state.gate.as_ref().map(|g| g.base).or(state.base);
        let before = match known {
            Some(base) => self.point.remembered(base).map(Arc::new),
            None => self.core.current(),
        };
        let base = known.or(before.as_ref().map(|s| s.generation)).unwrap_or(0);
        let gated = self.gated && !health::new_blocks(set, before.as_deref()).is_empty();
        // The same set again is not a longer one.
        let left = self.core.left(set, clocks());
        let options = ApplyOptions {
            now,
            trial: None,
            many_new: false,
            hold_back: true,
            before: before.as_deref(),
            new_this_hour: state.new_this_hour(now),
            left,
        };
        state.highest = set.generation;
        self.point.store.save(&held, &state)?;
        if gated && health::lifts(set, before.as_deref()) {
            // On a short lease nothing is lifted, and who is to be free is so at once.
            let first = Arc::new(health::counted(set, &health::new_blocks(set, before.as_deref())));
            self.point.enact(&held, &first, options, &mut self.trusted).await?;
        }
        let options = ApplyOptions { trial: gated.then_some(health::SHORT_LEASE), ..options };
        let enacted = self.point.enact(&held, set, options, &mut self.trusted).await?;
        state.adopt(set, enacted.new, None, now);
        state.base = enacted.held_back.then_some(base);
        state.gate = (gated && enacted.new > 0).then_some(Gate { generation: set.generation, base, failed: None });
        self.note(set, &enacted);
        self.point.store.save(&held, &state)?;
        self.core.handle_state(&state, set.clone());
        self.seen = Some(state);
        Ok(enacted)
    }

    pub(super) async fn uphold(&mut self, set: &Arc<DecisionSet>) -> Result<Enacted, Error> {
        let held = self.point.store.lock().await?;
        let mut state = self.point.store.load()?;
        if let Some(why) = state.stopped {
            return Err(Error::Stopped(why));
        }
        // Between their word and our next look at it: what a person took away is not put back.
        if state.current != Some(set.generation) {
            return Err(Error::Superseded(set.generation));
        }
        let (now, left) = (Timestamp::now(), self.core.left(set, clocks()));
        let set = &self.passed(set, state.gate.as_ref());
        self.counts = None;
        let Some(base) = state.base else {
            // Nothing of it is new.
            let options = ApplyOptions { now, trial: None, many_new: true, hold_back: false, before: Some(set), new_this_hour: 0, left };
            let enacted = self.point.enact(&held, set, options, &mut self.trusted).await?;
            if state.gate.is_none() {
                self.note(set, &enacted);
            }
            return Ok(enacted);
        };
        let (before, new_this_hour) = (self.point.remembered(base), state.new_this_hour(now));
        let options = ApplyOptions { now, trial: None, many_new: false, hold_back: true, before: before.as_ref(), new_this_hour, left };
        let enacted = self.point.enact(&held, set, options, &mut self.trusted).await?;
        // What held new blocks back may have passed.
        if !enacted.held_back {
            state.base = None;
            state.count_new(enacted.new, now);
            self.point.store.save(&held, &state)?;
            self.forget_difference(|seen| (seen.base, seen.hour) = (state.base, state.hour));
        }
        Ok(enacted)
    }

    pub(super) async fn open(&mut self, generation: u64) -> Result<(), Error> {
        let held = self.point.store.lock().await?;
        self.counts = None;
        let lifted = self.point.lift_all(&held).await?;
        if lifted > 0 {
            tracing::info!(generation, lifted, "the set's time ended while this host was suspended: lifted");
        }
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) -> Event {
        let (mut from, mut result) = (0, Err(Error::NothingApplied));
        match self.point.store.lock().await.and_then(|held| Ok((held, self.point.store.load()?))) {
            // Confirmed between the core's thought and this lock.
            Ok((_, state)) if state.confirm_by.is_none() => {}
            Ok((held, mut state)) => {
                from = state.current.unwrap_or(0);
                result = self.point.roll_back(&held, &mut state, Timestamp::now(), &mut self.trusted).await;
            }
            Err(why) => result = Err(why.into()),
        }
        Event::RolledBack { from, result }
    }
}
