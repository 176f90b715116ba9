//! What of a set is meant for one enforcement point: policy groups and waves.

use super::{Action, Decision, DecisionSet};
use crate::{endpoint::Endpoint, finding::FindingKind, policy::Policy};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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

/// New blocks that only some points make yet; at all others they are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// By the names that the points call themselves.
    pub points: BTreeSet<String>,
    pub blocks: BTreeSet<Endpoint>,
}

/// The labels of the first group that means this server; none: at all points.
pub(super) fn labels(policy: &Policy, endpoint: Endpoint, kind: FindingKind) -> Vec<String> {
    let means = |g: &&Group| {
        (g.servers.is_empty() || g.servers.iter().any(|net| net.contains(&endpoint.address)))
            && (g.kinds.is_empty() || g.kinds.contains(&kind))
    };
    policy.groups.iter().find(means).map(|g| g.points.clone()).unwrap_or_default()
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
