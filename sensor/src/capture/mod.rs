//! Frames, from an interface or from a file, and the straight line from there to evidence.

use rules::period::Period;
use serde::{Deserialize, Serialize};

#[deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
pub mod file;
mod filter;
pub mod live;
pub mod replay;

/// What to watch. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Interfaces by name; empty means every one that is up, as they come and go.
    pub interfaces: Vec<String>,
    /// See other hosts' frames where the switch or tap delivers them.
    pub promiscuous: bool,
    /// Bytes kept of each frame. Below the MTU, bodies are cut and counted as `truncated`.
    pub snap_length: u32,
    /// Kernel ring per interface, in bytes.
    pub ring_bytes: u32,
    /// From one coverage report to the next.
    pub report_every: Period,
    /// Bounds of what is remembered about connections.
    pub flows: crate::flow::Bounds,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            enabled: true,
            interfaces: Vec::new(),
            promiscuous: true,
            // A jumbo frame, or what receive offload glued together, up to a point: the rest is counted.
            snap_length: 65_535,
            ring_bytes: 8 << 20,
            report_every: Period::seconds(10),
            flows: crate::flow::Bounds::default(),
        }
    }
}
