//! What is kept of a site beside its servers and cases.

use rules::{Timestamp, fleet::Wave, policy::Policy};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SiteSettings {
    /// The soft phase runs from here.
    pub(crate) first_used: Timestamp,
    /// Set by the API; the configuration's otherwise.
    pub(crate) policy: Option<Policy>,
    /// New blocks on their way through the enforcement points.
    #[serde(default)]
    pub(crate) wave: Option<Wave>,
}

impl SiteSettings {
    pub(crate) fn new(now: Timestamp) -> SiteSettings {
        SiteSettings { first_used: now, policy: None, wave: None }
    }
}

/// The policy of one round; a person's word lifts the limit on new blocks for once.
pub(crate) fn for_one_round(policy: &Policy, let_pass: bool) -> Policy {
    let mut policy = policy.clone();
    if let_pass {
        policy.blocking.max_new_blocks = u32::MAX;
    }
    policy
}
