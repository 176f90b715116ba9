//! What a person may ask of an enforcement point: `gnomon enforce plan|apply|confirm|rollback|status|panic|resume|remove`.
//!
//! All of it works on the kernel and on the state directory under a lock, so it may run beside [`crate::run()`] or without it.

use crate::{
    bypass,
    config::{Config, Hook},
    confine::Confinement,
    point::{Enacted, Manner, Outline, Point, lease},
    present::{Held, Present},
    ruleset,
    state::{self, State},
};
use ipnet::IpNet;
use rules::{
    Timestamp,
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::FindingId,
    observation::{Act, Applied, Attempt, Outcome, PointStatus},
    period::Period,
    wire::v1::Signed,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use crate::point::Error;

/// A person has to be able to confirm it.
const SHORTEST_TRIAL: Period = Period::seconds(1);

/// What applying a set would do at this point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub point: String,
    pub generation: u64,
    /// The set is void after this; leases are never longer.
    pub until: Timestamp,
    pub hooks: Vec<Hook>,
    pub agents: Vec<IpNet>,
    /// Everything that would be in the kernel, sorted by endpoint.
    pub blocks: Vec<Planned>,
    /// In the set, but not for this point: its own address, its gateway, ….
    pub withheld: Vec<Withheld>,
    /// In the kernel now, gone afterwards.
    pub lifted: Vec<Endpoint>,
    /// Why nothing would be applied. Empty: it could be.
    pub objections: Vec<String>,
    /// What protects this host and could not be read, so that the plan may be too sure of itself.
    pub unknown: Vec<String>,
    /// The transaction as `nft -f` would read it; empty when there is nothing to change.
    pub nft: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub endpoint: Endpoint,
    pub action: Action,
    pub finding: FindingId,
    pub reason: String,
    pub since: Timestamp,
    /// Not in the kernel now.
    pub new: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    pub endpoint: Endpoint,
    pub finding: FindingId,
    pub why: String,
}

/// What is in force at this point, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub point: String,
    /// The generation that should be in force here, 0 for none.
    pub generation: u64,
    /// The newest generation ever applied here; older ones are refused.
    pub highest: u64,
    pub set_not_after: Option<Timestamp>,
    /// Unless confirmed by then, what was applied last lapses.
    pub confirm_by: Option<Timestamp>,
    /// A person stopped enforcement here, why and when: nothing is applied until `resume`.
    pub stopped: Option<String>,
    /// Why the kernel could not be asked.
    pub unavailable: Option<String>,
    /// `None`: our table is not in the kernel.
    pub agents: Option<Vec<IpNet>>,
    pub elements: Vec<Element>,
    /// Blocks that should be in the kernel by the last applied set.
    pub desired: usize,
    /// Of these, how many are.
    pub enforced: usize,
    /// In the set in force, but not for this point.
    #[serde(default)]
    pub withheld: Vec<Withheld>,
    /// Why new blocks are held back here.
    pub held_back: Option<String>,
    /// New blocks are on a short lease until the health checks are answered.
    pub waits_for_health: bool,
    /// Blocks in the kernel may be so many, and so many new ones come within an hour without a person.
    pub max_blocks: usize,
    pub max_new_per_hour: usize,
    pub new_this_hour: usize,
    /// What people did here lately.
    pub acts: Vec<Act>,
    /// What passes by our rules at this host.
    #[serde(default)]
    pub bypasses: Vec<String>,
    /// Who tried to reach what is blocked or counted, latest first, and how many more there were.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub attempts_lost: u64,
    /// What bounds the enforcer's process; `None`: none runs by itself here.
    pub confinement: Option<Confinement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub endpoint: Endpoint,
    pub action: Action,
    pub finding: Option<FindingId>,
    pub lease_left: Period,
    pub packets: u64,
    pub bytes: u64,
}

/// What a person adds to a set by applying it with their own hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// New blocks lapse after this long unless confirmed. `None`: confirmed at once.
    pub confirm_within: Option<Period>,
    /// More new blocks per hour than the limit are meant.
    pub many_new: bool,
}

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
    let how = Manner {
        now,
        trial: None,
        many_new: false,
        hold_back: false,
        before: before.as_ref(),
        new_this_hour: state.new_this_hour(now),
        left: Duration::MAX,
    };
    let (outline, present) = point.rehearse(&set, how).await?;
    Ok(describe(&mut point, &set, outline, present))
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
    let how = Manner {
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
    let most = Period::seconds((lease(&set, &how) * 2 / 3).as_secs());
    if let Some(asked) = approval.confirm_within.filter(|asked| before.is_some() && asked.0 > most.0) {
        return Err(Error::TrialTooLong { asked, most });
    }
    // Remembered first: whatever happens from here on, nothing older will be taken.
    state.highest = set.generation;
    point.store.keep_set(&held, set.generation, signed)?;
    point.store.save(&held, &State { latest: state.latest.max(Some(set.generation)), ..state.clone() })?;
    let enacted = point.enact(&held, &set, how, &mut None).await?;
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
    let how = Manner { now, trial: None, many_new: true, hold_back: false, before: Some(&set), new_this_hour: 0, left: Duration::MAX };
    let enacted = point.enact(&held, &set, how, &mut None).await?;
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
    let mut state = State { stopped: Some(format!("{reason}, {now}")), confirm_by: None, gate: None, ..state };
    state.note(format!("stopped enforcement: {reason}{}", by()), now);
    Ok(point.store.save(&held, &state)?)
}

/// Ends what [`panic()`] began; the next set, or the loop, applies again.
pub async fn resume(config: &Config) -> Result<(), Error> {
    let point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let mut state = State { stopped: None, ..point.store.load()? };
    state.note(format!("resumed enforcement{}", by()), Timestamp::now());
    point.store.save(&held, &state)?;
    Ok(point.store.unmark_stopped(&held)?)
}

/// For uninstalling: takes the table away and forgets the last set. The generation is remembered until the directory goes.
pub async fn remove(config: &Config) -> Result<(), Error> {
    let mut point = Point::open(config.clone())?;
    let held = point.store.lock().await?;
    let state = point.store.load()?;
    let mut gone = State { highest: state.highest, latest: state.latest, rolled_back: state.current, acts: state.acts, ..State::default() };
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
fn before(point: &Point, state: &State, now: Timestamp) -> Option<DecisionSet> {
    state.current.and_then(|generation| point.stored(generation, now).ok())
}

/// What is not new: the set in force or, while new blocks are held back, the one they are new against.
fn known(point: &Point, state: &State, now: Timestamp) -> Option<DecisionSet> {
    state.base.map_or_else(|| before(point, state, now), |generation| point.remembered(generation))
}

/// Why new blocks are not there.
pub(crate) fn held_back(state: &State) -> Option<String> {
    let failed = state.gate.as_ref().and_then(|g| g.failed.as_ref()).map(|why| format!("a health check failed: {why}"));
    let limit = || "a limit of this host (max_new_per_hour, max_blocks), or facts of it that cannot be read".to_owned();
    failed.or_else(|| state.base.is_some().then(limit))
}

fn told(w: ruleset::Withheld) -> Withheld {
    Withheld { endpoint: w.endpoint, finding: w.finding, why: w.why.to_owned() }
}

fn describe(point: &mut Point, set: &DecisionSet, outline: Outline, present: Option<Present>) -> Plan {
    let by_place: BTreeMap<(Endpoint, &FindingId), &Decision> =
        set.decisions.iter().map(|d| ((Endpoint::new(d.endpoint.address, d.endpoint.port), &d.finding), d)).collect();
    let present = present.unwrap_or_default();
    let nft = outline.transaction.to_nft();
    let lifted = present.blocks.keys().filter(|e| !outline.ruleset.blocks.contains_key(e)).copied().collect();
    let planned = |(endpoint, block): (Endpoint, ruleset::Block)| {
        let decision = by_place.get(&(endpoint, &block.finding));
        Planned {
            endpoint,
            action: block.action,
            reason: decision.map(|d| rules::printable::printable(&d.reason, 400)).unwrap_or_default(),
            since: decision.map_or(set.issued_at, |d| d.since),
            new: !present.blocks.contains_key(&endpoint),
            finding: block.finding,
        }
    };
    Plan {
        point: point.name.clone(),
        generation: set.generation,
        until: set.not_after,
        hooks: outline.ruleset.shape.hooks.into_iter().collect(),
        agents: outline.ruleset.agents.into_iter().collect(),
        blocks: outline.ruleset.blocks.into_iter().map(planned).collect(),
        withheld: outline
            .withheld
            .into_iter()
            .map(|w| Withheld { endpoint: w.endpoint, finding: w.finding, why: w.why.to_owned() })
            .collect(),
        lifted,
        objections: outline.objections.iter().map(ToString::to_string).collect(),
        unknown: point.facts().unknown,
        nft,
    }
}

fn element((endpoint, held): (Endpoint, Held)) -> Element {
    let Held { action, finding, left, packets, bytes } = held;
    Element { endpoint, action, finding, lease_left: Period(left), packets, bytes }
}

/// The good report. What is withheld is part of it: an endpoint that stays open must not look closed.
pub(crate) fn applied(point: &str, generation: u64, enacted: &Enacted) -> Applied {
    let shown: Vec<String> = enacted.withheld.iter().take(5).map(|w| format!("{} ({})", w.endpoint, w.why)).collect();
    let withheld = match enacted.withheld.len() {
        0 => None,
        n => Some(format!("{n} withheld here: {}{}", shown.join("; "), if n > shown.len() { "; …" } else { "" })),
    };
    let unknown = (!enacted.unknown.is_empty())
        .then(|| format!("not known about this host, so not protected: {}", rules::printable::printable(&enacted.unknown.join("; "), 400)));
    let reason = withheld.into_iter().chain(unknown).collect::<Vec<_>>().join(". ");
    Applied {
        point: point.to_owned(),
        generation,
        outcome: Outcome::Applied,
        elements: enacted.elements as u64,
        reason,
        status: PointStatus::default(),
    }
}
