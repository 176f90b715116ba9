//! What a sensor or an enforcer tells the collector.

use crate::{Timestamp, evidence::Evidence};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod status;

pub use status::{Act, Attempt, PointStatus};

/// One statement, identified by `(sensor, epoch, seq)`: delivering it twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub sensor: String,
    /// Grows when a sensor loses its spool: sequence numbers begin anew.
    pub epoch: u64,
    pub seq: u64,
    pub at: Timestamp,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Said {
    Evidence(Box<Evidence>),
    Coverage(Coverage),
    /// An enforcer's word on a decision set.
    Applied(Applied),
    /// A probe began or ended: the account of everything it sent.
    Probed(Box<Account>),
    /// The spool dropped these; the numbers are gone for good.
    Gap {
        from_seq: u64,
        to_seq: u64,
        reason: String,
    },
}

/// What a capture point saw and what it missed, since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub interface: String,
    pub frames: u64,
    /// Counted losses by reason: `kernel-drop`, `truncated`, `fragment`, `flow-evicted`, `reassembly-full`, `parser-gave-up`, ….
    pub lost: BTreeMap<String, u64>,
    /// Networks something came from that were not told of lately: /24 of IPv4, /64 of IPv6. Every one is told again and again
    /// while something comes from it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub heard: BTreeSet<IpNet>,
    /// Connections whose bulk was left in the kernel since nothing more of it can be read (TLS after its handshake); its frames are not
    /// counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shunted: u64,
    /// What a reactive reset did there. Unset: it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets: Option<Resets>,
}

impl Coverage {
    /// Counts what another one counted as well: of another thread at the same interface, or before it went away and came back.
    pub fn add(&mut self, mut other: Coverage) {
        self.frames += other.frames;
        self.shunted += other.shunted;
        for (reason, n) in other.lost {
            *self.lost.entry(reason).or_default() += n;
        }
        self.heard.append(&mut other.heard);
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What a sensor's reactive reset did at one capture point, since it started. Best effort: it is no enforcement, and counts as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resets {
    /// Packets that left; whether an end heeded one is not known.
    pub sent: u64,
    /// Packets this host's kernel or routes refused.
    pub refused: u64,
    /// Segments not answered: their connection had enough answers, or everybody had.
    pub connection_bound: u64,
    pub rate_bound: u64,
    /// Segments that were seen too late to be answered.
    pub late: u64,
    /// Frames that came too fast to be looked at for this. The source has a capture of its own.
    pub unseen: u64,
}

impl Resets {
    pub fn suppressed(&self) -> u64 {
        [self.connection_bound, self.rate_bound, self.late].iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl Coverage {
    /// Losses that are counted in messages and conversations, not in frames: their frames were seen, and their heads understood as
    /// far as they go. They are reported, and make nobody blind.
    const OF_MESSAGES: [&'static str; 15] = [
        "answer-without-question",
        "body-too-large",
        "dns-over-https",
        "dns-over-quic",
        "dns-over-tls",
        "head-too-large",
        "message-cut",
        "names-forgotten",
        "parser-gave-up",
        "questions-forgotten",
        "quic-hello",
        "requests-unanswered",
        "undecodable-body",
        "undecodable-dns",
        "urgent",
    ];

    /// Frames that came by and were not seen, or not seen whole, by reason. A reason nobody knows counts.
    pub fn unseen(&self) -> impl Iterator<Item = (&str, u64)> {
        let of_frames = |why: &str| !Coverage::OF_MESSAGES.contains(&why);
        self.lost.iter().map(|(why, n)| (why.as_str(), *n)).filter(move |(why, n)| *n > 0 && of_frames(why))
    }

    /// What came in between an earlier report of the same capture point and this one. A capture that began anew (its
    /// counters fell) counts from its beginning.
    pub fn since(&self, earlier: &Coverage) -> Coverage {
        let restarted = self.frames < earlier.frames || earlier.lost.iter().any(|(why, n)| self.lost.get(why).copied().unwrap_or(0) < *n);
        if restarted || self.interface != earlier.interface {
            return self.clone();
        }
        let lost = self.lost.iter().map(|(why, n)| (why.clone(), n.saturating_sub(earlier.lost.get(why).copied().unwrap_or(0))));
        Coverage { frames: self.frames.saturating_sub(earlier.frames), lost: lost.collect(), ..self.clone() }
    }
}

/// What a probe was told to do, and what it sent, to the last packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// `sweep`, `recheck`.
    pub what: String,
    /// Who made it happen: a schedule, a person.
    pub by: String,
    pub phase: Phase,
    /// As they were named, at most [`Account::MAX_TARGETS`].
    pub targets: Vec<String>,
    pub endpoints: u64,
    /// SYNs of the port stage; connections opened; requests written.
    pub packets: u64,
    pub connections: u64,
    pub requests: u64,
    pub bytes_sent: u64,
    /// Sessions that servers opened for it, and that it ended.
    pub sessions_minted: u64,
    pub sessions_ended: u64,
    pub elapsed_ms: u64,
}

impl Account {
    pub const MAX_TARGETS: usize = 64;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    #[default]
    Began,
    Ended,
    /// Before its end, by a person or a shutdown.
    Stopped,
    /// It did not begin.
    Refused,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Began => "began",
            Phase::Ended => "ended",
            Phase::Stopped => "stopped",
            Phase::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub point: String,
    pub generation: u64,
    pub outcome: Outcome,
    pub elements: u64,
    /// Why, when refused or failed.
    pub reason: String,
    /// How the point stands when it says this.
    #[serde(default)]
    #[serde(rename = "standing", alias = "status")]
    pub status: PointStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// In the kernel, read back and equal.
    Applied,
    /// Checked and rendered; nothing was changed.
    DryRun,
    /// The set or the plan was refused; the last good one stays.
    Refused,
    /// The kernel or nft could not do it.
    Failed,
    RolledBack,
}

impl Outcome {
    /// In words for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::DryRun => "dry run",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_given_up_blinds_nobody_and_a_reason_nobody_knows_does() {
        let lost = [("kernel-drop", 3), ("parser-gave-up", 9), ("body-too-large", 1), ("fell-off-the-table", 2), ("truncated", 0)];
        let lost = lost.into_iter().map(|(why, n)| (why.to_owned(), n)).collect();
        let coverage = Coverage { interface: "eth0".to_owned(), frames: 10, lost, ..Coverage::default() };
        assert_eq!(coverage.unseen().collect::<Vec<_>>(), [("fell-off-the-table", 2), ("kernel-drop", 3)]);
    }
}
