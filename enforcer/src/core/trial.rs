//! Trials: a set that a person applied for a limited time, and its end.

use super::{Core, Effect, Now, RETRY};
use crate::point::Error;
use rules::{Timestamp, observation::Outcome};
use std::time::{Duration, Instant};

/// The trial that runs, if any.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// When the trial ends by the monotonic clock, which nobody can set; with its end by the wall clock.
    pub(super) ends: Option<(Timestamp, Instant)>,
    /// A rollback failed: the next attempt is not before this moment.
    pub(super) roll_back_at: Option<Instant>,
    /// The reason why a trial ends before its time.
    pub(super) disturbed: Option<String>,
}

impl Core {
    /// Once for each trial, as [`Core::note_term`].
    pub(super) fn note_trial(&mut self, now: Now) {
        let known = self.trial.ends.map(|(by, _)| by);
        if known != self.state.confirm_by {
            let left = |by: Timestamp| Duration::try_from(by.duration_since(now.wall)).unwrap_or_default();
            self.trial.ends = self.state.confirm_by.map(|by| (by, now.mono.checked_add(left(by)).unwrap_or(now.mono)));
        }
    }

    pub(super) fn on_trial(&self, now: Now) -> bool {
        self.state.trial(now.wall) && self.trial.ends.is_none_or(|(_, end)| end > now.mono)
    }

    pub(super) fn on_rolled_back(&mut self, from: u64, result: Result<u64, Error>, now: Now) -> Vec<Effect> {
        match result {
            Ok(to) => {
                self.trial.roll_back_at = None;
                let why = self.trial.disturbed.take().unwrap_or_else(|| "was not confirmed in time".to_owned());
                vec![self.report(to, Outcome::RolledBack, 0, format!("generation {from} {why}"))]
            }
            // A person was there first: confirmed, or rolled back already.
            Err(Error::NothingApplied) => {
                (self.trial.roll_back_at, self.trial.disturbed) = (None, None);
                Vec::new()
            }
            Err(why) => {
                self.trial.roll_back_at = Some(now.mono + RETRY);
                let why = format!("generation {from} was not confirmed and could not be rolled back (its blocks lapse): {why}");
                self.complain(from, Outcome::Failed, why).into_iter().collect()
            }
        }
    }
}
