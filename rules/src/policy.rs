//! What a site wants: modes, periods, who is an agent, what must never be cut.

use crate::{Timestamp, decision::Group, naming::Naming, period::Period};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody is told; no clock starts.
    Observe,
    /// Owners are told; nothing is blocked.
    #[default]
    Soft,
    /// When the clock has run out, the door is closed.
    Hard,
}

/// What a block needs beyond the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corroboration {
    /// Two sources (wire, host, probe) with something strong to say, or a probe with its negative control. One sensor's process may
    /// be all of them, so one that is taken over can invent a server. The default: with one sensor, `sensor` would never block.
    #[default]
    #[serde(rename = "witness", alias = "source")]
    Source,
    /// That, and two sensors who each say something strong: to invent a server, two have to be taken over.
    Sensor,
}

/// One site's policy. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    pub mode: Mode,
    /// From the first delivered notice to the block.
    pub grace: Period,
    /// How long before the block reminders go out; longest first.
    pub reminders: Vec<Period>,
    /// No block before this moment. Unset: `soft_phase` after the site was first used.
    pub hard_from: Option<Timestamp>,
    pub soft_phase: Period,
    /// Not seen for so long: gone.
    pub gone_after: Period,
    /// A probe found nothing there, and nothing was seen since for so long: gone.
    pub gone_confirmed_after: Period,
    /// A notice that reached nobody for so long goes to the site's security queue.
    pub escalate_after: Period,
    /// The longest an owner may silence a finding.
    pub max_snooze: Period,
    /// The longest a finding may be exempted before somebody has to say so again.
    pub max_exemption: Period,
    /// A sensor that said nothing for so long is blind.
    pub blind_after: Period,
    /// A capture point that lost more than this share of what it saw, in percent, is blind.
    pub max_loss_percent: u8,
    /// Networks the sensors are there to hear. One that none of them heard in the last hour is a blind spot, and said to be one.
    #[serde(deserialize_with = "crate::endpoint::networks")]
    pub expected: Vec<IpNet>,
    /// Every tool server has to ask its callers for a certificate, and to refuse those without.
    pub client_certificates: bool,
    /// Agent identity ranges: traffic from here is what a block stops.
    #[serde(deserialize_with = "crate::endpoint::networks")]
    pub agents: Vec<IpNet>,
    /// How names of sanctioned tool servers look.
    pub naming: Naming,
    /// Never cut, whatever else is decided: management, monitoring, name service.
    #[serde(deserialize_with = "crate::endpoint::networks")]
    pub protected: Vec<IpNet>,
    /// How long the kernel keeps a block by itself.
    pub lease: Period,
    /// How long an enforcer may act on a signed set without news.
    pub validity: Period,
    /// More new blocks than this in one set need a person.
    pub max_new_blocks: u32,
    /// Shares of the enforcement points, in percent, that make new blocks one wave after the other; then all. Empty: all at once.
    pub waves: Vec<u8>,
    /// How long a wave is watched before the next.
    pub wave_hold: Period,
    /// An enforcement point that said nothing for so long counts as enforcing nothing.
    pub point_silence: Period,
    /// A point that enforces less than it should for so long is a finding.
    pub coverage_patience: Period,
    /// Which servers are enforced at which points; the first group that means a server counts. One that none means: at all points.
    pub groups: Vec<Group>,
    /// Whose word a block needs: of two sources, or also of two sensors.
    pub corroboration: Corroboration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            mode: Mode::Soft,
            grace: Period::days(30),
            reminders: vec![Period::days(14), Period::days(7), Period::days(1)],
            hard_from: None,
            soft_phase: Period::days(90),
            gone_after: Period::days(14),
            gone_confirmed_after: Period::days(1),
            escalate_after: Period::days(3),
            max_snooze: Period::days(14),
            max_exemption: Period::days(180),
            blind_after: Period::seconds(15 * 60),
            max_loss_percent: 1,
            expected: Vec::new(),
            client_certificates: false,
            agents: Vec::new(),
            naming: Naming::default(),
            protected: Vec::new(),
            lease: Period::seconds(15 * 60),
            validity: Period::days(7),
            max_new_blocks: 50,
            waves: vec![1, 10],
            wave_hold: Period::seconds(10 * 60),
            point_silence: Period::seconds(5 * 60),
            coverage_patience: Period::seconds(10 * 60),
            groups: Vec::new(),
            corroboration: Corroboration::Source,
        }
    }
}
