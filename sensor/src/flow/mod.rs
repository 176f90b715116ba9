//! Segments to streams: a bounded table of connections and in-order bytes of both directions.

use serde::{Deserialize, Serialize};

/// What is remembered about connections, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Connections; the one idle longest makes room.
    pub flows: usize,
    /// Bytes held of segments that came out of order, over all connections.
    pub held_bytes: usize,
    /// Seconds without a segment after which a connection is forgotten.
    pub idle_seconds: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        // An MCP event stream may be silent between keep-alives for many minutes.
        Bounds { flows: 65_536, held_bytes: 16 << 20, idle_seconds: 1800 }
    }
}
