//! The health gate: new blocks stay only if what this host needs still answers.

use super::{Core, Effect, Now, RETRY};
use crate::{
    health::{self, Health},
    point::{Enacted, Error},
};
use rules::observation::Outcome;
use std::{collections::BTreeSet, time::Instant};

#[derive(Debug, Default)]
pub(super) struct HealthGate {
    /// Somebody tells us about this host's health.
    pub(super) enabled: bool,
    /// The generation whose new blocks wait for an answer, and until when.
    pub(super) waiting: Option<(u64, Instant)>,
    /// New blocks failed their check and are not known to be out: this generation is taken out wherever it would be renewed, for this
    /// reason.
    pub(super) refused: Option<(u64, String)>,
    /// Until then an answer may have been asked for while refused blocks were still in force.
    pub(super) unsure_until: Option<Instant>,
    /// The checks that fail without new blocks.
    pub(super) usual: Health,
    /// The checks for which new blocks were taken out.
    pub(super) blamed: BTreeSet<String>,
}

impl Core {
    pub(super) fn on_health(&mut self, health: Health, now: Now) -> Vec<Effect> {
        let generation = match self.gate.waiting {
            Some((generation, _)) if generation == health.generation => generation,
            None if health.generation == 0 && self.without_new_blocks(now) => {
                self.gate.usual = health;
                return self.exonerate();
            }
            // Asked while new blocks were, or may have been, in force: what failed then is not usual.
            _ => return Vec::new(),
        };
        match (health.worse_than(&self.gate.usual), self.current.clone()) {
            (Some(why), _) => {
                self.gate.blamed = health.failed.into_keys().filter(|name| !self.gate.usual.failed.contains_key(name)).collect();
                self.withdraw(generation, why)
            }
            (None, Some(set)) => {
                self.gate.waiting = None;
                vec![Effect::Pass(set)]
            }
            (None, None) => Vec::new(),
        }
    }

    pub(super) fn without_new_blocks(&self, now: Now) -> bool {
        self.gate.refused.is_none() && self.gate.unsure_until.is_none_or(|until| until <= now.mono)
    }

    /// The blocks are out, and the same checks fail all the same: it was not the blocks' doing.
    pub(super) fn exonerate(&mut self) -> Vec<Effect> {
        let still = !self.gate.blamed.is_empty() && self.gate.blamed.iter().all(|name| self.gate.usual.failed.contains_key(name));
        let failed = self.state.gate.as_ref().is_some_and(|g| g.failed.is_some());
        let Some(set) = self.current.clone().filter(|_| still && failed) else { return Vec::new() };
        self.gate.blamed.clear();
        vec![Effect::Pass(set)]
    }

    pub(super) fn withdraw(&mut self, generation: u64, why: String) -> Vec<Effect> {
        self.gate.waiting = None;
        let set = self.current.clone().filter(|s| s.generation == generation);
        self.gate.refused = set.as_ref().map(|_| (generation, why.clone()));
        set.map(|set| Effect::Withdraw(set, why)).into_iter().collect()
    }

    pub(super) fn on_withdrawn(&mut self, generation: u64, why: &str, result: Result<Enacted, Error>, now: Now) -> Vec<Effect> {
        let done = match result {
            Ok(enacted) => {
                self.gate.refused = None;
                self.renew_at = Some(now.mono + enacted.renew_in);
                "they were taken out again".to_owned()
            }
            Err(error) => {
                self.renew_at = Some(now.mono + RETRY);
                self.gate.unsure_until = Some(now.mono + health::ANSWER_TIMEOUT);
                format!("they lapse within {} s (taking them out at once failed: {error})", health::SHORT_LEASE.as_secs())
            }
        };
        let why = format!("after new blocks were applied a health check failed ({why}): {done}");
        let said = self.complain(generation, Outcome::Failed, why);
        // That stays the last word: what is held back is not well again when it is renewed without it.
        self.reports.unwell = false;
        said.into_iter().collect()
    }
}
