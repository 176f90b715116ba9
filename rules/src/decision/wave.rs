//! New blocks reach the enforcement points in waves: 1 %, 10 %, all. Lifts reach all at once.
//!
//! A wave moves on when each of its points says that it holds the set and its health checks passed, and it was watched for a while.
//! At the first word of trouble it stands still until a person says `go`: what is new goes to no further point.

use super::{Action, Decision, DecisionSet, Held, Rollout};
use crate::{
    Timestamp,
    endpoint::Endpoint,
    observation::{Applied, Outcome},
    policy::Policy,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// One enforcement point, as the collector knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The name in its certificate.
    pub name: String,
    pub heard_at: Timestamp,
    /// Since when its word is that not all is enforced there.
    pub short_since: Option<Timestamp>,
    pub said: Applied,
}

/// The enforcement points of a site, and the wave under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fleet<'a> {
    pub points: &'a [Point],
    pub wave: Option<&'a Wave>,
}

/// New blocks on their way through the points. Kept by the collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub blocks: BTreeSet<Endpoint>,
    /// Index into [`Policy::waves`].
    pub stage: usize,
    /// Who makes these blocks so far.
    pub points: BTreeSet<String>,
    /// When this stage began, and with which generation.
    pub since: Timestamp,
    pub generation: u64,
    /// Why it stands still.
    pub held: Option<String>,
    /// A person said that it is to go on now.
    #[serde(default)]
    pub pushed: bool,
}

/// What is enforced of what is to be, over all points that enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub enforced: u64,
    pub desired: u64,
    /// Points that enforce, and how many of them were heard lately.
    pub points: usize,
    pub heard: usize,
}

impl Point {
    /// Whether its last word is young enough to be believed.
    pub fn is_heard(&self, policy: &Policy, now: Timestamp) -> bool {
        policy.point_silence.after(self.heard_at) > now
    }

    /// A dry run is no enforcement point.
    pub fn enforces(&self) -> bool {
        self.said.status.enforces
    }

    fn holds(&self, generation: u64) -> bool {
        let s = &self.said.status;
        self.said.outcome == Outcome::Applied && s.in_force >= generation && !s.on_trial && s.is_whole()
    }

    fn trouble(&self, generation: u64) -> Option<String> {
        let (a, s) = (&self.said, &self.said.status);
        let about = a.generation.max(s.in_force) >= generation;
        let what = match a.outcome {
            _ if s.stopped.is_some() => format!("was stopped by a person: {}", s.stopped.as_deref().unwrap_or_default()),
            Outcome::Refused | Outcome::Failed | Outcome::RolledBack if about => {
                format!("says of generation {}: {:?}: {}", a.generation, a.outcome, a.reason)
            }
            _ if about && s.held_back.is_some() => format!("holds new blocks back: {}", s.held_back.as_deref().unwrap_or_default()),
            _ if about && s.enforced < s.desired => format!("enforces {} of {}", s.enforced, s.desired),
            _ => return None,
        };
        Some(format!("`{}` {what}", self.name))
    }
}

impl Fleet<'_> {
    pub fn coverage(&self, policy: &Policy, now: Timestamp) -> Coverage {
        let mut sum = Coverage::default();
        for p in self.points.iter().filter(|p| p.enforces()) {
            let heard = p.is_heard(policy, now);
            sum.points += 1;
            sum.heard += usize::from(heard);
            sum.desired = sum.desired.saturating_add(p.said.status.desired);
            sum.enforced = sum.enforced.saturating_add(if heard { p.said.status.enforced.min(p.said.status.desired) } else { 0 });
        }
        sum
    }

    /// The names of those who may make new blocks in this stage; `None`: everybody.
    fn cohort(&self, stage: usize, policy: &Policy) -> Option<BTreeSet<String>> {
        policy.waves.get(stage)?;
        let mut names: Vec<&str> =
            self.points.iter().filter(|p| p.enforces() && p.said.status.stopped.is_none()).map(|p| p.said.point.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        // By hash: the same order every time, and not that of the names.
        names.sort_by_key(|name| Sha256::digest(name.as_bytes()));
        // Each wave is at least one point larger than the one before.
        let size = policy.waves.iter().take(stage + 1).fold(0, |before: usize, percent| {
            let share = names.len().saturating_mul(usize::from(*percent)).div_ceil(100);
            share.max(before + 1)
        });
        (size < names.len()).then(|| names.into_iter().take(size).map(str::to_owned).collect())
    }
}

impl Wave {
    /// A person says no, and why.
    pub fn hold(&mut self, why: String) {
        (self.held, self.pushed) = (Some(why), false);
    }

    /// A person says yes: on to the next points at once.
    pub fn go(&mut self) {
        (self.held, self.pushed) = (None, true);
    }

    fn begin(blocks: BTreeSet<Endpoint>, fleet: &Fleet<'_>, policy: &Policy, generation: u64, now: Timestamp) -> Option<Wave> {
        Some(Wave { blocks, stage: 0, points: fleet.cohort(0, policy)?, since: now, generation, held: None, pushed: false })
    }

    /// One look: as it is, stopped, one stage on, or over (`None`).
    fn step(mut self, fleet: &Fleet<'_>, policy: &Policy, generation: u64, now: Timestamp) -> Option<Wave> {
        if self.held.is_none() && !self.pushed {
            self.held = self.trouble(fleet, policy, now);
        }
        let holds =
            |name: &String| fleet.points.iter().any(|p| p.said.point == *name && p.is_heard(policy, now) && p.holds(self.generation));
        let watched = policy.wave_hold.after(self.since) <= now && self.points.iter().all(holds);
        if self.held.is_some() || !(self.pushed || watched) {
            return Some(self);
        }
        let stage = self.stage + 1;
        Some(Wave { stage, points: fleet.cohort(stage, policy)?, since: now, generation, pushed: false, ..self })
    }

    fn trouble(&self, fleet: &Fleet<'_>, policy: &Policy, now: Timestamp) -> Option<String> {
        let mine = || fleet.points.iter().filter(|p| self.points.contains(&p.said.point));
        let said = mine().find_map(|p| p.trouble(self.generation));
        let late = policy.coverage_patience.after(policy.wave_hold.after(self.since)) <= now;
        let silent = || {
            let holds = |name: &&String| mine().any(|p| p.said.point == **name && p.is_heard(policy, now) && p.holds(self.generation));
            let missing = self.points.iter().find(|name| late && !holds(name))?;
            Some(format!("`{missing}` did not say in time that it holds generation {}", self.generation))
        };
        said.or_else(silent)
    }
}

/// Lets only the points of the wave make new blocks. What falls due while a wave is under way is counted, and waits for the next.
///
/// Gives the wave as it is now, and what the set says of it.
pub(super) fn pace(
    wanted: &mut BTreeMap<Endpoint, Decision>,
    previous: Option<&DecisionSet>,
    (fleet, policy): (&Fleet<'_>, &Policy),
    (generation, now): (u64, Timestamp),
    held: &mut Vec<Held>,
) -> (Option<Wave>, Option<Rollout>) {
    let of = |d: &&Decision| d.action == Action::Block;
    let rolling = previous.and_then(|p| p.rollout.as_ref()).map(|r| &r.blocks);
    let settled: BTreeSet<Endpoint> = previous
        .into_iter()
        .flat_map(|p| &p.decisions)
        .filter(of)
        .map(|d| d.endpoint)
        .filter(|e| rolling.is_none_or(|r| !r.contains(e)))
        .collect();
    let blocks: BTreeSet<Endpoint> = wanted.values().filter(of).map(|d| d.endpoint).collect();
    let under_way = fleet.wave.cloned().map(|mut w| {
        w.blocks.retain(|e| blocks.contains(e));
        w
    });
    let fresh = |wave: Option<&Wave>| -> BTreeSet<Endpoint> {
        blocks.iter().filter(|e| !settled.contains(e) && wave.is_none_or(|w| !w.blocks.contains(e))).copied().collect()
    };
    let Some(wave) = under_way.filter(|w| !w.blocks.is_empty()) else {
        let new = fresh(None);
        let wave = if new.is_empty() { None } else { Wave::begin(new, fleet, policy, generation, now) };
        let rollout = wave.as_ref().map(rollout);
        return (wave, rollout);
    };
    for endpoint in fresh(Some(&wave)) {
        if let Some(decision) = wanted.get_mut(&endpoint) {
            let reason = "waits until the wave of new blocks under way has reached all enforcement points".to_owned();
            held.push(Held { finding: decision.finding.clone(), endpoint, reason });
            decision.action = Action::Shadow;
        }
    }
    let wave = wave.step(fleet, policy, generation, now);
    let rollout = wave.as_ref().map(rollout);
    (wave, rollout)
}

fn rollout(wave: &Wave) -> Rollout {
    Rollout { points: wave.points.clone(), blocks: wave.blocks.clone() }
}

#[cfg(test)]
mod tests;
