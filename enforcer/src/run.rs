//! The loop: wait for something to happen, let [`Core`] think, do what it says.

use crate::{
    bypass,
    config::{Config, Mode},
    core::{Candidate, Cause, Core, Effect, Event, Now},
    health::{self, Gate, Health},
    intake::Refused,
    netlink::Commit,
    operator,
    point::{Enacted, Error, Manner, Point, lease},
    ruleset,
    state::State,
};
use nix::time::ClockId;
use rules::{
    Timestamp,
    decision::{Action, DecisionSet},
    observation::{Applied, Outcome, PointStatus},
    wire::v1::Signed,
};
use std::{
    io::ErrorKind,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{self, UnixDatagram},
    },
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
    sets: mpsc::Receiver<Arc<Signed>>,
    reports: mpsc::Sender<Applied>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    run_gated(config, sets, None, reports, shutdown).await
}

/// As [`run()`]; with `health`, new blocks have a short lease until it says that what this host needs still answers. Whoever says so
/// sees in the reports when it is asked ([`rules::observation::PointStatus::on_trial`]).
pub async fn run_gated(
    config: Config,
    mut sets: mpsc::Receiver<Arc<Signed>>,
    health: Option<watch::Receiver<Option<Health>>>,
    reports: mpsc::Sender<Applied>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let alone = if config.mode == Mode::Enforce { alone().map(Some) } else { Ok(None) };
    let mut point = Point::open(config)?;
    let mut commits = match point.monitor.as_mut().map(|m| m.listen()) {
        Some(Ok(told)) => told,
        _ => mpsc::channel(1).1,
    };
    let core = Core::new(&point.name, point.config.mode);
    let gated = health.is_some();
    let core = if gated { core.gated() } else { core };
    let (_never, nobody) = watch::channel(None);
    let (mut health, mut health_open) = (health.unwrap_or(nobody), true);
    let (tell, mut bypasses) = watch::channel(Vec::new());
    // A dry run enforces nothing that could be passed by.
    if point.config.mode == Mode::Enforce {
        tokio::spawn(bypass::keep_looking(point.nft.clone(), point.config.hooks.clone(), tell));
    }
    let mut hands = Hands {
        core,
        gated,
        unkept: None,
        untimely: None,
        lapsed: None,
        seen: None,
        polled: None,
        trusted: None,
        counts: None,
        bypasses: Vec::new(),
        last: None,
        reports,
        point,
    };
    // A damaged state is an error of the installation: better not to start than to forget what was applied.
    hands.point.store.load()?;
    hands.look_at_state().await;
    if let Err(why) = &alone {
        hands.happen(Event::Trouble(why.clone())).await;
    }
    if hands.point.config.mode == Mode::Enforce
        && let Err(why) = hands.point.nft.probe(&hands.point.config.shape()).await
    {
        hands.happen(Event::Trouble(format!("enforcement is unavailable on this host: {why}"))).await;
    }
    hands.finish_what_was_begun().await;
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
            signed = sets.recv(), if sets_open => match signed {
                // Each in its turn: the later one may be the older, or none at all.
                Some(signed) => hands.arrived(signed),
                None => { sets_open = false; continue }
            },
            changed = health.changed(), if health_open => match (changed, health.borrow_and_update().clone()) {
                (Ok(()), Some(health)) => Event::Health(health),
                (Ok(()), None) => continue,
                (Err(_), _) => { health_open = false; continue }
            },
            Ok(()) = bypasses.changed() => {
                hands.bypasses = bypasses.borrow_and_update().clone();
                hands.repeat().await;
                continue
            },
            _ = tick.tick() => {
                hands.say_again().await;
                hands.look_at_state().await;
                hands.look_at_the_clock().await;
                hands.look_at_kernel().await;
                Event::Tick
            }
        };
        hands.happen(event).await;
    }
    hands.end().await
}

/// Held by the one enforcer of a network namespace, for as long as its process lives: an abstract name (unix(7)) is the namespace's.
///
/// Anybody on this host may hold it, so that it is held is said, and stops nobody: else an agent could keep enforcement off.
fn alone() -> Result<UnixDatagram, String> {
    const TAKEN: &str = "another process of this host has the name `gnomon-enforcer` (`ss -xa`): if it is an enforcer, the two undo each \
                         other's blocks, so end one; if not, ask who runs it";
    let taken = |why: std::io::Error| match why.kind() {
        ErrorKind::AddrInUse => TAKEN.to_owned(),
        _ => format!("whether another enforcer runs in this network namespace cannot be told: {why}"),
    };
    net::SocketAddr::from_abstract_name("gnomon-enforcer").and_then(|name| UnixDatagram::bind_addr(&name)).map_err(taken)
}

fn now() -> Now {
    Now { mono: Instant::now(), wall: Timestamp::now(), slept: slept() }
}

/// What the one clock counted while the host was suspended and the other did not.
fn slept() -> Duration {
    let read = |clock: ClockId| clock.now().map(Duration::from).unwrap_or_default();
    // In this order, so that what passes in between is no sleep.
    let (all, awake) = (read(ClockId::CLOCK_BOOTTIME), read(ClockId::CLOCK_MONOTONIC));
    all.saturating_sub(awake)
}

/// A set as it is kept in memory: words for people stay on disk.
fn lean(mut set: DecisionSet) -> DecisionSet {
    set.decisions.iter_mut().for_each(|d| d.reason = String::new());
    set.decisions.shrink_to_fit();
    set
}

/// Blocks of the set in force: wanted here, held by the kernel, and not for this point.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    desired: u64,
    enforced: u64,
    withheld: u64,
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
    /// A set that could not be written down: first that, then it may be adopted.
    unkept: Option<(u64, Arc<Signed>)>,
    /// Refused for its time alone, which may be this clock's fault: the newest that arrived.
    untimely: Option<(Refused, Arc<Signed>)>,
    /// The same of the set that was applied here last.
    lapsed: Option<Refused>,
    /// Somebody tells us about this host's health.
    gated: bool,
    /// As of the last time the kernel was made to match; `None`: it has to be looked at.
    counts: Option<Counts>,
    /// What passes by our rules.
    bypasses: Vec<String>,
    /// The last word, and when it was said.
    last: Option<(Applied, Instant)>,
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
            Effect::Keep(generation, signed) => {
                let why = self.keep(generation, &signed).await.err();
                self.unkept = why.as_ref().map(|_| (generation, signed));
                why.map(|why| Event::Trouble(why.to_string()))
            }
            Effect::Adopt(set) => Some(self.adopt(set).await),
            Effect::Uphold(set, cause) => {
                let result = self.uphold(&set).await;
                Some(Event::Enacted { generation: set.generation, cause, result, kernel: self.point.generation() })
            }
            Effect::Rehearse(set) => Some(Event::Rehearsed { generation: set.generation, result: self.rehearse(&set).await }),
            Effect::Inspect(set, actor) => match self.point.lacks(&set).await {
                Ok(lacks) => lacks.map(|why| Event::Disturbed { actor, why }),
                Err(why) => Some(Event::Trouble(why.to_string())),
            },
            Effect::RollBack => Some(self.roll_back().await),
            Effect::Pass(set) => {
                let result = match self.settle_gate(None).await {
                    Ok(()) => self.uphold(&set).await,
                    Err(why) => Err(why),
                };
                Some(Event::Enacted { generation: set.generation, cause: Cause::New, result, kernel: self.point.generation() })
            }
            Effect::Withdraw(set, why) => {
                let result = match self.settle_gate(Some(why.clone())).await {
                    Ok(()) => self.uphold(&set).await,
                    Err(why) => Err(why),
                };
                Some(Event::Withdrawn { generation: set.generation, why, result, kernel: self.point.generation() })
            }
            Effect::Open(generation) => self.open(generation).await.err().map(|why| {
                Event::Trouble(format!("the time of generation {generation} is over and its blocks lapse with their leases: {why}"))
            }),
            Effect::Report(applied) => {
                self.report(*applied).await;
                None
            }
        }
    }

    async fn report(&mut self, applied: Applied) {
        let applied = Applied { status: self.status().await, ..applied };
        let Applied { point, generation, outcome, elements, reason, .. } = &applied;
        match outcome {
            Outcome::Refused | Outcome::Failed | Outcome::RolledBack => {
                tracing::warn!(point, generation, ?outcome, elements, reason, "enforcement");
            }
            _ => tracing::info!(point, generation, ?outcome, elements, reason, "enforcement"),
        }
        self.say(applied);
    }

    fn say(&mut self, applied: Applied) {
        self.last = Some((applied.clone(), Instant::now()));
        // A collector that is away must not stop the enforcer.
        if self.reports.try_send(applied).is_err() {
            tracing::warn!("nobody takes reports; one was lost");
        }
    }

    /// A sign of life, with what the kernel holds now.
    async fn say_again(&mut self) {
        let due = |(_, at): &&(Applied, Instant)| at.elapsed() >= PointStatus::EVERY.0;
        if self.last.as_ref().is_some_and(|last| due(&last)) {
            self.counts = None;
            self.repeat().await;
        }
    }

    /// The last word again, with how things stand now.
    async fn repeat(&mut self) {
        if let Some((applied, _)) = self.last.clone() {
            let status = self.status().await;
            self.say(Applied { status, ..applied });
        }
    }

    async fn status(&mut self) -> PointStatus {
        let state = self.seen.clone().unwrap_or_default();
        let enforces = self.point.config.mode == Mode::Enforce;
        let Counts { desired, enforced, withheld } = if enforces { self.count().await } else { Counts::default() };
        let (attempts, attempts_lost) = if enforces { self.point.attempts(Timestamp::now()) } else { (Vec::new(), 0) };
        PointStatus {
            in_force: state.current.unwrap_or(0),
            enforces,
            desired,
            enforced,
            withheld,
            on_trial: self.gated && state.gate.as_ref().is_some_and(|g| g.failed.is_none()),
            held_back: operator::held_back(&state),
            stopped: state.stopped,
            acts: state.acts,
            bypasses: self.bypasses.clone(),
            labels: self.point.config.labels.iter().take(PointStatus::MAX_LABELS).cloned().collect(),
            attempts,
            attempts_lost,
        }
    }

    async fn count(&mut self) -> Counts {
        if let Some(counts) = self.counts {
            return counts;
        }
        let Some(set) = self.core.current() else { return Counts::default() };
        let (ruleset, withheld) = ruleset::plan(&set, &self.point.facts(), &self.point.config);
        let wanted = ruleset.blocks;
        let blocks = || wanted.iter().filter(|(_, b)| b.action == Action::Block);
        let held = self.point.count(|present| blocks().filter(|(e, b)| present(e).is_some_and(|h| h.action == b.action)).count()).await;
        Counts { desired: blocks().count() as u64, enforced: held.unwrap_or(0) as u64, withheld: withheld.len() as u64 }
    }

    /// What was just read back need not be read again for the report about it.
    fn note(&mut self, set: &DecisionSet, enacted: &Enacted) {
        let plain = !enacted.held_back && enacted.withheld.is_empty();
        let blocks = set.decisions.iter().filter(|d| d.action == Action::Block).count() as u64;
        self.counts = plain.then_some(Counts { desired: blocks, enforced: blocks, withheld: 0 });
    }

    /// The health check was answered: what is new stays (`None`), or is held back from now on.
    async fn settle_gate(&mut self, failed: Option<String>) -> Result<(), Error> {
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
    fn passed(&self, set: &Arc<DecisionSet>, gate: Option<&Gate>) -> Arc<DecisionSet> {
        let Some(gate) = gate.filter(|g| g.failed.is_some() && g.generation == set.generation) else { return set.clone() };
        Arc::new(health::counted(set, &health::new_blocks(set, self.point.remembered(gate.base).as_ref())))
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

    fn arrived(&mut self, signed: Arc<Signed>) -> Event {
        let verified = self.point.verify(&signed, self.core.highest(), Timestamp::now());
        self.untimely = verified.as_ref().err().filter(|why| why.is_of_time()).map(|why| (why.clone(), signed.clone()));
        Event::Set(verified.map(|set| Candidate { set: Arc::new(lean(set)), signed }).map_err(|why| (0, why.to_string())))
    }

    async fn keep(&mut self, generation: u64, signed: &Signed) -> Result<(), Error> {
        let held = self.point.store.lock().await?;
        let mut state = self.point.store.load()?;
        self.point.store.keep_set(&held, generation, signed)?;
        state.latest = state.latest.max(Some(generation));
        self.point.store.save(&held, &state)?;
        self.forget_difference(|seen| seen.latest = state.latest);
        Ok(())
    }

    async fn adopt(&mut self, set: Arc<DecisionSet>) -> Event {
        let generation = set.generation;
        let result = self.try_adopt(&set).await;
        if let Err(Error::Unavailable(_) | Error::Kernel(_) | Error::Differs(_) | Error::State(_)) = &result {
            self.core.try_again(set, now());
        }
        Event::Enacted { generation, cause: Cause::New, result, kernel: self.point.generation() }
    }

    async fn try_adopt(&mut self, set: &Arc<DecisionSet>) -> Result<Enacted, Error> {
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
        if gated && health::lifts(set, before.as_deref()) {
            // On a short lease nothing is lifted, and who is to be free is so at once.
            let first = Arc::new(health::counted(set, &health::new_blocks(set, before.as_deref())));
            self.point.enact(&held, &first, how, &mut self.trusted).await?;
        }
        let how = Manner { trial: gated.then_some(health::SHORT_LEASE), ..how };
        let enacted = self.point.enact(&held, set, how, &mut self.trusted).await?;
        state.adopt(set, enacted.new, None, now);
        state.base = enacted.held_back.then_some(base);
        state.gate = (gated && enacted.new > 0).then_some(Gate { generation: set.generation, base, failed: None });
        self.note(set, &enacted);
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
        // Between their word and our next look at it: what a person took away is not put back.
        if state.current != Some(set.generation) {
            return Err(Error::Superseded(set.generation));
        }
        let (now, left) = (Timestamp::now(), self.core.left(set, now()));
        let set = &self.passed(set, state.gate.as_ref());
        self.counts = None;
        let Some(base) = state.base else {
            // Nothing of it is new.
            let how = Manner { now, trial: None, many_new: true, hold_back: false, before: Some(set), new_this_hour: 0, left };
            let enacted = self.point.enact(&held, set, how, &mut self.trusted).await?;
            if state.gate.is_none() {
                self.note(set, &enacted);
            }
            return Ok(enacted);
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

    async fn open(&mut self, generation: u64) -> Result<(), Error> {
        let held = self.point.store.lock().await?;
        self.counts = None;
        let lifted = self.point.lift_all(&held).await?;
        if lifted > 0 {
            tracing::info!(generation, lifted, "the set's time ended while this host was suspended: lifted");
        }
        Ok(())
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
            Ok(state) if self.seen.as_ref() == Some(&state) && !self.lapsed.as_ref().is_some_and(|why| why.is_past(Timestamp::now())) => {
                return;
            }
            Ok(state) => state,
            Err(why) => return self.happen(Event::Trouble(why.to_string())).await,
        };
        self.lapsed = None;
        let current = match state.current.map(|g| (g, self.point.stored(g, Timestamp::now()))) {
            Some((_, Ok(set))) => Some(Arc::new(lean(set))),
            Some((generation, Err(why))) => {
                if let Error::Refused(why) = &why {
                    self.lapsed = Some(why.clone()).filter(Refused::is_of_time);
                }
                let why = format!("generation {generation}, applied here last, is void and lapses: {why}");
                self.happen(Event::Trouble(why)).await;
                None
            }
            None => None,
        };
        self.seen = Some(state.clone());
        self.happen(Event::State(state, current)).await;
    }

    /// What was refused for its time is told once, by whoever told it; set right, the clock makes it good.
    async fn look_at_the_clock(&mut self) {
        if let Some((_, signed)) = self.untimely.take_if(|(why, _)| why.is_past(Timestamp::now())) {
            let event = self.arrived(signed);
            self.happen(event).await;
        }
    }

    /// A set that had arrived when the process before us died, perhaps between the kernel and the record of it.
    async fn finish_what_was_begun(&mut self) {
        let latest = self.seen.as_ref().filter(|s| s.latest > s.current).and_then(|s| s.latest);
        if let Some(signed) = latest.and_then(|generation| self.point.store.set(generation).ok()) {
            let event = self.arrived(Arc::new(signed));
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
