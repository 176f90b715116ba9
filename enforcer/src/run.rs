//! The loop: wait for something to happen, let [`Core`] think, do what it says.

use crate::{
    config::{Config, Mode},
    core::{Candidate, Cause, Core, Effect, Event, Now},
    intake::Refused,
    netlink::Commit,
    point::{Enacted, Error, Manner, Point, lease},
    state::State,
};
use rules::{Timestamp, decision::DecisionSet, observation::Applied, wire::v1::Signed};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often the clock, the state directory and the kernel's generation are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Makes this host match each set as it arrives, until `shutdown`. What the kernel then holds lapses by itself, unless
/// `remove_on_exit`.
///
/// Errors end it only when it could not even start (state directory, configuration); a missing or failing `nft` is reported
/// through `reports` and tried again.
pub async fn run(
    config: Config,
    mut sets: watch::Receiver<Option<Arc<Signed>>>,
    reports: mpsc::Sender<Applied>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut point = Point::open(config)?;
    let mut commits = match point.monitor.as_mut().map(|m| m.listen()) {
        Some(Ok(told)) => told,
        _ => mpsc::channel(1).1,
    };
    let mut hands = Hands { core: Core::new(&point.name, point.config.mode), seen: None, polled: None, trusted: None, reports, point };
    // A damaged state is an error of the installation: better not to start than to forget what was applied.
    hands.point.store.load()?;
    hands.look_at_state().await;
    if hands.point.config.mode == Mode::Enforce
        && let Err(why) = hands.point.nft.probe(&hands.point.config.hooks).await
    {
        hands.happen(Event::Trouble(format!("enforcement is unavailable on this host: {why}"))).await;
    }
    hands.finish_what_was_begun().await;
    sets.mark_changed();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut sets_open, mut commits_open) = (true, true);
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            commit = commits.recv(), if commits_open => match commit {
                Some(commit) => { hands.point.heard(commit.as_ref()); Event::Commit(commit) }
                None => { commits_open = false; continue }
            },
            changed = sets.changed(), if sets_open => match changed {
                Ok(()) => match hands.arrived(sets.borrow_and_update().clone()) { Some(event) => event, None => continue },
                Err(_) => { sets_open = false; continue }
            },
            _ = tick.tick() => {
                hands.look_at_state().await;
                hands.look_at_kernel().await;
                Event::Tick
            }
        };
        hands.happen(event).await;
    }
    hands.end().await
}

fn now() -> Now {
    Now { mono: Instant::now(), wall: Timestamp::now() }
}

/// A set as it is kept in memory: words for people stay on disk.
fn lean(mut set: DecisionSet) -> DecisionSet {
    set.decisions.iter_mut().for_each(|d| d.reason = String::new());
    set.decisions.shrink_to_fit();
    set
}

struct Hands {
    core: Core,
    point: Point,
    /// The state as the core knows it.
    seen: Option<State>,
    /// The kernel's generation at the last tick.
    polled: Option<u32>,
    /// The skeleton as we last wrote and read it.
    trusted: Option<String>,
    reports: mpsc::Sender<Applied>,
}

impl Hands {
    /// One event, and whatever it leads to.
    async fn happen(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.core.handle(event, now()) {
                events.extend(self.perform(effect).await);
            }
        }
    }

    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Keep(candidate) => self.keep(&candidate).await.err().map(|why| Event::Trouble(why.to_string())),
            Effect::Adopt(candidate) => Some(self.adopt(candidate).await),
            Effect::Uphold(set, cause) => {
                let result = self.uphold(&set).await;
                Some(Event::Enacted { generation: set.generation, cause, result, kernel: self.point.generation() })
            }
            Effect::Rehearse(set) => Some(Event::Rehearsed { generation: set.generation, result: self.rehearse(&set).await }),
            Effect::RollBack => Some(self.roll_back().await),
            Effect::Report(applied) => {
                self.report(applied);
                None
            }
        }
    }

    fn report(&self, applied: Applied) {
        let Applied { point, generation, outcome, elements, reason, .. } = &applied;
        tracing::info!(point, generation, ?outcome, elements, reason, "enforcement");
        // A collector that is away must not stop the enforcer.
        if self.reports.try_send(applied).is_err() {
            tracing::warn!("nobody takes reports; one was lost");
        }
    }

    async fn rehearse(&mut self, set: &DecisionSet) -> Result<Enacted, Error> {
        let (now, state) = (Timestamp::now(), self.point.store.load()?);
        let before = state.current.and_then(|g| self.point.stored(g, now).ok());
        let how = Manner {
            now,
            trial: None,
            many_new: false,
            hold_back: true,
            before: before.as_ref(),
            new_this_hour: state.new_this_hour(now),
            left: Duration::MAX,
        };
        let (outline, _) = self.point.rehearse(set, how).await?;
        if !outline.objections.is_empty() {
            return Err(Error::Objected(outline.objections));
        }
        let elements = outline.ruleset.blocks.len();
        let (held_back, unknown) = (outline.held_back, self.point.facts().unknown);
        Ok(Enacted {
            elements,
            withheld: outline.withheld,
            new: outline.new,
            held_back,
            unknown,
            drifted: false,
            renew_in: lease(set, &how) / 3,
        })
    }

    fn arrived(&self, signed: Option<Arc<Signed>>) -> Option<Event> {
        let signed = signed?;
        let verified = self.point.verify(&signed, self.core.highest(), Timestamp::now());
        Some(Event::Set(verified.map(|set| Candidate { set: Arc::new(lean(set)), signed }).map_err(|why| (0, why.to_string()))))
    }

    async fn keep(&mut self, candidate: &Candidate) -> Result<(), Error> {
        let held = self.point.store.lock().await?;
        let mut state = self.point.store.load()?;
        self.point.store.keep_set(&held, candidate.set.generation, &candidate.signed)?;
        state.latest = state.latest.max(Some(candidate.set.generation));
        self.point.store.save(&held, &state)?;
        self.forget_difference(|seen| seen.latest = state.latest);
        Ok(())
    }

    async fn adopt(&mut self, candidate: Candidate) -> Event {
        let generation = candidate.set.generation;
        let result = self.try_adopt(&candidate).await;
        if let Err(Error::Unavailable(_) | Error::Kernel(_) | Error::Differs(_) | Error::State(_)) = &result {
            self.core.try_again(candidate, now());
        }
        Event::Enacted { generation, cause: Cause::New, result, kernel: self.point.generation() }
    }

    async fn try_adopt(&mut self, candidate: &Candidate) -> Result<Enacted, Error> {
        let (held, now) = (self.point.store.lock().await?, Timestamp::now());
        let mut state = self.point.store.load()?;
        // Between the core's thought and this lock a person may have acted.
        if let Some(why) = &state.stopped {
            return Err(Error::Stopped(why.clone()));
        }
        if let Some(by) = state.confirm_by.filter(|_| state.trial(now)) {
            return Err(Error::TrialRunning(by));
        }
        let set = &candidate.set;
        // The signature was verified when it arrived; what may have changed since is looked at again.
        if set.generation < state.highest {
            return Err(Refused::Older { theirs: set.generation, ours: state.highest }.into());
        }
        let before = match state.base {
            Some(base) => self.point.remembered(base).map(Arc::new),
            None => self.core.current(),
        };
        let base = state.base.or(before.as_ref().map(|s| s.generation)).unwrap_or(0);
        // The same set again is not a longer one.
        let left = self.core.left(set, self::now());
        let how = Manner {
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
        let enacted = self.point.enact(&held, set, how, &mut self.trusted).await?;
        state.adopt(set, enacted.new, None, now);
        state.base = enacted.held_back.then_some(base);
        self.point.store.save(&held, &state)?;
        self.core.handle_state(&state, set.clone());
        self.seen = Some(state);
        Ok(enacted)
    }

    async fn uphold(&mut self, set: &Arc<DecisionSet>) -> Result<Enacted, Error> {
        let held = self.point.store.lock().await?;
        let mut state = self.point.store.load()?;
        if let Some(why) = state.stopped {
            return Err(Error::Stopped(why));
        }
        let (now, left) = (Timestamp::now(), self.core.left(set, now()));
        let Some(base) = state.base else {
            // Nothing of it is new.
            let how = Manner { now, trial: None, many_new: true, hold_back: false, before: Some(set), new_this_hour: 0, left };
            return self.point.enact(&held, set, how, &mut self.trusted).await;
        };
        let (before, new_this_hour) = (self.point.remembered(base), state.new_this_hour(now));
        let how = Manner { now, trial: None, many_new: false, hold_back: true, before: before.as_ref(), new_this_hour, left };
        let enacted = self.point.enact(&held, set, how, &mut self.trusted).await?;
        // What held new blocks back may have passed.
        if !enacted.held_back {
            state.base = None;
            state.count_new(enacted.new, now);
            self.point.store.save(&held, &state)?;
            self.forget_difference(|seen| (seen.base, seen.hour) = (state.base, state.hour));
        }
        Ok(enacted)
    }

    async fn roll_back(&mut self) -> Event {
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

    /// A change that is our own is no news.
    fn forget_difference(&mut self, change: impl FnOnce(&mut State)) {
        if let Some(seen) = &mut self.seen {
            change(seen);
        }
    }

    /// What a person did at the command line meanwhile.
    async fn look_at_state(&mut self) {
        let state = match self.point.store.load() {
            Ok(state) if self.seen.as_ref() == Some(&state) => return,
            Ok(state) => state,
            Err(why) => return self.happen(Event::Trouble(why.to_string())).await,
        };
        let current = match state.current.map(|g| (g, self.point.stored(g, Timestamp::now()))) {
            Some((_, Ok(set))) => Some(Arc::new(lean(set))),
            Some((generation, Err(why))) => {
                let why = format!("generation {generation}, applied here last, is void and lapses: {why}");
                self.happen(Event::Trouble(why)).await;
                None
            }
            None => None,
        };
        self.seen = Some(state.clone());
        self.happen(Event::State(state, current)).await;
    }

    /// A set that had arrived when the process before us died, perhaps between the kernel and the record of it.
    async fn finish_what_was_begun(&mut self) {
        let latest = self.seen.as_ref().filter(|s| s.latest > s.current).and_then(|s| s.latest);
        if let Some(signed) = latest.and_then(|generation| self.point.store.set(generation).ok())
            && let Some(event) = self.arrived(Some(Arc::new(signed)))
        {
            self.happen(event).await;
        }
    }

    /// In case an event was lost, or nobody tells us any. Only what stands since the last tick: an event that is on its way knows
    /// more, namely who it was.
    async fn look_at_kernel(&mut self) {
        let generation = self.point.generation();
        let stands = std::mem::replace(&mut self.polled, generation) == generation;
        if let Some(generation) = generation.filter(|_| stands) {
            self.happen(Event::Commit(Some(Commit { generation, actor: String::new(), ours: true }))).await;
        }
    }

    async fn end(mut self) -> Result<(), Error> {
        if self.point.config.remove_on_exit {
            let held = self.point.store.lock().await?;
            self.point.remove(&held).await?;
        }
        Ok(())
    }
}
