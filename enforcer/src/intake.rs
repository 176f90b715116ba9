//! Signed bytes in, a decision set to be trusted out: is it true, is it ours, is it in force, is it not older than what we have?
//!
//! The answer is `rules`' (pure: keys, time and the last generation are arguments), since whoever else acts on a set must come to the
//! same one. Here it gets the name it has on this side.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub(crate) use rules::wire::v1::decisions::{is_early, open};
pub use rules::wire::v1::{
    Distrust, Keys, Signed,
    decisions::{Expect, Refused, verify},
    key_id,
};
