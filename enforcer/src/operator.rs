//! What a person may ask of an enforcement point: `gnomon enforce plan|apply|confirm|rollback|status|panic|resume|remove`.
//!
//! All of it works on the kernel and on the state directory under a lock, so it may run beside [`crate::run()`] or without it.

mod answers;
mod describe;

pub use crate::point::Error;
pub use answers::{Approval, Element, Plan, Planned, Status, Withheld};
pub(crate) use describe::applied;

use crate::{
    bypass,
    config::Config,
    confine::Confinement,
    point::{ApplyOptions, Point, lease},
    ruleset,
    state::{self, PointState},
};
use describe::{describe, element, told};
use rules::{
    Timestamp,
    decision::DecisionSet,
    endpoint::Endpoint,
    observation::{Applied, Outcome, PointStatus},
    period::Period,
    wire::v1::Signed,
};
use std::{sync::Arc, time::Duration};

/// A person has to be able to confirm it.
const SHORTEST_TRIAL: Period = Period::seconds(1);

/// The newest set that reached this point, applied or not.
pub async fn latest(config: &Config) -> Result<Option<Signed>, Error> {
    let point = Point::open(config.clone())?;
    let state = point.store.load()?;
    Ok(state.latest.map(|generation| point.store.set(generation)).transpose()?)
}

/// Verifies, plans, checks and renders; with privileges lets the kernel check it too (`nft -c`). Changes nothing.
pub async fn plan(config: &Config, signed: &Signed) -> Result<Plan, Error> {
    let now = Timestamp::now();
    let mut point = Point::open(config.clone())?;
    let state = point.store.load()?;
    let set = point.verify(signed, state.highest, now)?;
    let before = known(&point, &state, now);
    let options = ApplyOptions {
        now,
        trial: None,
        many_new: false,
        hold_back: false,
        before: before.as_ref(),
        new_this_hour: state.new_this_hour(now),
        left: Duration::MAX,
    };
    let (plan, present) = point.rehearse(&set, options).await?;
    Ok(describe(&mut point, &set, plan, present))
}

/// Makes the kernel match a set now.
pub async fn apply(config: &Config, signed: &Signed, approval: Approval) -> Result<Applied, Error> {
    let now = Timestamp::now();
    let mut point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let mut state = point.store.load()?;
    if let Some(why) = &state.stopped {
        return Err(Error::Stopped(why.clone()));
    }
    if let Some(by) = state.confirm_by.filter(|_| state.trial(now)) {
        return Err(Error::TrialRunning(by));
    }
    let set = Arc::new(point.verify(signed, state.highest, now)?);
    let before = known(&point, &state, now);
    let trial = approval.confirm_within.map(|p| p.0);
    let options = ApplyOptions {
        now,
        trial,
        many_new: approval.many_new,
        hold_back: false,
        before: before.as_ref(),
        new_this_hour: state.new_this_hour(now),
        left: Duration::MAX,
    };
    if let Some(asked) = approval.confirm_within.filter(|asked| asked.0 < SHORTEST_TRIAL.0) {
        return Err(Error::TrialTooShort { asked, least: SHORTEST_TRIAL });
    }
    // The kernel cannot give one range two ends: those in force would lapse with the trial.
    if trial.is_some() && before.as_ref().is_some_and(|before| before.agents != set.agents) {
        return Err(Error::TrialOfAgents);
    }
    // Nobody renews while it runs, and what is in force has to outlast it.
    let most = Period::seconds((lease(&set, &options) * 2 / 3).as_secs());
    if let Some(asked) = approval.confirm_within.filter(|asked| before.is_some() && asked.0 > most.0) {
        return Err(Error::TrialTooLong { asked, most });
    }
    // Remembered first: whatever happens from here on, nothing older will be taken.
    state.highest = set.generation;
    point.store.keep_set(&held, set.generation, signed)?;
    point.store.save(&held, &PointState { latest: state.latest.max(Some(set.generation)), ..state.clone() })?;
    let enacted = point.enact(&held, &set, options, &mut None).await?;
    state.adopt(&set, enacted.new, approval.confirm_within.map(|p| p.after(now)), now);
    let trial = approval.confirm_within.map(|p| format!(", on trial for {p}")).unwrap_or_default();
    state.note(format!("applied generation {}{trial}{}", set.generation, by()), now);
    point.store.save(&held, &state)?;
    Ok(applied(&point.name, set.generation, &enacted))
}

/// Keeps what was applied for trial.
pub async fn confirm(config: &Config) -> Result<Applied, Error> {
    let now = Timestamp::now();
    let mut point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let mut state = point.store.load()?;
    if let Some(why) = state.stopped {
        return Err(Error::Stopped(why));
    }
    let generation = state.current.filter(|_| state.trial(now)).ok_or(Error::NoTrial)?;
    let set = Arc::new(point.stored(generation, now)?);
    let options =
        ApplyOptions { now, trial: None, many_new: true, hold_back: false, before: Some(&set), new_this_hour: 0, left: Duration::MAX };
    let enacted = point.enact(&held, &set, options, &mut None).await?;
    state.confirm_by = None;
    state.note(format!("confirmed generation {generation}{}", by()), now);
    point.store.save(&held, &state)?;
    Ok(applied(&point.name, generation, &enacted))
}

/// Puts the set before the last one back, or takes the table away if there was none.
pub async fn rollback(config: &Config) -> Result<Applied, Error> {
    let mut point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let mut state = point.store.load()?;
    let from = state.current.ok_or(Error::NothingApplied)?;
    state.gate = None;
    state.note(format!("rolled generation {from} back{}", by()), Timestamp::now());
    let generation = point.roll_back(&held, &mut state, Timestamp::now(), &mut None).await?;
    let reason = match generation {
        0 => format!("generation {from} rolled back; nothing was applied before it, so nothing is enforced"),
        g => format!("generation {from} rolled back to {g}"),
    };
    let reason =
        if state.stopped.is_some() { format!("{reason}; enforcement stays stopped until `gnomon enforce resume`") } else { reason };
    Ok(Applied { point: point.name, generation, outcome: Outcome::RolledBack, elements: 0, reason, status: PointStatus::default() })
}

pub async fn status(config: &Config) -> Result<Status, Error> {
    let now = Timestamp::now();
    let mut point = Point::open(config.clone())?;
    let state = point.store.load()?;
    let (present, unavailable) = match point.present().await {
        Ok(present) => (present, None),
        Err(Error::Unavailable(why)) => (None, Some(why)),
        Err(why) => return Err(why),
    };
    let set = before(&point, &state, now);
    let (ruleset, withheld) = set.as_ref().map(|set| ruleset::plan(set, &point.facts(), config)).unwrap_or_default();
    let (attempts, attempts_lost) = point.attempts(now);
    let is_held = |(endpoint, block): &(&Endpoint, &ruleset::Block)| {
        present.as_ref().is_some_and(|p| p.blocks.get(endpoint).is_some_and(|held| held.action == block.action))
    };
    Ok(Status {
        generation: state.current.unwrap_or(0),
        highest: state.highest,
        set_not_after: set.map(|s| s.not_after),
        confirm_by: state.confirm_by.filter(|by| *by > now),
        held_back: held_back(&state),
        waits_for_health: state.gate.as_ref().is_some_and(|g| g.failed.is_none()),
        max_blocks: config.limits.max_blocks,
        max_new_per_hour: config.limits.max_new_per_hour,
        new_this_hour: state.new_this_hour(now),
        acts: state.acts.clone(),
        // Where the kernel cannot be asked, `unavailable` says so.
        bypasses: if unavailable.is_some() { Vec::new() } else { bypass::survey(&point.nft, &config.hooks).await },
        withheld: withheld.into_iter().map(told).collect(),
        confinement: Confinement::of_running(&config.data),
        stopped: state.stopped,
        unavailable,
        attempts,
        attempts_lost,
        desired: ruleset.blocks.len(),
        enforced: ruleset.blocks.iter().filter(is_held).count(),
        agents: present.as_ref().map(|p| p.agents.iter().copied().collect()),
        elements: present.into_iter().flat_map(|p| p.blocks).map(element).collect(),
        point: point.name,
    })
}

/// Break glass: takes the table away and applies nothing until [`resume`]. Local and offline. The table goes whatever else fails; an
/// error says that it did not, or that a loop beside us may put it back.
pub async fn panic(config: &Config, reason: &str) -> Result<(), Error> {
    let mut point = match Point::open(config.clone()) {
        Ok(point) => point,
        Err(why) => return Point::break_glass(config).await.and(Err(why)),
    };
    // First the word, then the deed: a loop beside us must not put the table back in between. An empty file, since it needs no room on
    // a full disk, and no lock that somebody hangs with.
    let marked = point.store.mark_stopped();
    let written = write_stop(&point, reason).await;
    if let Err(why) = &written {
        tracing::warn!(%why, "why enforcement was stopped could not be written down");
    }
    point.take_away().await?;
    match (marked, written) {
        (Err(why), Err(_)) => Err(why.into()),
        // Whoever repairs the state has to know.
        (_, Err(why @ Error::State(state::Error::Damaged { .. }))) => Err(why),
        _ => Ok(()),
    }
}

async fn write_stop(point: &Point, reason: &str) -> Result<(), Error> {
    let held = point.store.lock_within(Duration::from_secs(2)).await?;
    let state = point.store.load()?;
    let (reason, now) = (rules::printable::printable(reason, 200), Timestamp::now());
    let mut state = PointState { stopped: Some(format!("{reason}, {now}")), confirm_by: None, gate: None, ..state };
    state.note(format!("stopped enforcement: {reason}{}", by()), now);
    Ok(point.store.save(&held, &state)?)
}

/// Ends what [`panic()`] began; the next set, or the loop, applies again.
pub async fn resume(config: &Config) -> Result<(), Error> {
    let point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let mut state = PointState { stopped: None, ..point.store.load()? };
    state.note(format!("resumed enforcement{}", by()), Timestamp::now());
    point.store.save(&held, &state)?;
    Ok(point.store.unmark_stopped(&held)?)
}

/// For uninstalling: takes the table away and forgets the last set. The generation is remembered until the directory goes.
pub async fn remove(config: &Config) -> Result<(), Error> {
    let mut point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let state = point.store.load()?;
    let mut gone =
        PointState { highest: state.highest, latest: state.latest, rolled_back: state.current, acts: state.acts, ..PointState::default() };
    gone.note(format!("removed enforcement{}", by()), Timestamp::now());
    point.store.save(&held, &gone)?;
    point.store.unmark_stopped(&held)?;
    point.remove(&held).await
}

/// Who it was, as far as `sudo` or `doas` says so.
fn by() -> String {
    let name = ["SUDO_USER", "DOAS_USER"].into_iter().find_map(|key| std::env::var(key).ok());
    name.map(|name| format!(", by {}", rules::printable::printable(&name, 64))).unwrap_or_default()
}

/// The set in force. One that expired, or whose key is trusted no longer, is none.
fn before(point: &Point, state: &PointState, now: Timestamp) -> Option<DecisionSet> {
    state.current.and_then(|generation| point.stored(generation, now).ok())
}

/// What is not new: the set in force or, while new blocks are held back, the one they are new against.
fn known(point: &Point, state: &PointState, now: Timestamp) -> Option<DecisionSet> {
    state.base.map_or_else(|| before(point, state, now), |generation| point.remembered(generation))
}

/// Why new blocks are not there.
pub(crate) fn held_back(state: &PointState) -> Option<String> {
    let failed = state.gate.as_ref().and_then(|g| g.failed.as_ref()).map(|why| format!("a health check failed: {why}"));
    let limit = || "a limit of this host (max_new_per_hour, max_blocks), or facts of it that cannot be read".to_owned();
    failed.or_else(|| state.base.is_some().then(limit))
}
