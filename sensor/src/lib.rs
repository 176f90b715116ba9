//! The sensor: sees packets, asks ports, reads this host's sockets and client configurations, and says only what it saw.
//!
//! Read in this order: [`capture`] (frames, from an interface or a file), [`decode`] (frame to segment), [`flow`] (segments
//! to streams), [`dissect`] (streams to evidence); beside them [`host`] and [`probe`], the two other sources; all of them
//! end in [`uplink`]. [`reset`] is off unless asked for, and no source.

pub mod capture;
pub mod config;
pub mod decode;
pub mod dissect;
pub mod flow;
#[doc(hidden)]
pub mod fuzz;
mod heard;
pub mod host;
pub mod http1;
mod json;
pub mod moment;
pub mod privileges;
pub mod probe;
mod replace;
pub mod reset;
mod run;
pub mod uplink;
pub mod watch;

pub use config::Config;
pub use run::{Error, run};
pub use uplink::{Delivery, Uplink};
