//! Health checks after a set with new blocks went into the kernel: does what this host needs still answer?
//!
//! Nobody here asks the network. Somebody without privileges does (the courier), and tells us. Until then new blocks have a short
//! lease: if nothing is told, or something that answered before does not answer now, they are taken out again. If this process
//! dies meanwhile, the kernel forgets them by itself.

use rules::{decision::Action, decision::DecisionSet, endpoint::Endpoint, printable::printable};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

/// New blocks lapse by themselves after this long, when nobody says that all is well.
pub const SHORT_LEASE: Duration = Duration::from_secs(120);
/// The answer is awaited for so long.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CHECKS: usize = 64;

/// What was found by asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Asked after this generation was in the kernel. 0: nothing new was there.
    pub generation: u64,
    /// Checks that failed, by name, and why.
    pub failed: BTreeMap<String, String>,
}

impl Health {
    /// What failed now and did not fail before: what failed before is not the new blocks' doing.
    pub fn worse_than(&self, before: &Health) -> Option<String> {
        let new: Vec<String> = self
            .failed
            .iter()
            .take(MAX_CHECKS)
            .filter(|(name, _)| !before.failed.contains_key(*name))
            .map(|(name, why)| format!("{}: {}", printable(name, 64), printable(why, 120)))
            .collect();
        (!new.is_empty()).then(|| new.join("; "))
    }
}

/// Blocks at a point that wait for their health check, or failed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    pub generation: u64,
    /// What it is new against: this generation's blocks stay. 0 for none.
    pub base: u64,
    /// Why they are held back. Unset: they wait.
    pub failed: Option<String>,
}

/// Where a set blocks and the other did not.
pub fn new_blocks(set: &DecisionSet, before: Option<&DecisionSet>) -> BTreeSet<Endpoint> {
    let of =
        |s: &DecisionSet| -> BTreeSet<Endpoint> { s.decisions.iter().filter(|d| d.action == Action::Block).map(|d| d.endpoint).collect() };
    let known = before.map(of).unwrap_or_default();
    of(set).difference(&known).copied().collect()
}

/// Whether it takes something away that the other held.
pub fn lifts(set: &DecisionSet, before: Option<&DecisionSet>) -> bool {
    let now: BTreeSet<Endpoint> = set.decisions.iter().map(|d| d.endpoint).collect();
    before.is_some_and(|b| b.decisions.iter().any(|d| !now.contains(&d.endpoint)))
}

/// The set with these blocks only counted.
pub fn counted(set: &DecisionSet, blocks: &BTreeSet<Endpoint>) -> DecisionSet {
    let mut set = set.clone();
    for decision in set.decisions.iter_mut().filter(|d| blocks.contains(&d.endpoint)) {
        decision.action = Action::Shadow;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::set;

    fn health(failed: &[&str]) -> Health {
        Health { generation: 1, failed: failed.iter().map(|f| ((*f).to_owned(), "refused".to_owned())).collect() }
    }

    #[test]
    fn only_what_answered_before_is_held_against_new_blocks() {
        assert_eq!(health(&["dns"]).worse_than(&health(&["dns"])), None);
        assert_eq!(health(&[]).worse_than(&health(&["dns"])), None);
        assert_eq!(health(&["dns", "gateway"]).worse_than(&health(&["dns"])).unwrap(), "gateway: refused");
    }

    #[test]
    fn what_is_new_and_what_is_lifted() {
        let (old, new) = (set(1, &["10.0.0.5:1", "10.0.0.6:1"]), set(2, &["10.0.0.6:1", "10.0.0.7:1"]));
        let fresh = new_blocks(&new, Some(&old));
        assert_eq!(fresh.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.7:1"]);
        assert!(lifts(&new, Some(&old)) && !lifts(&old, Some(&old)) && !lifts(&new, None));
        let counted = counted(&new, &fresh);
        assert_eq!(new_blocks(&counted, Some(&old)).len(), 0);
        // A count that becomes a block is a new block.
        assert_eq!(new_blocks(&new, Some(&counted)), fresh);
    }
}
