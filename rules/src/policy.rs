//! A site's policy: its mode, its periods, who is an agent, and what must never be cut.
//!
//! In memory the policy is parted into what belongs together. In files and on the wire it is one flat table, see `policy/file.rs`.

use crate::{Timestamp, endpoint::Endpoint, finding::FindingKind, naming::Naming, period::Period};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

mod file;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody is told; no clock starts.
    Observe,
    /// Owners are told; nothing is blocked.
    #[default]
    Soft,
    /// Owners are told; a server whose grace period has ended is blocked.
    Hard,
}

impl Mode {
    /// As it is written in a policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Soft => "soft",
            Mode::Hard => "hard",
        }
    }
}

/// The evidence that a block needs beyond the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corroboration {
    /// Two sources (wire, host, probe) with strong evidence, or a probe with its negative control. One sensor's process may be all of
    /// them, so one that is taken over can invent a server. The default: with one sensor, `sensor` would never block.
    #[default]
    #[serde(rename = "witness", alias = "source")]
    Source,
    /// The same, and two sensors with strong evidence each: to invent a server, two have to be taken over.
    Sensor,
}

/// One site's policy.
///
/// JSON and TOML hold it as one flat table, `{"mode": "soft", "grace": "30d", …}`. A missing key has its default. An unknown key is an
/// error that names the known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "file::PolicyFile", into = "file::PolicyFile")]
pub struct Policy {
    pub mode: Mode,
    /// Agent identity ranges: traffic from here is what a block stops.
    pub agents: Vec<IpNet>,
    /// Networks that are never cut, whatever else is decided: management, monitoring, name service.
    pub protected: Vec<IpNet>,
    /// How names of sanctioned tool servers look.
    pub naming: Naming,
    /// Every tool server has to ask its callers for a certificate, and to refuse those without.
    pub client_certificates: bool,
    pub grace: GracePolicy,
    pub presence: PresencePolicy,
    pub sensing: SensingPolicy,
    pub blocking: BlockingPolicy,
    pub fleet: FleetPolicy,
}

/// The time between a finding and its block, and what its owner hears meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GracePolicy {
    /// From the first delivered notice to the block. In files: `grace`.
    pub period: Period,
    /// How long before the block reminders go out; longest first.
    pub reminders: Vec<Period>,
    /// No block before this moment. Unset: `soft_phase` after the site was first used.
    pub hard_from: Option<Timestamp>,
    pub soft_phase: Period,
    /// A notice that reached nobody for so long goes to the site's security queue.
    pub escalate_after: Period,
    /// The longest an owner may silence a finding.
    pub max_snooze: Period,
    /// The longest a finding may be exempted before somebody has to ask again.
    pub max_exemption: Period,
}

/// When a server counts as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresencePolicy {
    /// After so long without any sign of it.
    pub gone_after: Period,
    /// After so long since a probe found nothing there, without any sign of it since.
    pub gone_confirmed_after: Period,
}

/// What is expected of the sensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensingPolicy {
    /// A sensor that was silent for so long is blind.
    pub blind_after: Period,
    /// A capture point that lost more than this share of its frames, in percent, is blind.
    pub max_loss_percent: u8,
    /// Networks the sensors are there to hear. A network that none of them heard in the last hour is a blind spot and becomes a finding.
    pub expected: Vec<IpNet>,
}

/// The bounds of every block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockingPolicy {
    /// The sources a block needs: two of them, or also two sensors.
    pub corroboration: Corroboration,
    /// More new blocks than this in one set wait for a person.
    pub max_new_blocks: u32,
    /// How long the kernel keeps a block by itself.
    pub lease: Period,
    /// How long an enforcer may act on a signed set without a newer one.
    pub validity: Period,
}

/// How blocks reach the enforcement points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPolicy {
    /// Shares of the enforcement points, in percent, that make new blocks one wave after the other; then all. Empty: all at once.
    pub waves: Vec<u8>,
    /// How long a wave is watched before the next.
    pub wave_hold: Period,
    /// An enforcement point that was silent for so long counts as enforcing nothing.
    pub point_silence: Period,
    /// A point that enforces less than it should for so long is a finding.
    pub coverage_patience: Period,
    /// Which servers are enforced at which points: the first group that matches a server counts. No group matches: at all points.
    pub groups: Vec<Group>,
}

/// A policy group: these servers are enforced at the points with one of these labels, and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// Networks of servers; empty: any.
    pub servers: Vec<IpNet>,
    /// Kinds of findings; empty: any.
    pub kinds: Vec<FindingKind>,
    /// Labels, or names of points.
    pub points: Vec<String>,
}

impl Group {
    fn matches(&self, endpoint: Endpoint, kind: FindingKind) -> bool {
        (self.servers.is_empty() || self.servers.iter().any(|net| net.contains(&endpoint.address)))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

impl Policy {
    /// The labels of the enforcement points that block this server for a finding of this kind. Empty: all points.
    pub fn points_for(&self, endpoint: Endpoint, kind: FindingKind) -> Vec<String> {
        self.fleet.groups.iter().find(|g| g.matches(endpoint, kind)).map(|g| g.points.clone()).unwrap_or_default()
    }
}

impl Default for GracePolicy {
    fn default() -> GracePolicy {
        GracePolicy {
            period: Period::days(30),
            reminders: vec![Period::days(14), Period::days(7), Period::days(1)],
            hard_from: None,
            soft_phase: Period::days(90),
            escalate_after: Period::days(3),
            max_snooze: Period::days(14),
            max_exemption: Period::days(180),
        }
    }
}

impl Default for PresencePolicy {
    fn default() -> PresencePolicy {
        PresencePolicy { gone_after: Period::days(14), gone_confirmed_after: Period::days(1) }
    }
}

impl Default for SensingPolicy {
    fn default() -> SensingPolicy {
        SensingPolicy { blind_after: Period::seconds(15 * 60), max_loss_percent: 1, expected: Vec::new() }
    }
}

impl Default for BlockingPolicy {
    fn default() -> BlockingPolicy {
        BlockingPolicy {
            corroboration: Corroboration::Source,
            max_new_blocks: 50,
            lease: Period::seconds(15 * 60),
            validity: Period::days(7),
        }
    }
}

impl Default for FleetPolicy {
    fn default() -> FleetPolicy {
        FleetPolicy {
            waves: vec![1, 10],
            wave_hold: Period::seconds(10 * 60),
            point_silence: Period::seconds(5 * 60),
            coverage_patience: Period::seconds(10 * 60),
            groups: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
