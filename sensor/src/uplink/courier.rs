//! When to deliver, and how much at once. Pure; time and chance are arguments.

use super::backoff::{delay, next_chance};
use rules::wire::v1::Batch;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send,
    /// Not before then: the last delivery failed.
    Wait(Instant),
    /// There is nothing to deliver.
    Idle,
}

#[derive(Debug)]
pub(super) struct Courier {
    longest: Duration,
    chance: u64,
    failures: u32,
    not_before: Option<Instant>,
    /// Records per batch: halved while a batch is refused, so that one bad record does not hold back the rest.
    records: usize,
    sent: (usize, u64),
}

const RECORDS: usize = Batch::MAX / 2;
/// Half of what a collector takes: the JSON around the records counts too.
const BYTES: usize = Batch::MAX_BYTES / 2;

impl Courier {
    pub(super) fn new(longest: Duration, chance: u64) -> Courier {
        Courier { longest, chance, failures: 0, not_before: None, records: RECORDS, sent: (0, 0) }
    }

    pub(super) fn next(&self, pending: bool, now: Instant) -> Next {
        match self.not_before {
            _ if !pending => Next::Idle,
            Some(at) if at > now => Next::Wait(at),
            _ => Next::Send,
        }
    }

    /// Records and bytes of the next batch, at most.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.records, BYTES)
    }

    pub(super) fn sent(&mut self, records: usize, last: u64) {
        self.sent = (records, last);
    }

    pub(super) fn acknowledged(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.records = (self.records * 2).min(RECORDS);
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let wait = delay(self.failures, self.longest, next_chance(&mut self.chance));
        self.not_before = Some(now + wait);
    }

    /// The batch will never be taken as it was. The number to give up when it was a single record; else a smaller batch follows.
    pub(super) fn refused(&mut self, now: Instant) -> Option<u64> {
        if self.sent.0 <= 1 {
            self.not_before = None;
            return Some(self.sent.1);
        }
        self.records = (self.sent.0 / 2).max(1);
        self.not_before = Some(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_a_collector_cannot_take_is_found_by_halving() {
        let now = Instant::now();
        let mut courier = Courier::new(Duration::from_secs(1), 1);
        let (mut acked, bad, mut batches) = (0u64, 300u64, 0);
        while acked < 1000 {
            batches += 1;
            let last = (acked + courier.size().0 as u64).min(1000);
            courier.sent((last - acked) as usize, last);
            if acked < bad && bad <= last {
                acked = courier.refused(now).unwrap_or(acked);
            } else {
                courier.acknowledged();
                acked = last;
            }
        }
        assert!(batches < 40, "{batches}");
    }

    #[test]
    fn failures_wait_and_success_forgets_them() {
        let now = Instant::now();
        let mut courier = Courier::new(Duration::from_secs(1), 1);
        assert_eq!((courier.next(false, now), courier.next(true, now)), (Next::Idle, Next::Send));
        courier.failed(now);
        assert!(matches!(courier.next(true, now), Next::Wait(at) if at > now));
        courier.acknowledged();
        assert_eq!(courier.next(true, now), Next::Send);
    }
}
