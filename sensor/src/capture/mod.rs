//! Frames, from an interface or from a file, and the straight line from there to evidence.

use rules::period::Period;
use serde::{Deserialize, Serialize};

#[deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
pub mod file;
mod filter;
pub mod live;
pub mod replay;
pub(crate) mod thread;

/// What to watch. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Interfaces by name; empty means every one that is up, as they come and go.
    pub interfaces: Vec<String>,
    /// See other hosts' frames where the switch or tap delivers them.
    pub promiscuous: bool,
    /// Bytes kept of each frame. Below the MTU, bodies are cut and counted as `truncated`; offloads make frames far above it.
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
            // Segments that offloads glued together are up to 64 KiB of IP, and above it with IPv6 jumbograms. The ring holds
            // frames one after the other, so a generous limit costs nothing.
            snap_length: 262_144,
            ring_bytes: 8 << 20,
            report_every: Period::seconds(10),
            flows: crate::flow::Bounds::default(),
        }
    }
}
