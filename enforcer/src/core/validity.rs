//! Validity: how long the current set holds, by the wall clock and by a clock that nobody can set.

use super::{Core, Effect, Now};
use crate::intake::is_early;
use rules::{Timestamp, decision::DecisionSet, observation::Outcome};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Validity {
    /// The end of the current set by the clock that nobody can set: generation, `not_after`, and that moment. Taken while the wall clock
    /// could be right.
    pub(super) term: Option<(u64, Timestamp, Instant)>,
    /// The generation whose expiry was reported.
    pub(super) reported: Option<u64>,
    /// The generation whose time was over, and whose blocks were lifted for that.
    pub(super) lifted: Option<u64>,
}

impl Core {
    /// How long a set may still be kept up by the monotonic clock.
    pub fn left(&self, set: &DecisionSet, now: Now) -> Duration {
        let term = self.validity.term.filter(|(generation, not_after, _)| (*generation, *not_after) == (set.generation, set.not_after));
        term.map_or(Duration::MAX, |(.., end)| end.saturating_duration_since(now.passed()))
    }

    /// Once for each set: a wall clock that is set back later gives it no more time.
    pub(super) fn note_term(&mut self, now: Now) {
        let Some(set) = &self.current else { return };
        if self.left(set, now) == Duration::MAX && !is_early(set.issued_at, now.wall) {
            let left = Duration::try_from(set.not_after.duration_since(now.wall)).unwrap_or_default();
            self.validity.term = Some((set.generation, set.not_after, now.passed().checked_add(left).unwrap_or(now.mono)));
        }
    }

    /// Why the current set is not kept up now.
    pub(super) fn void(&self, now: Now) -> Option<String> {
        let set = self.current.as_ref()?;
        if set.not_after <= now.wall || self.left(set, now).is_zero() {
            return Some(format!(
                "the set expired at {} and no newer one came: its blocks have lapsed, the network is open",
                set.not_after
            ));
        }
        // A clock set back since takes nothing from a set whose end is known; one that was never right says nothing of it.
        (self.left(set, now) == Duration::MAX && is_early(set.issued_at, now.wall)).then(|| {
            format!("the set was issued at {}, and this host's clock says {}: no renewal until it is set right", set.issued_at, now.wall)
        })
    }

    /// Leases were cut to end with the set; what is left to do is to say it, once, and to lift what a sleeping host kept. By the wall clock
    /// alone nothing is lifted: it may be set right before the leases end.
    pub(super) fn expired(&mut self, now: Now) -> Option<Vec<Effect>> {
        let why = self.void(now)?;
        let generation = self.current.as_ref().map_or(0, |set| set.generation);
        let mut effects = Vec::new();
        let over = self.current.as_ref().is_some_and(|set| self.left(set, now).is_zero());
        if over && self.validity.lifted.replace(generation) != Some(generation) {
            effects.push(Effect::Open(generation));
        }
        if self.validity.reported.replace(generation) != Some(generation) {
            // Where it was the clock's doing, that it is over is worth a word.
            self.reports.unwell = true;
            effects.push(self.report(generation, Outcome::Failed, 0, why));
        }
        Some(effects)
    }
}
