//! New blocks reach the enforcement points in waves: 1 %, 10 %, all. Lifts reach all at once.
//!
//! A wave moves on when each of its points says that it holds the set and its health checks passed, and it was watched for a while.
//! At the first word of trouble it stands still until a person says `go`: what is new goes to no further point.

use super::WithheldBlock;
use crate::{
    Timestamp,
    decision::{Action, Decision, DecisionSet, Rollout},
    endpoint::Endpoint,
    fleet::{Fleet, Point, Wave},
    observation::Outcome,
    policy::Policy,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

impl Point {
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
                format!("says of generation {}: {}: {}", a.generation, a.outcome.as_str(), a.reason)
            }
            _ if about && s.held_back.is_some() => format!("holds new blocks back: {}", s.held_back.as_deref().unwrap_or_default()),
            _ if about && s.enforced < s.desired => format!("enforces {} of {}", s.enforced, s.desired),
            _ => return None,
        };
        Some(format!("`{}` {what}", self.name))
    }
}

impl Fleet<'_> {
    /// The names of those who may make new blocks in this stage; `None`: everybody.
    fn cohort(&self, stage: usize, policy: &Policy) -> Option<BTreeSet<String>> {
        policy.fleet.waves.get(stage)?;
        let mut names: Vec<&str> =
            self.points.iter().filter(|p| p.enforces() && p.said.status.stopped.is_none()).map(|p| p.said.point.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        // By hash: the same order every time, and not that of the names.
        names.sort_by_key(|name| Sha256::digest(name.as_bytes()));
        // Each wave is at least one point larger than the one before.
        let size = policy.fleet.waves.iter().take(stage + 1).fold(0, |before: usize, percent| {
            let share = names.len().saturating_mul(usize::from(*percent)).div_ceil(100);
            share.max(before + 1)
        });
        (size < names.len()).then(|| names.into_iter().take(size).map(str::to_owned).collect())
    }
}

impl Wave {
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
        let watched = policy.fleet.wave_hold.after(self.since) <= now && self.points.iter().all(holds);
        if self.held.is_some() || !(self.pushed || watched) {
            return Some(self);
        }
        let stage = self.stage + 1;
        Some(Wave { stage, points: fleet.cohort(stage, policy)?, since: now, generation, pushed: false, ..self })
    }

    fn trouble(&self, fleet: &Fleet<'_>, policy: &Policy, now: Timestamp) -> Option<String> {
        let mine = || fleet.points.iter().filter(|p| self.points.contains(&p.said.point));
        let said = mine().find_map(|p| p.trouble(self.generation));
        let late = policy.fleet.coverage_patience.after(policy.fleet.wave_hold.after(self.since)) <= now;
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
    held: &mut Vec<WithheldBlock>,
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
            held.push(WithheldBlock { finding: decision.finding.clone(), endpoint, reason });
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
