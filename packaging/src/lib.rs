//! The composition root: the one crate that knows every role, and the `gnomon` command.
//!
//! No judgement and no protocol lives here: commands parse arguments, wire roles together with channels or HTTPS, and
//! print what they get. Start reading at [`cli`].

pub mod admin;
pub mod api;
pub mod cli;
pub mod config;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod enforce;
pub mod failure;
pub mod health;
pub mod inventory;
pub mod out;
pub mod role;
pub mod scan;
pub mod stop;
pub mod table;
pub mod tally;
pub mod up;
pub mod watch;
mod wiring;

use failure::{Failure, Side};
use std::future::Future;

/// One crypto provider for every role of this process. Idempotent: whoever comes first.
pub(crate) fn install_crypto() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Runs one asynchronous command to its end, on a runtime of its own.
pub(crate) fn async_main<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|why| Failure::new(Side::Machine, format!("cannot start threads: {why}"), "raise the limits of this user"))?;
    let done = runtime.block_on(command);
    // Whatever still blocks a thread has no say in how long the command takes to end.
    runtime.shutdown_background();
    done
}
