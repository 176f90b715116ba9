//! What an enforcer is told about itself. Everything else it learns from signed sets and from the host.

use ipnet::IpNet;
use rules::{endpoint::Endpoint, period::Period};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::PathBuf};

/// One enforcement point. The network namespace is the one of the calling thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the last applied set and its generation are kept (mode 0700). Two enforcers never share one.
    pub data: PathBuf,
    /// The name of this point in reports. Empty: the host's name.
    pub point: String,
    /// A set for another site is refused.
    pub site: String,
    pub mode: Mode,
    /// What a policy's groups go by: `dc1`, `router`.
    pub labels: BTreeSet<String>,
    /// Where packets are judged: `output` on a host with agents, `input` on a host with servers, `forward` on a router (and
    /// `prerouting` on one with virtual addresses).
    pub hooks: BTreeSet<Hook>,
    /// User ids of AI service accounts: at `output` only what they send is judged, so that people on the same host keep working. Empty:
    /// everybody's.
    pub accounts: BTreeSet<u32>,
    /// Base64 Ed25519 public keys (32 bytes) that may sign decision sets. Empty: nothing can be applied.
    pub trusted_keys: Vec<String>,
    /// Only for the standalone binary: a file holding one signed set (JSON), replaced by rename whenever there is a newer one.
    pub sets: Option<PathBuf>,
    /// Only for the standalone binary: a file in which somebody without privileges says whether what this host needs still answers. Set:
    /// new blocks have a short lease until it says so.
    pub health: Option<PathBuf>,
    /// Never cut, whatever a set says: management networks.
    #[serde(deserialize_with = "rules::endpoint::networks")]
    pub protected: Vec<IpNet>,
    /// Never cut, whatever a set says: the collector, the gateway.
    pub protected_endpoints: Vec<Endpoint>,
    /// Ports at which this host is administered: established conversations with them are never cut.
    pub ssh_ports: Vec<u16>,
    pub limits: Limits,
    /// Absolute path: the search path of a privileged process is not to be trusted.
    pub nft: PathBuf,
    /// After this long `nft` is killed and enforcement is reported unavailable.
    pub nft_timeout: Period,
    /// Take the table away on a clean end. Off by default: an upgrade must not open the door; leases close by themselves.
    pub remove_on_exit: bool,
    /// Confine the process at start ([`crate::confine`]). Only in a process of its own. Off only where `nft` or its libraries are at a
    /// place that a confined process cannot read.
    pub confine: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("/var/lib/gnomon/enforcer"),
            point: String::new(),
            site: "default".to_owned(),
            mode: Mode::DryRun,
            labels: BTreeSet::new(),
            hooks: BTreeSet::from([Hook::Output]),
            accounts: BTreeSet::new(),
            trusted_keys: Vec::new(),
            sets: None,
            health: None,
            protected: Vec::new(),
            protected_endpoints: Vec::new(),
            ssh_ports: vec![22],
            limits: Limits::default(),
            nft: PathBuf::from("/usr/sbin/nft"),
            nft_timeout: Period::seconds(10),
            remove_on_exit: false,
            confine: true,
        }
    }
}

impl Config {
    pub fn shape(&self) -> Shape {
        Shape { hooks: self.hooks.clone(), accounts: self.accounts.clone() }
    }
}

/// What the chains of our table depend on: where packets are judged, and at `output` whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub hooks: BTreeSet<Hook>,
    pub accounts: BTreeSet<u32>,
}

impl<const N: usize> From<[Hook; N]> for Shape {
    fn from(hooks: [Hook; N]) -> Shape {
        Shape { hooks: hooks.into(), ..Shape::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Plan, check and render new sets; change nothing. What a person applied and confirmed is kept alive.
    DryRun,
    /// Make the kernel match each set as it arrives.
    Enforce,
}

/// A netfilter hook of the `inet` family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    Output,
    Input,
    Forward,
    /// Beside `forward`, on a router that translates destinations: virtual addresses are judged as clients know them.
    Prerouting,
}

impl Hook {
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Output => "output",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Prerouting => "prerouting",
        }
    }
}

/// Bounds that hold even for a well-signed set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Elements in the kernel.
    pub max_blocks: usize,
    pub max_agent_networks: usize,
    pub max_accounts: usize,
    /// Shortest prefix an agent range may have: wider is more likely a slip than a wish.
    pub min_agent_prefix4: u8,
    pub min_agent_prefix6: u8,
    /// Blocks that were not there before, within an hour, without a person's approval.
    pub max_new_per_hour: usize,
    pub min_lease: Period,
    pub max_lease: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_blocks: 10_000,
            max_agent_networks: 1_000,
            max_accounts: 64,
            min_agent_prefix4: 8,
            min_agent_prefix6: 16,
            max_new_per_hour: 500,
            min_lease: Period::seconds(1),
            max_lease: Period::days(1),
        }
    }
}
