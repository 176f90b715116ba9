//! Segments to streams: a bounded table of connections, and in-order bytes of both directions.
//!
//! Bytes are handed on in causal order as well: an end's segment waits until the bytes it acknowledges were handed on, so that
//! an answer never comes before its question, whatever order the capture has. What the capture lacks is told as a gap.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod connection;
mod half;
mod keys;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

pub use connection::{Heavy, Lost};
pub(crate) use keys::Seeded;
pub use table::Table;

use crate::moment::Moment;
use rules::endpoint::Endpoint;
use serde::{Deserialize, Serialize};

/// What is remembered about connections, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Connections; the one idle longest makes room.
    pub flows: usize,
    /// Bytes held of segments that came out of order, over all connections.
    pub held_bytes: usize,
    /// Bytes of heads, lines and frames that are not whole yet, over all connections; bodies have a bound of their own.
    pub buffered_bytes: usize,
    /// Seconds without a segment after which a connection is forgotten.
    pub idle_seconds: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        // An MCP event stream may be silent between keep-alives for many minutes.
        Bounds { flows: 65_536, held_bytes: 16 << 20, buffered_bytes: 16 << 20, idle_seconds: 1800 }
    }
}

impl Bounds {
    /// The part of one of several that share them.
    pub(crate) fn divided(self, by: u8) -> Bounds {
        let part = |all: usize| all.div_ceil(usize::from(by.max(1)));
        Bounds { flows: part(self.flows), held_bytes: part(self.held_bytes), buffered_bytes: part(self.buffered_bytes), ..self }
    }
}

/// One of the two ends: `Low` is the one with the lower address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Low,
    High,
}

impl End {
    pub fn other(self) -> End {
        match self {
            End::Low => End::High,
            End::High => End::Low,
        }
    }
}

/// Two of something, one per end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    pub low: T,
    pub high: T,
}

impl<T> Both<T> {
    pub fn at(&self, end: End) -> &T {
        match end {
            End::Low => &self.low,
            End::High => &self.high,
        }
    }

    pub fn at_mut(&mut self, end: End) -> &mut T {
        match end {
            End::Low => &mut self.low,
            End::High => &mut self.high,
        }
    }
}

/// Who talks to whom, as far as the segments tell.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    pub ends: Both<Endpoint>,
    /// The end that sent the first SYN; `None` when the connection was joined later.
    pub opener: Option<End>,
    /// Whether anything of an end was seen.
    pub seen: Both<bool>,
    /// Bytes of an end that the other one has confirmed since the capture began, seen or not.
    pub taken: Both<u32>,
}

impl Peers {
    /// The ends of one datagram; nobody opened anything, and only its sender is known to be there.
    pub fn of_datagram(source: Endpoint, destination: Endpoint) -> Peers {
        Peers { ends: Both { low: source, high: destination }, opener: None, seen: Both { low: true, high: false }, taken: Both::default() }
    }

    pub fn endpoint(&self, end: End) -> Endpoint {
        *self.ends.at(end)
    }
}

/// Everything a reader of bytes needs beside the bytes.
#[derive(Debug)]
pub struct Context<'a, W> {
    /// When the packet in hand passed.
    pub now: Moment,
    pub peers: &'a Peers,
    /// What all conversations of one capture point share.
    pub world: &'a mut W,
}

/// What is made of one connection's bytes.
pub trait Conversation: Default {
    /// What all conversations share.
    type World;

    /// The next bytes of `from`, in order.
    fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_, Self::World>);

    /// `missing` bytes of `from` were on the wire and are not in the capture. At its turn.
    fn gap(&mut self, from: End, missing: usize, cx: &mut Context<'_, Self::World>);

    /// Two copies of the same bytes differ; the first counts. Which of them the receiver believed depends on the receiver.
    fn ambiguous(&mut self, _cx: &mut Context<'_, Self::World>) {}

    /// `from` has said all it will.
    fn ended(&mut self, from: End, cx: &mut Context<'_, Self::World>);

    /// The connection is over or forgotten.
    fn closed(&mut self, cx: &mut Context<'_, Self::World>);

    /// Bytes it keeps until more come, bodies aside.
    fn buffered(&self) -> usize {
        0
    }

    /// True when order does not matter any more: segments are handed on as they come, none is held.
    fn indifferent(&self) -> bool {
        false
    }
}
