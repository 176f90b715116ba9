//! Capture time: when a frame was seen, by the clock of whoever captured it.

use rules::Timestamp;
use std::time::Duration;

/// Nanoseconds since 1970 in capture time. Cheap to copy and compare; it may step backwards between frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// From a packet header; a nonsensical time saturates.
    pub fn new(seconds: i64, nanoseconds: i64) -> Moment {
        Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
    }

    /// Zero when `earlier` is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default()
    }
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Moment {
        Moment(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX))
    }
}
