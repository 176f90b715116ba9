//! The policy as it is written: one flat table. Unknown keys are refused, which serde cannot do for tables that are flattened into one.

use super::{BlockingPolicy, Corroboration, FleetPolicy, GracePolicy, Group, Mode, Policy, PresencePolicy, SensingPolicy};
use crate::{Timestamp, naming::Naming, period::Period};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Keys and their order as people and stored records have them; the meaning of each stands at its field in [`Policy`].
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyFile {
    mode: Mode,
    grace: Period,
    reminders: Vec<Period>,
    hard_from: Option<Timestamp>,
    soft_phase: Period,
    gone_after: Period,
    gone_confirmed_after: Period,
    escalate_after: Period,
    max_snooze: Period,
    max_exemption: Period,
    blind_after: Period,
    max_loss_percent: u8,
    #[serde(deserialize_with = "crate::endpoint::networks")]
    expected: Vec<IpNet>,
    client_certificates: bool,
    #[serde(deserialize_with = "crate::endpoint::networks")]
    agents: Vec<IpNet>,
    naming: Naming,
    #[serde(deserialize_with = "crate::endpoint::networks")]
    protected: Vec<IpNet>,
    lease: Period,
    validity: Period,
    max_new_blocks: u32,
    waves: Vec<u8>,
    wave_hold: Period,
    point_silence: Period,
    coverage_patience: Period,
    groups: Vec<Group>,
    corroboration: Corroboration,
}

impl Default for PolicyFile {
    fn default() -> PolicyFile {
        Policy::default().into()
    }
}

impl From<PolicyFile> for Policy {
    fn from(f: PolicyFile) -> Policy {
        Policy {
            mode: f.mode,
            agents: f.agents,
            protected: f.protected,
            naming: f.naming,
            client_certificates: f.client_certificates,
            grace: GracePolicy {
                period: f.grace,
                reminders: f.reminders,
                hard_from: f.hard_from,
                soft_phase: f.soft_phase,
                escalate_after: f.escalate_after,
                max_snooze: f.max_snooze,
                max_exemption: f.max_exemption,
            },
            presence: PresencePolicy { gone_after: f.gone_after, gone_confirmed_after: f.gone_confirmed_after },
            sensing: SensingPolicy { blind_after: f.blind_after, max_loss_percent: f.max_loss_percent, expected: f.expected },
            blocking: BlockingPolicy {
                corroboration: f.corroboration,
                max_new_blocks: f.max_new_blocks,
                lease: f.lease,
                validity: f.validity,
            },
            fleet: FleetPolicy {
                waves: f.waves,
                wave_hold: f.wave_hold,
                point_silence: f.point_silence,
                coverage_patience: f.coverage_patience,
                groups: f.groups,
            },
        }
    }
}

impl From<Policy> for PolicyFile {
    fn from(p: Policy) -> PolicyFile {
        PolicyFile {
            mode: p.mode,
            grace: p.grace.period,
            reminders: p.grace.reminders,
            hard_from: p.grace.hard_from,
            soft_phase: p.grace.soft_phase,
            gone_after: p.presence.gone_after,
            gone_confirmed_after: p.presence.gone_confirmed_after,
            escalate_after: p.grace.escalate_after,
            max_snooze: p.grace.max_snooze,
            max_exemption: p.grace.max_exemption,
            blind_after: p.sensing.blind_after,
            max_loss_percent: p.sensing.max_loss_percent,
            expected: p.sensing.expected,
            client_certificates: p.client_certificates,
            agents: p.agents,
            naming: p.naming,
            protected: p.protected,
            lease: p.blocking.lease,
            validity: p.blocking.validity,
            max_new_blocks: p.blocking.max_new_blocks,
            waves: p.fleet.waves,
            wave_hold: p.fleet.wave_hold,
            point_silence: p.fleet.point_silence,
            coverage_patience: p.fleet.coverage_patience,
            groups: p.fleet.groups,
            corroboration: p.blocking.corroboration,
        }
    }
}
