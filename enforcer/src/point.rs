//! One enforcement point: its kernel table, its state directory, and the whole way of a set from signature to read-back.
//!
//! Everything that changes something asks for the store's [`Guard`], so the loop and a person at the command line take turns.

use crate::{
    attempts,
    check::{self, Against, Objection},
    config::Config,
    facts::{Facts, Routes, Sessions},
    intake::{self, Distrust, Expect, Keys, Refused},
    netlink::{self, Monitor},
    nft::{self, Nft},
    present::{Held, Present},
    render::{self, Change, Skeleton, Term, Transaction, skeleton},
    ruleset::{self, Block, Ruleset, Withheld},
    state::{self, Guard, State, Store},
};
use rules::{
    Timestamp,
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
    observation::Attempt,
    period::Period,
    wire::v1::Signed,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

mod amend;
mod memory;
mod reread;

use amend::Known;
use memory::Memory;

#[derive(Debug)]
pub struct Point {
    pub config: Config,
    pub name: String,
    pub keys: Keys,
    pub nft: Nft,
    pub store: Store,
    /// `None`: the kernel does not tell us who changes what; then every look is a full one.
    pub monitor: Option<Monitor>,
    sessions: Sessions,
    memory: Option<Memory>,
    known: Option<Known>,
    /// This host's own addresses and gateways, when they could be read last.
    read: Option<Routes>,
    /// Whether this kernel renews what is added again: believed until one does not.
    readd: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] state::Error),
    #[error("the set is refused: {0}")]
    Refused(#[from] Refused),
    /// The last good set stays.
    #[error("the plan is refused, nothing was changed: {}", list(.0))]
    Objected(Vec<Objection>),
    #[error("enforcement is unavailable on this host: {0}")]
    Unavailable(String),
    #[error("the kernel refused the ruleset: {0}")]
    Kernel(String),
    #[error("the kernel does not hold what it was given: {0}")]
    Differs(String),
    #[error("enforcement was stopped on this host ({0}); `gnomon enforce resume` ends that")]
    Stopped(String),
    /// A person rolled back or removed it while it was to be renewed.
    #[error("generation {0} is no longer to be in force on this host")]
    Superseded(u64),
    #[error("a trial is running until {0}: confirm it or roll it back first")]
    TrialRunning(Timestamp),
    #[error("a trial of {asked} would outlast the lease of what is in force; at most {most}")]
    TrialTooLong { asked: Period, most: Period },
    #[error("a trial of {asked} is too short to be confirmed; at least {least}")]
    TrialTooShort { asked: Period, least: Period },
    #[error("the agent ranges differ from those in force, and a trial can try blocks alone: apply it confirmed, or not at all")]
    TrialOfAgents,
    #[error("there is no trial to confirm; if it lapsed, apply again")]
    NoTrial,
    #[error("nothing was applied here, so there is nothing to roll back")]
    NothingApplied,
}

impl From<nft::Error> for Error {
    fn from(why: nft::Error) -> Error {
        match why {
            nft::Error::Unavailable(why) => Error::Unavailable(why),
            nft::Error::Refused(why) => Error::Kernel(why),
        }
    }
}

/// Keys that are none are an error of this point's configuration.
impl From<Distrust> for Error {
    fn from(why: Distrust) -> Error {
        Error::Refused(why.into())
    }
}

fn list(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A set as it would be here, with everything that was weighed. Pure.
#[derive(Clone, Debug)]
pub struct Outline {
    pub ruleset: Ruleset,
    pub withheld: Vec<Withheld>,
    pub objections: Vec<Objection>,
    pub transaction: Transaction,
    /// Blocks that the set before did not have.
    pub new: usize,
    pub held_back: bool,
}

/// How a set is to be brought about.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    pub now: Timestamp,
    /// New blocks lapse after this long.
    pub trial: Option<Duration>,
    pub many_new: bool,
    /// Too many new blocks, or new ones that cannot be judged, are withheld and the rest is done (above all: lifted). Otherwise that is
    /// an objection, for a person to decide.
    pub hold_back: bool,
    /// The set applied before: what it holds is not new.
    pub before: Option<&'a DecisionSet>,
    pub new_this_hour: usize,
    /// No lease is longer than this, whatever the wall clock says.
    pub left: Duration,
}

/// A set in the kernel, read back and equal.
#[derive(Clone, Debug)]
pub struct Enacted {
    pub elements: usize,
    pub withheld: Vec<Withheld>,
    pub new: usize,
    /// New blocks were held back.
    pub held_back: bool,
    /// Facts of this host that could not be read.
    pub unknown: Vec<String>,
    /// Whether the kernel did not hold it any more (or not yet). A lease renewed, or a protected address come or gone, is no drift.
    pub drifted: bool,
    /// When leases are due for renewal.
    pub renew_in: Duration,
}

/// A lease never outlives the set that justifies it.
pub fn lease(set: &DecisionSet, how: &Manner<'_>) -> Duration {
    let valid = set.not_after.duration_since(how.now);
    set.lease.0.min(Duration::try_from(valid).unwrap_or_default()).min(how.left)
}

pub fn outline(
    set: &DecisionSet,
    facts: &Facts,
    config: &Config,
    (present, age): (Option<&Present>, Duration),
    skeleton: Skeleton,
    how: Manner<'_>,
) -> Outline {
    let (mut ruleset, mut withheld) = ruleset::plan(set, facts, config);
    let known: BTreeSet<Endpoint> = how
        .before
        .iter()
        .flat_map(|s| &s.decisions)
        .filter(|d| d.action == Action::Block)
        .map(|d| Endpoint::new(d.endpoint.address, d.endpoint.port))
        .collect();
    let is_new = |endpoint: &Endpoint, block: &Block| block.action == Action::Block && !known.contains(endpoint);
    let mut new = ruleset.blocks.iter().filter(|(e, b)| is_new(e, b)).count();
    let why = reason_to_hold_back(&ruleset, new, facts, config, &how);
    if let Some(why) = why {
        let held: Vec<Withheld> = ruleset
            .blocks
            .iter()
            .filter(|(e, b)| is_new(e, b))
            .map(|(endpoint, block)| Withheld { endpoint: *endpoint, finding: block.finding.clone(), why })
            .collect();
        ruleset.blocks.retain(|e, b| !is_new(e, b));
        withheld.splice(..0, held);
        new = 0;
    }
    let lease = lease(set, &how);
    let against = Against {
        set,
        facts,
        config,
        new_this_hour: if new == 0 { 0 } else { how.new_this_hour + new },
        many_new: how.many_new,
        lease,
        beside: 0,
    };
    let objections = check::objections(&ruleset, &against);
    let transaction = render::render(&ruleset, present, Term { lease, age, trial: how.trial.map(|t| t.min(lease)), skeleton });
    Outline { ruleset, withheld, objections, transaction, new, held_back: why.is_some() }
}

fn reason_to_hold_back(ruleset: &Ruleset, new: usize, facts: &Facts, config: &Config, how: &Manner<'_>) -> Option<&'static str> {
    let blocks = ruleset.blocks.values().filter(|b| b.action == Action::Block).count();
    if new == 0 || !how.hold_back {
        None
    } else if facts.blind {
        Some("new, while own addresses or default gateways of this host cannot be read")
    } else if !how.many_new && how.new_this_hour + new > config.limits.max_new_per_hour {
        Some("one of more new blocks within an hour than max_new_per_hour; a person may apply them with --many-new")
    } else if blocks > config.limits.max_blocks {
        Some("new, and there would be more than max_blocks")
    } else {
        None
    }
}

impl Point {
    /// Errors are of the configuration and the state directory only; whether the kernel can be reached shows later.
    pub fn open(config: Config) -> Result<Point, Error> {
        let keys = Keys::parse(&config.trusted_keys)?;
        let store = Store::open(&config.data)?;
        let nft = Nft { path: config.nft.clone(), timeout: config.nft_timeout.0 };
        let name = if config.point.is_empty() { host_name() } else { config.point.clone() };
        let monitor = Monitor::open().inspect_err(|why| tracing::debug!(%why, "no netlink monitor")).ok();
        Ok(Point {
            config,
            name,
            keys,
            nft,
            store,
            monitor,
            sessions: Sessions::default(),
            memory: None,
            known: None,
            read: None,
            readd: true,
        })
    }

    pub fn verify(&self, signed: &Signed, generation: u64, now: Timestamp) -> Result<DecisionSet, Refused> {
        Ok(self.here(intake::verify(signed, Expect { keys: &self.keys, site: &self.config.site, generation, now })?))
    }

    /// A set that was applied here, checked anew: files can be changed, and sets expire.
    pub fn stored(&self, generation: u64, now: Timestamp) -> Result<DecisionSet, Error> {
        Ok(self.verify(&self.store.set(generation)?, generation, now)?)
    }

    /// What was in force here once: for comparing, whether or not it still may be applied.
    pub fn remembered(&self, generation: u64) -> Option<DecisionSet> {
        Some(self.here(intake::open(&self.store.set(generation).ok()?, &self.keys).ok()?))
    }

    /// A site's set, as it is at this point: policy groups and waves leave some of it to others.
    fn here(&self, set: DecisionSet) -> DecisionSet {
        set.at(&self.name, &self.config.labels)
    }

    /// What cannot be read now is protected as it was before.
    pub fn facts(&mut self) -> Facts {
        let routes = netlink::routes().inspect(|read| self.read = Some(read.clone()));
        let mut facts = Facts::gather(routes, &self.config.ssh_ports, &mut self.sessions);
        if let Some(before) = self.read.as_ref().filter(|_| facts.blind) {
            facts.own.extend(&before.own);
            facts.gateways.extend(&before.gateways);
        }
        facts
    }

    /// What the kernel holds.
    pub async fn present(&mut self) -> Result<Option<Present>, Error> {
        self.look().await?;
        Ok(self.memory.as_ref().and_then(|m| m.present.clone().map(|p| p.aged(m.age()))))
    }

    /// The same without a copy of it: asks what the kernel holds at places.
    pub async fn count<T>(&mut self, ask: impl FnOnce(&dyn Fn(&Endpoint) -> Option<Held>) -> T) -> Result<T, Error> {
        self.look().await?;
        let memory = self.memory.as_ref();
        let (present, age) = (memory.and_then(|m| m.present.as_ref()), memory.map_or(Duration::ZERO, Memory::age));
        Ok(ask(&|at| present?.blocks.get(at).filter(|held| held.left > age).cloned()))
    }

    /// What of a set the kernel does not hold, trial or not.
    pub async fn lacks(&mut self, set: &DecisionSet) -> Result<Option<String>, Error> {
        let ruleset = ruleset::plan(set, &self.facts(), &self.config).0;
        let present = self.present().await?;
        Ok(difference(&ruleset, present.as_ref(), true))
    }

    /// Who tried what the kernel blocks or counts, as of when it was read last.
    pub fn attempts(&self, now: Timestamp) -> (Vec<Attempt>, u64) {
        let Some(present) = self.memory.as_ref().and_then(|m| m.present.as_ref()) else { return (Vec::new(), 0) };
        // Only to be shown: where it cannot be read, nobody is.
        let tried = self.monitor.as_ref().and_then(|kernel| kernel.tried().ok()).unwrap_or_default();
        attempts::attempts(tried, &present.blocks, now)
    }

    /// Plans and checks against the host as it is; lets the kernel check too if we may ask it. Changes nothing.
    pub async fn rehearse(&mut self, set: &DecisionSet, how: Manner<'_>) -> Result<(Outline, Option<Present>), Error> {
        // A plan is worth reading without privileges, too: then as if the table were not there.
        let (present, may_ask) = match self.present().await {
            Ok(present) => (present, true),
            Err(Error::Unavailable(_)) => (None, false),
            Err(why) => return Err(why),
        };
        let facts = self.facts();
        let outline = outline(set, &facts, &self.config, (present.as_ref(), Duration::ZERO), Skeleton::Keep, how);
        if may_ask && outline.objections.is_empty() {
            self.nft.check(&outline.transaction.to_nft()).await?;
        }
        Ok((outline, present))
    }

    /// Makes the kernel hold a set: plan, check, render, commit, read back, compare.
    ///
    /// `trusted`: the skeleton as it was read after we last wrote it; anything else is repaired.
    pub async fn enact(
        &mut self,
        _held: &Guard,
        set: &Arc<DecisionSet>,
        how: Manner<'_>,
        trusted: &mut Option<String>,
    ) -> Result<Enacted, Error> {
        self.not_stopped()?;
        let enacted = self.make(set, how, trusted).await;
        // Who breaks the glass waits for no lock: what was on its way to the kernel then is taken away again.
        if let Err(stopped) = self.not_stopped() {
            *trusted = None;
            self.take_away().await?;
            return Err(stopped);
        }
        enacted
    }

    fn not_stopped(&self) -> Result<(), Error> {
        let stopped = || Error::Stopped("by a person".to_owned());
        if self.store.is_marked_stopped() { Err(stopped()) } else { Ok(()) }
    }

    async fn make(&mut self, set: &Arc<DecisionSet>, how: Manner<'_>, trusted: &mut Option<String>) -> Result<Enacted, Error> {
        let protects = self.known.as_ref().map(Known::protects);
        if let Some(enacted) = self.amend(set, &how, trusted.as_ref())? {
            return Ok(enacted);
        }
        let mut last = Error::Differs(String::new());
        let mut drifted = false;
        for attempt in 0..3 {
            self.look().await?;
            let memory = self.memory.take();
            let seen = memory.as_ref().map_or((None, Duration::ZERO), |m| (m.present.as_ref(), m.age()));
            let skeleton = match (attempt, seen.0) {
                (2, _) => Skeleton::Replace,
                (0, Some(p)) if trusted.as_ref() == Some(&p.skeleton) => Skeleton::Keep,
                _ => Skeleton::Assert,
            };
            let facts = self.facts();
            let outline = outline(set, &facts, &self.config, seen, skeleton, how);
            if !outline.objections.is_empty() {
                return Err(Error::Objected(outline.objections));
            }
            drifted |= skeleton != Skeleton::Keep || difference(&outline.ruleset, seen.0, how.trial.is_some()).is_some();
            // What this host's facts ask for may be new; what was protected, and is it no longer or more than it was, others changed.
            drifted |= attempt == 0 && protects.as_ref().zip(seen.0).is_some_and(|(then, now)| !then.holds(now));
            if outline.transaction.is_empty() {
                self.memory = memory;
            } else {
                let generation = memory.as_ref().and_then(|m| m.generation);
                let generation = match self.commit(&outline.transaction, generation).await {
                    // Somebody changed the table between our look and our commit, or it has another shape: look again.
                    Err(nft::Error::Refused(why)) => {
                        last = Error::Kernel(why);
                        continue;
                    }
                    other => other?,
                };
                self.read_back(memory, &outline.transaction, generation).await?;
            }
            let after = self.memory.as_ref().and_then(|m| m.present.as_ref());
            let unprotected = after
                .filter(|p| p.never != outline.ruleset.never || p.open != outline.ruleset.open || p.sessions != outline.ruleset.sessions);
            let unprotected = unprotected.map(|_| "protected addresses differ".to_owned());
            let age = self.memory.as_ref().map_or(Duration::ZERO, Memory::age);
            let stale = after.filter(|_| self.readd).and_then(|p| not_renewed(&outline.transaction, p, age));
            if stale.is_some() {
                tracing::info!("this kernel does not renew what is added again: leases are renewed in three steps");
                self.readd = false;
            }
            match unprotected.or(stale).or_else(|| difference(&outline.ruleset, after, how.trial.is_some())) {
                None => {
                    *trusted = after.map(|p| p.skeleton.clone());
                    let lease = lease(set, &how);
                    return Ok(self.remember(set, facts, outline, &how, lease, drifted));
                }
                Some(why) => last = Error::Differs(why),
            }
        }
        Err(last)
    }

    /// Chains and rules by `nft`, elements by netlink where there is one. Gives the generation that this leads to, if nobody else committed
    /// since `generation`.
    async fn commit(&mut self, transaction: &Transaction, generation: Option<u32>) -> Result<Option<u32>, nft::Error> {
        let (skeleton, clearing) = (transaction.skeleton(), transaction.clearing());
        let Some(kernel) = self.monitor.as_ref().filter(|_| !transaction.replaces()) else {
            return self.nft.commit(&transaction.to_nft()).await.map(|()| None);
        };
        let mut generation = generation;
        if !skeleton.is_empty() {
            self.nft.commit(&skeleton.to_nft()).await?;
            generation = generation.map(|g| g.wrapping_add(1)).filter(|g| kernel.generation().is_ok_and(|now| now == *g));
        }
        let commits = kernel.commit(transaction, generation, self.readd).map_err(|why| match why.kind() {
            std::io::ErrorKind::PermissionDenied => {
                nft::Error::Unavailable("not permitted to change the ruleset; CAP_NET_ADMIN is needed".to_owned())
            }
            _ => nft::Error::Refused(why.to_string()),
        })?;
        if !clearing.is_empty() {
            // What goes may be what blocks now: last, when ours does. In one commit a packet on its way may pass between the two.
            self.nft.commit(&clearing.to_nft()).await?;
            return Ok(None);
        }
        Ok(generation.map(|g| g.wrapping_add(commits)))
    }

    /// Nothing is blocked or counted any more; chains, rules and notes stay. How many places that were.
    pub async fn lift_all(&mut self, _held: &Guard) -> Result<usize, Error> {
        let present = self.present().await?.unwrap_or_default();
        let changes: Vec<Change> =
            present.blocks.iter().map(|(endpoint, held)| Change::Lift { endpoint: *endpoint, was: held.action }).collect();
        let lifted = changes.len();
        if lifted > 0 {
            (self.memory, self.known) = (None, None);
            self.commit(&Transaction { changes }, None).await?;
        }
        Ok(lifted)
    }

    pub async fn remove(&mut self, _held: &Guard) -> Result<(), Error> {
        self.take_away().await
    }

    /// The same where nobody waits for a lock.
    pub async fn take_away(&mut self) -> Result<(), Error> {
        (self.memory, self.known) = (None, None);
        // Without a table there is nothing to commit, and no generation to burn.
        match self.present().await {
            Ok(None) => Ok(()),
            // Without `nft` where that goes: it may be what hangs.
            _ => match self.monitor.as_ref().map(Monitor::remove) {
                Some(Ok(())) => Ok(()),
                _ => Ok(self.nft.remove().await?),
            },
        }
    }

    /// Without state, keys or a directory: for a host where any of these is damaged.
    pub async fn break_glass(config: &Config) -> Result<(), Error> {
        let nft = Nft { path: config.nft.clone(), timeout: config.nft_timeout.0 };
        match Monitor::open().and_then(|kernel| kernel.remove()) {
            Ok(()) => Ok(()),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(_) => Ok(nft.remove().await?),
        }
    }

    /// Brings the set before the last one back; without one (or when it expired meanwhile) takes the table away.
    /// Gives the generation that stands now, 0 for none.
    pub async fn roll_back(&mut self, held: &Guard, state: &mut State, now: Timestamp, trusted: &mut Option<String>) -> Result<u64, Error> {
        let before = state.previous.and_then(|g| self.stored(g, now).ok()).map(Arc::new);
        match &before {
            // Nothing is there, and nothing comes back before `resume`.
            _ if state.stopped.is_some() => {}
            Some(set) => {
                // What was held back stays so: going back is no reason to let it in.
                let base = state.base.and_then(|g| self.remembered(g));
                let (hold_back, known) = (state.base.is_some(), if state.base.is_some() { base.as_ref() } else { Some(&**set) });
                let new_this_hour = state.new_this_hour(now);
                let how = Manner { now, trial: None, many_new: !hold_back, hold_back, before: known, new_this_hour, left: Duration::MAX };
                if !self.enact(held, set, how, trusted).await?.held_back {
                    state.base = None;
                }
            }
            None => {
                state.base = None;
                self.remove(held).await?;
                *trusted = None;
            }
        }
        state.rolled_back = state.current.max(state.rolled_back);
        state.current = before.map(|s| s.generation);
        state.previous = None;
        state.confirm_by = None;
        self.store.save(held, state)?;
        Ok(state.current.unwrap_or(0))
    }
}

/// What was to be cut and is not, or is and was not to be. Protected addresses follow this host's facts and are compared apart.
fn difference(ruleset: &Ruleset, present: Option<&Present>, trial: bool) -> Option<String> {
    let Some(present) = present else { return Some("the table is gone".to_owned()) };
    if !skeleton::is_whole(present, &ruleset.shape) {
        return Some("chains or rules are not ours".to_owned());
    }
    if ruleset.agents != present.agents {
        return Some("agent ranges differ".to_owned());
    }
    let missing = ruleset.blocks.iter().find(|(endpoint, block)| present.blocks.get(endpoint).is_none_or(|held| !held.holds(block)));
    if let Some((endpoint, _)) = missing {
        return Some(format!("{endpoint} is missing or other than asked for"));
    }
    let extra = present.blocks.keys().find(|e| !trial && !ruleset.blocks.contains_key(e));
    extra.map(|endpoint| format!("{endpoint} is there and was not asked for"))
}

/// A renewal that the kernel took and did not do.
fn not_renewed(transaction: &Transaction, present: &Present, age: Duration) -> Option<String> {
    transaction.changes.iter().find_map(|change| match change {
        Change::Lease { endpoint, lease, renewal: true, .. } => {
            let left = present.blocks.get(endpoint).map_or(Duration::ZERO, |held| held.left.saturating_sub(age));
            render::is_low(left, *lease).then(|| format!("the lease of {endpoint} was not renewed"))
        }
        _ => None,
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    rules::printable::printable(name.trim(), 64)
}

#[cfg(test)]
mod tests;
