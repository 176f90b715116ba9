//! What a person may ask of an enforcement point: `gnomon enforce plan|apply|confirm|rollback|status|panic|resume|remove`.
//!
//! All of it works on the kernel and on the state directory under a lock, so it may run beside [`crate::run()`] or without it.

use crate::config::{Config, Hook};
use ipnet::IpNet;
use rules::{Timestamp, decision::Action, endpoint::Endpoint, finding::FindingId, observation::Applied, period::Period, wire::v1::Signed};
use serde::{Deserialize, Serialize};

/// What applying a set would do at this point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub point: String,
    pub generation: u64,
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
    /// The generation last applied here, 0 if none ever was.
    pub generation: u64,
    pub set_not_after: Option<Timestamp>,
    /// Unless confirmed by then, what was applied last lapses.
    pub confirm_by: Option<Timestamp>,
    /// A person stopped enforcement here: nothing is applied until `resume`.
    pub stopped: bool,
    /// `None`: our table is not in the kernel.
    pub agents: Option<Vec<IpNet>>,
    pub elements: Vec<Element>,
    /// Blocks that should be in the kernel by the last applied set.
    pub desired: usize,
    /// Of these, how many are.
    pub enforced: usize,
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

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("enforcement is unavailable on this host: {0}")]
    Unavailable(String),
}

/// The newest set that reached this point, applied or not.
pub async fn latest(_config: &Config) -> Result<Option<Signed>, Error> {
    Err(unbuilt())
}

/// Verifies, plans, checks and renders; with privileges lets the kernel check it too (`nft -c`). Changes nothing.
pub async fn plan(_config: &Config, _set: &Signed) -> Result<Plan, Error> {
    Err(unbuilt())
}

/// Makes the kernel match a set now.
pub async fn apply(_config: &Config, _set: &Signed, _approval: Approval) -> Result<Applied, Error> {
    Err(unbuilt())
}

/// Keeps what was applied for trial.
pub async fn confirm(_config: &Config) -> Result<Applied, Error> {
    Err(unbuilt())
}

/// Puts the set before the last one back, or takes the table away if there was none.
pub async fn rollback(_config: &Config) -> Result<Applied, Error> {
    Err(unbuilt())
}

pub async fn status(_config: &Config) -> Result<Status, Error> {
    Err(unbuilt())
}

/// Break glass: takes the table away and applies nothing until [`resume`]. Local and offline.
pub async fn panic(_config: &Config, _reason: &str) -> Result<(), Error> {
    Err(unbuilt())
}

pub async fn resume(_config: &Config) -> Result<(), Error> {
    Err(unbuilt())
}

/// For uninstalling: takes the table away and forgets the last set. The generation is remembered until the directory goes.
pub async fn remove(_config: &Config) -> Result<(), Error> {
    Err(unbuilt())
}

fn unbuilt() -> Error {
    Error::Unavailable("this build has no applier".to_owned())
}
