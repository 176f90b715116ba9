//! The kernel's part: commits by others, and the results of our own.

use super::{Cause, Core, Effect, Now, RETRY};
use crate::{
    health,
    netlink::Commit,
    point::{Enacted, Error},
};
use rules::observation::Outcome;

impl Core {
    pub(super) fn on_commit(&mut self, commit: Option<Commit>, now: Now) -> Vec<Effect> {
        let actor = match commit {
            // Ours, or from before ours.
            Some(c) if self.kernel.is_some_and(|k| c.generation.wrapping_sub(k).cast_signed() <= 0) => return Vec::new(),
            // A number that was left out is a commit that nobody told of.
            Some(c) if !c.ours && self.kernel.is_none_or(|k| c.generation == k.wrapping_add(1)) => {
                self.kernel = Some(c.generation);
                return Vec::new();
            }
            Some(c) if !c.ours => String::new(),
            Some(c) => c.actor,
            None => String::new(),
        };
        if self.gate.waiting.is_some() || self.repairs.paused_until.is_some() || self.void(now).is_some() {
            return Vec::new();
        }
        if self.state.confirm_by.is_some() {
            // What is on trial is not mended: all goes back to what was before, and that is whole.
            return self.current.clone().map(|set| Effect::Inspect(set, actor)).into_iter().collect();
        }
        self.uphold(Cause::Look { actor }).into_iter().collect()
    }

    pub(super) fn on_enacted(&mut self, generation: u64, cause: &Cause, result: Result<Enacted, Error>, now: Now) -> Vec<Effect> {
        match result {
            Ok(enacted) => {
                self.renew_at = Some(now.mono + enacted.renew_in);
                self.validity.reported = None;
                self.reports.complaint = None;
                self.gate.refused = None;
                let waits = self.state.gate.as_ref().filter(|g| self.gate.enabled && g.generation == generation && g.failed.is_none());
                self.gate.waiting = waits.map(|_| (generation, now.mono + health::ANSWER_TIMEOUT));
                let well_again = std::mem::take(&mut self.reports.unwell);
                let report = crate::operator::applied(&self.point, generation, &enacted);
                let changed = self.reports.last_reason.replace(report.reason.clone()).is_some_and(|said| said != report.reason);
                match cause {
                    Cause::New | Cause::Start => vec![Effect::Report(Box::new(report))],
                    Cause::Look { actor } if enacted.drifted => self.on_repair(report, actor, now),
                    Cause::Look { .. } | Cause::Renewal if changed || well_again => vec![Effect::Report(Box::new(report))],
                    Cause::Look { .. } | Cause::Renewal => Vec::new(),
                }
            }
            // A person came in between; the state will say so in a moment.
            Err(Error::Stopped(_) | Error::TrialRunning(_) | Error::Superseded(_)) => Vec::new(),
            Err(why) => {
                // Try again before the leases run out. What fails again and again with a new set puts off no renewal of the one in force.
                let retry = now.mono + RETRY;
                let due = self.renew_at.filter(|_| *cause == Cause::New);
                self.renew_at = Some(due.map_or(retry, |at| at.min(retry)));
                let outcome = match &why {
                    Error::Objected(_) | Error::Refused(_) => Outcome::Refused,
                    _ => Outcome::Failed,
                };
                self.complain(generation, outcome, why.to_string()).into_iter().collect()
            }
        }
    }
}
