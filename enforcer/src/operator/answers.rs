//! The answers to a person's questions, also as JSON.

use crate::{config::Hook, confine::Confinement};
use ipnet::IpNet;
use rules::{
    Timestamp,
    decision::Action,
    endpoint::Endpoint,
    finding::FindingId,
    observation::{Act, Attempt},
    period::Period,
};
use serde::{Deserialize, Serialize};

/// What applying a set would do at this point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub point: String,
    pub generation: u64,
    /// The set is void after this; leases are never longer.
    pub until: Timestamp,
    pub hooks: Vec<Hook>,
    pub agents: Vec<IpNet>,
    /// Everything that would be in the kernel, sorted by endpoint.
    pub blocks: Vec<Planned>,
    /// In the set, but not for this point: its own address, its gateway, ….
    pub withheld: Vec<Withheld>,
    /// In the kernel now, gone afterwards.
    pub lifted: Vec<Endpoint>,
    /// Why nothing would be applied. Empty: it could be.
    pub objections: Vec<String>,
    /// What protects this host and could not be read, so that the plan may be too sure of itself.
    pub unknown: Vec<String>,
    /// The transaction as `nft -f` would read it; empty when there is nothing to change.
    pub nft: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub endpoint: Endpoint,
    pub action: Action,
    pub finding: FindingId,
    pub reason: String,
    pub since: Timestamp,
    /// Not in the kernel now.
    pub new: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    pub endpoint: Endpoint,
    pub finding: FindingId,
    pub why: String,
}

/// What is in force at this point, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub point: String,
    /// The generation that should be in force here, 0 for none.
    pub generation: u64,
    /// The newest generation ever applied here; older ones are refused.
    pub highest: u64,
    pub set_not_after: Option<Timestamp>,
    /// Unless confirmed by then, what was applied last lapses.
    pub confirm_by: Option<Timestamp>,
    /// A person stopped enforcement here, why and when: nothing is applied until `resume`.
    pub stopped: Option<String>,
    /// Why the kernel could not be asked.
    pub unavailable: Option<String>,
    /// `None`: our table is not in the kernel.
    pub agents: Option<Vec<IpNet>>,
    pub elements: Vec<Element>,
    /// Blocks that should be in the kernel by the last applied set.
    pub desired: usize,
    /// Of these, how many are.
    pub enforced: usize,
    /// In the set in force, but not for this point.
    #[serde(default)]
    pub withheld: Vec<Withheld>,
    /// Why new blocks are held back here.
    pub held_back: Option<String>,
    /// New blocks are on a short lease until the health checks are answered.
    pub waits_for_health: bool,
    /// Blocks in the kernel may be so many, and so many new ones come within an hour without a person.
    pub max_blocks: usize,
    pub max_new_per_hour: usize,
    pub new_this_hour: usize,
    /// What people did here lately.
    pub acts: Vec<Act>,
    /// What passes by our rules at this host.
    #[serde(default)]
    pub bypasses: Vec<String>,
    /// Who tried to reach what is blocked or counted, latest first, and how many more there were.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub attempts_lost: u64,
    /// What bounds the enforcer's process; `None`: none runs by itself here.
    pub confinement: Option<Confinement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub endpoint: Endpoint,
    pub action: Action,
    pub finding: Option<FindingId>,
    pub lease_left: Period,
    pub packets: u64,
    pub bytes: u64,
}

/// What a person adds to a set by applying it with their own hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// New blocks lapse after this long unless confirmed. `None`: confirmed at once.
    pub confirm_within: Option<Period>,
    /// More new blocks per hour than the limit are meant.
    pub many_new: bool,
}
