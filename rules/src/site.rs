//! One site at one moment: what is settled about it, and its findings with their cases.

use crate::{
    Timestamp,
    admission::Case,
    endpoint::Endpoint,
    finding::{Finding, FindingId},
    fleet::Fleet,
    pack::Pack,
    policy::Policy,
    registry::Registry,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is settled about a site before anything is judged.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub name: &'a str,
    pub policy: &'a Policy,
    pub registry: &'a Registry,
    pub pack: &'a Pack,
    /// When this site was first used.
    pub soft_phase_start: Timestamp,
    /// Where our own parts answer: the collector, the gateway.
    pub ours: &'a [Endpoint],
    /// Who enforces.
    pub fleet: Fleet<'a>,
}

/// A finding as it was last detected, and its case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matter {
    pub finding: Finding,
    pub case: Case,
}

/// By the id of the finding.
pub type Matters = BTreeMap<FindingId, Matter>;

impl Site<'_> {
    /// Why no case, however long its clock has run, may block this endpoint; `None`: nothing speaks against it.
    pub fn veto(&self, endpoint: Endpoint, now: Timestamp) -> Option<String> {
        if self.ours.contains(&endpoint) {
            return Some("the collector or the gateway answers there".to_owned());
        }
        self.registry.at_endpoint(endpoint, now).map(|r| format!("the registered server `{}` answers there", r.slug))
    }
}
