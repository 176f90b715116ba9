//! Enforcement points at the end of a bad line: sets arrive late, twice, in the wrong order, or not at all.

use super::{chance::Chance, model::Model};
use jiff::Timestamp;
use rules::decision::DecisionSet;

#[derive(Debug, Default)]
pub(super) struct Enforcer {
    applied: Option<DecisionSet>,
    line: Vec<DecisionSet>,
}

impl Enforcer {
    pub(super) fn send(&mut self, set: &DecisionSet, chance: &mut Chance) {
        for _ in 0..chance.within(0, 2) {
            self.line.push(set.clone());
        }
        if self.line.len() > 20 {
            self.line.remove(chance.index(20));
        }
    }

    /// Whatever of the line comes next; gives whether it was refused.
    pub(super) fn receive(
        &mut self,
        accepts: fn(u64, &DecisionSet, Timestamp) -> bool,
        model: &Model,
        now: Timestamp,
        chance: &mut Chance,
    ) -> Result<bool, String> {
        if self.line.is_empty() {
            return Ok(false);
        }
        let set = self.line.swap_remove(chance.index(self.line.len()));
        let before = self.applied.as_ref().map_or(0, |s| s.generation);
        if !accepts(before, &set, now) {
            return Ok(true);
        }
        if set.generation < before {
            return Err(format!("an enforcer went back from generation {before} to {}", set.generation));
        }
        if now >= set.not_after {
            return Err(format!("an enforcer applied generation {} after its end", set.generation));
        }
        if !model.was_issued(&set) {
            return Err(format!("an enforcer applied generation {} that was never issued", set.generation));
        }
        self.applied = Some(set);
        Ok(false)
    }
}
