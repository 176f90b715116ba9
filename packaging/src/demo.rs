//! `gnomon demo`: the whole product in a world of its own, each claim checked.

pub mod agent;
pub mod cast;
pub mod stage;
pub mod world;
