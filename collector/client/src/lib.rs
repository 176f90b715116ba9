//! How a role reaches its collector: it joins once, then reports and follows over HTTPS with a client certificate.
//!
//! Start reading at [`join()`] (a token becomes an identity), then [`Connection`] (one collector, one identity), [`report`] and
//! [`follow`] (observations go, signed sets come). [`Statements`] numbers the reports of a role that has no spool.
//!
//! This crate carries and believes nothing. A signed set is verified by its receiver, and the collector decides on every report.
//! It knows the shapes of `rules::wire` and no judgement.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod connection;
mod error;
pub mod follow;
mod identity;
mod join;
mod pin;
mod renew;
pub mod report;
mod statements;

pub use connection::Connection;
pub use error::{Error, Origin};
pub use follow::Subject;
pub use identity::Identity;
pub use join::join;
pub use report::Untaken;
pub use statements::{Statements, carry};
