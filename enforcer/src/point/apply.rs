//! Applying a set: plan, check, render, commit, read back, compare; up to three times, since others change the table too.

use super::{ApplyOptions, Enacted, Error, Point, amend::LastApplied, lease, memory::KernelSnapshot, plan_for_host};
use crate::{
    nft,
    present::Present,
    render::{self, Change, Skeleton, Transaction, skeleton},
    ruleset::Ruleset,
    state::Guard,
};
use rules::decision::DecisionSet;
use std::{sync::Arc, time::Duration};

impl Point {
    /// Makes the kernel hold a set: plan, check, render, commit, read back, compare.
    ///
    /// `trusted`: the skeleton as it was read after we last wrote it; anything else is repaired.
    pub async fn enact(
        &mut self,
        _held: &Guard,
        set: &Arc<DecisionSet>,
        options: ApplyOptions<'_>,
        trusted: &mut Option<String>,
    ) -> Result<Enacted, Error> {
        self.not_stopped()?;
        let enacted = self.make(set, options, trusted).await;
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

    async fn make(&mut self, set: &Arc<DecisionSet>, options: ApplyOptions<'_>, trusted: &mut Option<String>) -> Result<Enacted, Error> {
        let protects = self.known.as_ref().map(LastApplied::protects);
        if let Some(enacted) = self.amend(set, &options, trusted.as_ref())? {
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
            let plan = plan_for_host(set, &facts, &self.config, seen, skeleton, options);
            if !plan.objections.is_empty() {
                return Err(Error::Objected(plan.objections));
            }
            drifted |= skeleton != Skeleton::Keep || difference(&plan.ruleset, seen.0, options.trial.is_some()).is_some();
            // What this host's facts ask for may be new; what was protected, and is it no longer or more than it was, others changed.
            drifted |= attempt == 0 && protects.as_ref().zip(seen.0).is_some_and(|(then, now)| !then.holds(now));
            if plan.transaction.is_empty() {
                self.memory = memory;
            } else {
                let generation = memory.as_ref().and_then(|m| m.generation);
                let generation = match self.commit(&plan.transaction, generation).await {
                    // Somebody changed the table between our look and our commit, or it has another shape: look again.
                    Err(nft::Error::Refused(why)) => {
                        last = Error::Kernel(why);
                        continue;
                    }
                    other => other?,
                };
                self.read_back(memory, &plan.transaction, generation).await?;
            }
            let after = self.memory.as_ref().and_then(|m| m.present.as_ref());
            let unprotected =
                after.filter(|p| p.never != plan.ruleset.never || p.open != plan.ruleset.open || p.sessions != plan.ruleset.sessions);
            let unprotected = unprotected.map(|_| "protected addresses differ".to_owned());
            let age = self.memory.as_ref().map_or(Duration::ZERO, KernelSnapshot::age);
            let stale = after.filter(|_| self.readd).and_then(|p| not_renewed(&plan.transaction, p, age));
            if stale.is_some() {
                tracing::info!("this kernel does not renew what is added again: leases are renewed in three steps");
                self.readd = false;
            }
            match unprotected.or(stale).or_else(|| difference(&plan.ruleset, after, options.trial.is_some())) {
                None => {
                    *trusted = after.map(|p| p.skeleton.clone());
                    let lease = lease(set, &options);
                    return Ok(self.remember(set, facts, plan, &options, lease, drifted));
                }
                Some(why) => last = Error::Differs(why),
            }
        }
        Err(last)
    }

    /// Chains and rules by `nft`, elements by netlink where there is one. Gives the generation that this leads to, if nobody else committed
    /// since `generation`.
    pub(super) async fn commit(&mut self, transaction: &Transaction, generation: Option<u32>) -> Result<Option<u32>, nft::Error> {
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
}

/// What was to be cut and is not, or is and was not to be. Protected addresses follow this host's facts and are compared apart.
pub(super) fn difference(ruleset: &Ruleset, present: Option<&Present>, trial: bool) -> Option<String> {
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
