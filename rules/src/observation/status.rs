//! How an enforcement point stands, in its own words.

use crate::{Timestamp, decision::Action, endpoint::Endpoint, finding::FindingId, period::Period};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr};

/// Goes with every word of a point, and is said again at least every [`PointStatus::EVERY`]: silence is no enforcement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PointStatus {
    /// The generation in force; 0 for none.
    pub in_force: u64,
    /// It may change the kernel. False: a dry run, that counts as nothing.
    pub enforces: bool,
    /// Blocks that the set in force wants at this point.
    pub desired: u64,
    /// Of these, how many the kernel holds: read back, not believed.
    pub enforced: u64,
    /// Blocks of the set that are not for this point (its own address, its gateway, what its configuration protects), and so not in
    /// `desired`.
    pub withheld: u64,
    /// New blocks are there on a short lease, until the health checks are answered.
    pub on_trial: bool,
    /// Why new blocks are held back: a limit, a failed health check, facts of the host that cannot be read.
    pub held_back: Option<String>,
    /// A person stopped enforcement there, why and when.
    pub stopped: Option<String>,
    /// What people did there lately, oldest first.
    pub acts: Vec<Act>,
    /// What a policy's groups go by.
    pub labels: BTreeSet<String>,
    /// What passes by our rules there, such as a flowtable.
    pub bypasses: Vec<String>,
    /// Who tried to reach what is blocked or counted, latest first.
    pub attempts: Vec<Attempt>,
    /// Seen and not kept in `attempts`, because of its bound.
    pub attempts_lost: u64,
}

impl PointStatus {
    /// The longest between two words of a point that runs.
    pub const EVERY: Period = Period::seconds(60);
    /// Most of each list in one word.
    pub const MAX_ATTEMPTS: usize = 256;
    pub const MAX_BYPASSES: usize = 16;
    pub const MAX_LABELS: usize = 32;
    pub const MAX_ACTS: usize = 16;

    /// Whether all that is wanted there is there.
    pub fn is_whole(&self) -> bool {
        self.stopped.is_none() && self.held_back.is_none() && self.enforced >= self.desired
    }
}

/// What a person did at a point, with their own hands: perhaps while nobody could be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Act {
    pub at: Timestamp,
    pub what: String,
}

/// One client that tried one endpoint: connections and datagrams, as the kernel counted them. A router that judges before destination NAT
/// as well counts twice what is only counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    pub finding: FindingId,
    pub endpoint: Endpoint,
    pub client: IpAddr,
    /// Blocked, or only counted.
    pub action: Action,
    pub count: u64,
    pub last: Timestamp,
}
