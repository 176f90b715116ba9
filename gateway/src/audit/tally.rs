//! Numbers of the audit log: outcomes, and the records that it does not have.

use super::record::{Gap, Outcome, Record};
use crate::{config::Audit, limit::Bucket};
use rules::Timestamp;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// Shared by tickets, the writer and the metrics page.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(super) failing: AtomicBool,
    pub(super) written: AtomicU64,
    refusals: AtomicU64,
    pub(super) turned_away: AtomicU64,
    lost: AtomicU64,
    pub(super) outcomes: [AtomicU64; Outcome::ALL.len()],
    refusals_per_second: f64,
    budget: Mutex<Bucket>,
}

impl Tally {
    pub(super) fn new(config: &Audit) -> Tally {
        let refusals_per_second = f64::from(config.refusals_per_second.max(1));
        Tally {
            failing: AtomicBool::new(false),
            written: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            outcomes: Default::default(),
            refusals_per_second,
            budget: Mutex::new(Bucket::full(refusals_per_second * 10.0, Instant::now())),
        }
    }

    pub(super) fn count(&self, record: &Record) {
        let place = Outcome::ALL.iter().position(|o| *o == record.outcome);
        if let Some(n) = place.and_then(|i| self.outcomes.get(i)) {
            n.fetch_add(1, Relaxed);
        }
    }

    /// Counts the refusal when it may not.
    pub(super) fn may_record_refusal(&self, now: Instant) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let may = budget.draw(1.0, self.refusals_per_second, self.refusals_per_second * 10.0, now).is_ok();
        if !may {
            self.refusals.fetch_add(1, Relaxed);
        }
        may
    }

    pub(super) fn lost(&self, n: u64) {
        self.lost.fetch_add(n, Relaxed);
    }

    /// What has to be told, once.
    pub(super) fn take_gap(&self, at: Timestamp) -> Option<Gap> {
        let take = |n: &AtomicU64| n.swap(0, Relaxed);
        let gap = Gap { at, refusals: take(&self.refusals), turned_away: take(&self.turned_away), lost: take(&self.lost), torn: 0 };
        (gap != Gap { at, ..Gap::default() }).then_some(gap)
    }
}
