//! The composition root: the one crate that knows every role, and the `gnomon` command.
//!
//! No judgement and no protocol lives here: commands parse arguments, wire roles together with channels or HTTPS, and
//! print what they get. Start reading at [`cli`].

pub mod admin;
pub mod api;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod enforce;
pub mod health;
pub mod inventory;
pub mod role;
pub mod scan;
mod spreadsheet;
pub mod table;
pub mod tally;
pub mod up;
pub mod watch;

pub(crate) use launch::{data, failure, out, stop};
