//! Reports: each one with the status of this point, and again every minute as a sign of life.

use super::reconciler::{BlockCounts, Reconciler};
use crate::{operator, point::Enacted, ruleset};
use rules::{
    Timestamp,
    decision::{Action, DecisionSet},
    observation::{Applied, Outcome, PointStatus},
};
use std::time::Instant;

impl Reconciler {
    pub(super) async fn report(&mut self, applied: Applied) {
        let applied = Applied { status: self.status().await, ..applied };
        let Applied { point, generation, outcome, elements, reason, .. } = &applied;
        match outcome {
            Outcome::Refused | Outcome::Failed | Outcome::RolledBack => {
                tracing::warn!(point, generation, outcome = word(*outcome), elements, reason, "enforcement");
            }
            _ => tracing::info!(point, generation, outcome = word(*outcome), elements, reason, "enforcement"),
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
    pub(super) async fn say_again(&mut self) {
        let due = |(_, at): &&(Applied, Instant)| at.elapsed() >= PointStatus::EVERY.0;
        if self.last.as_ref().is_some_and(|last| due(&last)) {
            self.counts = None;
            self.repeat().await;
        }
    }

    /// The last word again, with how things stand now.
    pub(super) async fn repeat(&mut self) {
        if let Some((applied, _)) = self.last.clone() {
            let status = self.status().await;
            self.say(Applied { status, ..applied });
        }
    }

    async fn status(&mut self) -> PointStatus {
        let state = self.seen.clone().unwrap_or_default();
        let enforces = self.enforces();
        let BlockCounts { desired, enforced, withheld } = if enforces { self.count().await } else { BlockCounts::default() };
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

    async fn count(&mut self) -> BlockCounts {
        if let Some(counts) = self.counts {
            return counts;
        }
        let Some(set) = self.core.current() else { return BlockCounts::default() };
        let (ruleset, withheld) = ruleset::plan(&set, &self.point.facts(), &self.point.config);
        let wanted = ruleset.blocks;
        let blocks = || wanted.iter().filter(|(_, b)| b.action == Action::Block);
        let held = self.point.count(|present| blocks().filter(|(e, b)| present(e).is_some_and(|h| h.action == b.action)).count()).await;
        BlockCounts { desired: blocks().count() as u64, enforced: held.unwrap_or(0) as u64, withheld: withheld.len() as u64 }
    }

    /// What was just read back need not be read again for the report about it.
    pub(super) fn note(&mut self, set: &DecisionSet, enacted: &Enacted) {
        let plain = !enacted.held_back && enacted.withheld.is_empty();
        let blocks = set.decisions.iter().filter(|d| d.action == Action::Block).count() as u64;
        self.counts = plain.then_some(BlockCounts { desired: blocks, enforced: blocks, withheld: 0 });
    }
}

/// As in the report's JSON.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::DryRun => "dry-run",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
        Outcome::RolledBack => "rolled-back",
    }
}
