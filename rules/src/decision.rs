//! What the enforcers are to make true.

use crate::{Timestamp, endpoint::Endpoint, finding::FindingId, period::Period};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One endpoint that agents may not reach, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    pub endpoint: Endpoint,
    pub finding: FindingId,
    pub action: Action,
    pub reason: String,
    pub since: Timestamp,
    /// Labels of the points that enforce it. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Reset TCP, reject the rest.
    Block,
    /// Count what a block would stop.
    Shadow,
}

/// The whole truth for a site at one moment: what is not in it is not blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionSet {
    pub site: String,
    /// Grows by one with each set; an enforcer refuses a smaller one than it has applied.
    pub generation: u64,
    pub issued_at: Timestamp,
    pub not_after: Timestamp,
    /// Whom the blocks bind.
    #[serde(deserialize_with = "crate::endpoint::networks")]
    pub agents: Vec<IpNet>,
    /// Never cut: networks.
    #[serde(deserialize_with = "crate::endpoint::networks")]
    pub protected: Vec<IpNet>,
    /// Never cut: registered servers, the gateway, the collector.
    pub protected_endpoints: Vec<Endpoint>,
    pub lease: Period,
    pub decisions: Vec<Decision>,
    /// New blocks that only some points make yet. Unset: all points make all blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// New blocks that only some points make yet; at all others they are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// By the names that the points call themselves.
    pub points: BTreeSet<String>,
    pub blocks: BTreeSet<Endpoint>,
}

impl Decision {
    pub fn is_for(&self, point: &str, labels: &BTreeSet<String>) -> bool {
        self.at.is_empty() || self.at.iter().any(|l| l == point || labels.contains(l))
    }
}

impl DecisionSet {
    /// The set as it is at one point: without what is for others, and what its wave has not reached only counted.
    pub fn at(mut self, point: &str, labels: &BTreeSet<String>) -> DecisionSet {
        self.decisions.retain(|d| d.is_for(point, labels));
        if let Some(rollout) = self.rollout.take().filter(|r| !r.points.contains(point)) {
            for decision in self.decisions.iter_mut().filter(|d| rollout.blocks.contains(&d.endpoint)) {
                decision.action = Action::Shadow;
            }
        }
        self
    }
}
