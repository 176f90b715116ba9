//! `gnomon demo`: the whole product in a world of its own, each claim checked.

pub mod cast;
pub mod world;
