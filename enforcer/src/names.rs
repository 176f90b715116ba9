//! What things are called in the kernel: our table, and the sets in it by what their elements do.

use rules::decision::Action;
use std::{net::IpAddr, time::Duration};

/// Our table. The only name of the kernel's that we ever write to.
pub const TABLE: &str = "inet gnomon";

/// What the packets of those that are blocked or counted note themselves: who tried what, and how often.
pub const TRIED: [&str; 2] = ["tried4", "tried6"];
/// Pairs of client and place that each of [`TRIED`] holds at most; more are not noted.
pub const TRIED_SIZE: usize = 16_384;
/// A pair that did not try for so long is forgotten.
pub const TRIED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Whether a set is filled by packets: neither ours to compare, nor anything that blocks.
pub(crate) fn is_note(set: &str) -> bool {
    set.starts_with("pushed") || TRIED.contains(&set)
}

/// The sets that hold blocks, and what their elements do.
pub(crate) const SETS: [(&str, Action); 4] =
    [("block4", Action::Block), ("block6", Action::Block), ("shadow4", Action::Shadow), ("shadow6", Action::Shadow)];

/// Which of [`SETS`] an element belongs into.
pub(crate) fn set_of(address: IpAddr, action: Action) -> &'static str {
    match (action, address) {
        (Action::Block, IpAddr::V4(_)) => "block4",
        (Action::Block, IpAddr::V6(_)) => "block6",
        (Action::Shadow, IpAddr::V4(_)) => "shadow4",
        (Action::Shadow, IpAddr::V6(_)) => "shadow6",
    }
}

/// What the elements of a set do; `None`: it holds no blocks.
pub(crate) fn action_of(set: &str) -> Option<Action> {
    SETS.iter().find(|(name, _)| *name == set).map(|(_, action)| *action)
}
