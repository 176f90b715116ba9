//! Reports: one for each change, and no complaint twice in a row.

use super::{Core, Effect};
use crate::point::{Enacted, Error};
use rules::observation::{Applied, Outcome, PointStatus};

#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The last complaint: the same one is not made every five seconds.
    pub(super) complaint: Option<(u64, String)>,
    /// The text of the last good report: a renewal is reported when it changes.
    pub(super) last_reason: Option<String>,
    /// The last report was of a failure; that it no longer fails is worth a report, too.
    pub(super) unwell: bool,
}

impl Core {
    pub(super) fn on_rehearsed(&self, generation: u64, result: Result<Enacted, Error>) -> Effect {
        match result {
            Ok(enacted) => Effect::Report(Box::new(Applied {
                outcome: Outcome::DryRun,
                ..crate::operator::applied(&self.point, generation, &enacted)
            })),
            Err(why @ (Error::Objected(_) | Error::Refused(_))) => self.report(generation, Outcome::Refused, 0, why.to_string()),
            Err(why) => self.report(generation, Outcome::Failed, 0, why.to_string()),
        }
    }

    pub(super) fn complain(&mut self, generation: u64, outcome: Outcome, why: String) -> Option<Effect> {
        let complaint = Some((generation, why.clone()));
        if self.reports.complaint == complaint {
            return None;
        }
        self.reports.complaint = complaint;
        self.reports.unwell = true;
        Some(self.report(generation, outcome, 0, why))
    }

    pub(super) fn report(&self, generation: u64, outcome: Outcome, elements: usize, reason: String) -> Effect {
        Effect::Report(Box::new(Applied {
            point: self.point.clone(),
            generation,
            outcome,
            elements: elements as u64,
            reason,
            status: PointStatus::default(),
        }))
    }
}
