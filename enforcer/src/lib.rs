//! Makes nftables match the decisions, and nothing else.
//!
//! A signed set travels one way: [`intake`] (is it true, ours, and not older than what we have?) -> [`ruleset`] (what would that be
//! here?) -> [`check`] (whom could it hurt?) -> [`render`] (one transaction) -> [`nft`] (commit, read back, compare).
//! The first four are pure. [`run()`] does it for each set as it arrives; [`operator`] does it for a person.
//!
//! Every block is a lease that the kernel ends by itself. If all of this dies, the network opens again.

pub mod attempts;
pub mod bypass;
pub mod check;
pub mod config;
pub mod confine;
pub mod core;
pub mod facts;
pub mod follow;
pub mod health;
pub mod intake;
pub mod names;
pub mod netlink;
pub mod nft;
pub mod operator;
pub mod point;
pub mod present;
pub mod render;
pub mod ruleset;
mod run;
pub mod state;

#[cfg(test)]
mod fixtures;

pub use config::{Config, Hook, Limits, Mode, Shape};
pub use confine::confine;
pub use operator::{Approval, Error, Plan, Planned, Status, apply, confirm, latest, panic, plan, remove, resume, rollback, status};
pub use run::{run, run_gated};
