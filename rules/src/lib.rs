//! The vocabulary of Gnomon, and pure judgements on it.
//!
//! Every function here is a function of its arguments: no clock, no IO, no randomness, no environment. Time arrives as a
//! [`Timestamp`]. What could not be judged is refused or reported, never dropped.
//!
//! Read in this order: [`endpoint`] and [`evidence`] (what a sensor says), [`server`] and [`confidence`] (what that adds up
//! to), [`registry`] and [`detect`] (what is wrong with it), [`admission`] and [`decision`] (may it be on the network?),
//! [`round`] (all of that for a whole site at one moment), [`explain`] (and why), [`access`] (may this principal call this
//! tool?), [`certificates`] (who insists on them), [`wire`] (the shapes between processes).

pub mod access;
pub mod admission;
pub mod blast;
pub mod certificates;
pub mod compose;
pub mod confidence;
pub mod decision;
pub mod detect;
pub mod endpoint;
pub mod evidence;
pub mod explain;
pub mod finding;
pub mod fleet;
pub mod mcp;
pub mod naming;
pub mod nomination;
pub mod observation;
pub mod pack;
pub mod period;
pub mod policy;
pub mod printable;
pub mod registry;
pub mod round;
pub mod server;
pub mod site;
pub mod wire;

pub use jiff::Timestamp;
