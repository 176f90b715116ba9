//! The composition root: the one crate that knows every role, and the `gnomon` command.
//!
//! No judgement and no protocol lives here: commands parse arguments, wire roles together with channels or HTTPS, and
//! print what they get. Start reading at [`cli`].

pub mod cli;
pub mod config;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod failure;
pub mod out;
pub mod table;
