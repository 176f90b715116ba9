//! A request's claim to one record.

use super::{
    record::{LogEntry, Outcome, Record},
    tally::Tally,
};
use crate::limit::Opening;
use std::{sync::Arc, time::Instant};
use tokio::sync::mpsc::OwnedPermit;

/// Writes its record when it ends, however that happens: by [`Ticket::finish`], or because the HTTP transaction was dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) record: Box<Record>,
    /// Counts as open for as long as the ticket lives.
    pub(crate) opening: Option<Opening>,
    slot: Option<OwnedPermit<LogEntry>>,
    state: Arc<Tally>,
    started: Instant,
}

impl Ticket {
    pub(super) fn new(record: Record, slot: Option<OwnedPermit<LogEntry>>, state: Arc<Tally>, started: Instant) -> Ticket {
        Ticket { record: Box::new(record), opening: None, slot, state, started }
    }

    /// The answer's head is ready.
    pub(crate) fn answered(&mut self, status: u16) {
        self.record.status = status;
        self.record.latency_us = self.elapsed();
    }

    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.record.outcome = outcome;
    }

    fn elapsed(&self) -> u64 {
        self.started.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.record.duration_us = self.elapsed();
        self.state.count(&self.record);
        if self.record.outcome.is_refusal() && !self.state.may_record_refusal(Instant::now()) {
            return;
        }
        match self.slot.take() {
            Some(slot) => drop(slot.send(LogEntry::Call(std::mem::take(&mut self.record)))),
            None => self.state.lost(1),
        }
    }
}
