//! Time that a peer is given.

use std::time::Duration;

/// The time a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    /// For the whole answer to a simple question.
    pub answer: Duration,
    /// For `initialize` and streams: a bridge may start a process first.
    pub slow_answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_millis(1500), answer: Duration::from_secs(3), slow_answer: Duration::from_secs(10) }
    }
}
