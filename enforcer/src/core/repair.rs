//! Drift: somebody else's changes to our table, mended up to a limit.

use super::{Core, Effect, Now};
use rules::observation::{Applied, Outcome};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// As many repairs within [`REPAIR_PERIOD`] mean that somebody works against us: repairs pause for [`REPAIR_PAUSE`], and a report says so.
const MAX_REPAIRS: usize = 5;
const REPAIR_PERIOD: Duration = Duration::from_secs(600);
const REPAIR_PAUSE: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// The repairs of the last [`REPAIR_PERIOD`], oldest first.
    pub(super) times: VecDeque<Instant>,
    /// No repair before this moment.
    pub(super) paused_until: Option<Instant>,
}

impl Core {
    pub(super) fn on_repair(&mut self, mut report: Applied, actor: &str, now: Now) -> Vec<Effect> {
        let who = if actor.is_empty() { "somebody" } else { actor };
        while self.repairs.times.front().is_some_and(|at| now.mono.saturating_duration_since(*at) > REPAIR_PERIOD) {
            self.repairs.times.pop_front();
        }
        self.repairs.times.push_back(now.mono);
        report.reason = format!("restored after {who} changed table inet gnomon");
        let mut effects = vec![Effect::Report(Box::new(report))];
        if self.repairs.times.len() >= MAX_REPAIRS {
            self.repairs.paused_until = Some(now.mono + REPAIR_PAUSE);
            let why = format!(
                "table inet gnomon was changed {MAX_REPAIRS} times within {} minutes, last by {who}: no more repairs for {} minutes; find out who it is",
                REPAIR_PERIOD.as_secs() / 60,
                REPAIR_PAUSE.as_secs() / 60
            );
            let generation = self.current.as_ref().map_or(0, |s| s.generation);
            effects.push(self.report(generation, Outcome::Failed, 0, why));
        }
        effects
    }
}
