//! Frames, from an interface or from a file, and the straight line from there to evidence.

use rules::period::Period;
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

mod bpf;
pub mod file;
mod filter;
pub mod live;
pub mod replay;
mod share;
mod shunt;
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
    /// Kernel ring per interface and thread, in bytes.
    pub ring_bytes: u32,
    /// Threads per interface, 1 to 16, for links that one core does not keep up with (`kernel-drop`). What two addresses say to each other
    /// is one thread's; the bounds of `flows` are divided among them.
    pub threads: Threads,
    /// Leave the bulk of connections in the kernel of which nothing more can be read: TLS after its handshake. They are counted (`shunted`),
    /// their frames are not.
    pub shunt: bool,
    /// From one coverage report to the next.
    pub report_every: Period,
    /// Bounds of what is remembered about connections.
    pub flows: crate::flow::Bounds,
}

/// How many threads read at one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Threads(u8);

impl Default for Threads {
    fn default() -> Threads {
        Threads(1)
    }
}

impl TryFrom<u8> for Threads {
    type Error = String;

    fn try_from(n: u8) -> Result<Threads, String> {
        if (1..=share::MOST).contains(&n) { Ok(Threads(n)) } else { Err(format!("threads are 1 to {}, not {n}", share::MOST)) }
    }
}

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Threads, String> {
        let n: u8 =
            text.parse().map_err(|_| format!("threads are 1 to {}, not `{}`", share::MOST, rules::printable::printable(text, 40)))?;
        Threads::try_from(n)
    }
}

impl Display for Threads {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl From<Threads> for u8 {
    fn from(threads: Threads) -> u8 {
        threads.0
    }
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
            threads: Threads::default(),
            shunt: true,
            report_every: Period::seconds(10),
            flows: crate::flow::Bounds::default(),
        }
    }
}
