//! The active probe: asks named addresses, gently, whether an MCP server answers there.
//!
//! `schedule` (pure) says whom to ask what and when, `dial` (IO) asks, `identify` (pure) makes signatures of the answers and knows
//! the next question. See README.md for the questions and their cost.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod agenda;
pub mod answer;
mod checkpoint;
pub mod config;
pub mod dial;
mod echo;
pub mod http1;
mod http2;
pub mod identify;
pub mod knock;
mod named;
mod neighbours;
mod nominate;
pub mod order;
pub mod pace;
pub mod question;
pub mod reading;
mod resolve;
mod rounds;
pub mod rpc;
mod scan;
pub mod schedule;
pub mod sse;
pub mod targets;
mod timeouts;
mod tls;
mod transcript;
mod transport;
pub mod windows;
pub mod words;

#[cfg(test)]
mod hostile;

pub use config::{Config, ScanConfig, ScanError, ScanReport, TargetHint, TestIdentity};
pub use echo::Echoes;
pub use identify::Hint;
pub use rounds::run;
pub use scan::{probe_one, scan, scan_with};
pub use targets::TargetError;
pub use timeouts::Timeouts;
pub use windows::Window;
