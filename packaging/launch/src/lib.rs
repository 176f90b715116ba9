//! The rim of every executable: its command line, errors, output, log, signals, settings file and data directory.
//!
//! It knows no role and never talks to the network. Start reading at [`program`].

pub mod data;
pub mod failure;
pub mod global;
pub mod handover;
mod log;
pub mod out;
pub mod program;
pub mod settings;
pub mod stop;
pub mod style;

pub use data::DataDir;
pub use failure::{Exit, Failure, Side};
pub use global::Global;
pub use program::{Program, block_on};
