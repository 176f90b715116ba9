//! Tells people, and knows whether they were told.
//!
//! A message is a row per (finding, step, channel), written in the transaction that decided on it: nobody is told the same
//! thing twice, nothing is forgotten on a restart, and a message is retried until it is delivered or its finding is over.
//! Proof of delivery of a notice starts the finding's clock. Nothing else does.
//!
//! Owners get one message per step; a daily digest per owner is not made yet.

mod channels;
mod deliver;
mod enqueue;
pub(crate) mod letter;
mod shape;
mod syslog;

pub use crate::config::notify::{Config, Format, Log, Syslog, Webhook};
pub(crate) use channels::Channels;
pub(crate) use deliver::run;
pub(crate) use enqueue::enqueue;
