//! One role in a process of its own, with the privileges it needs: `gnomon collector`, `gateway`, and `courier`, which fetches for
//! an enforcer that has no network. `gnomon up` starts each role by the same function; those of the sensor and the enforcer stand
//! in the crates `gnomon-sensor` and `gnomon-enforcer`, whose executables start them too.

pub(crate) mod channels;
pub mod collector;
pub mod courier;
pub mod gateway;

use clap::Args;
use launch::{Failure, stop};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// The settings file of a role.
#[derive(Debug, Args)]
pub struct SettingsFile {
    /// Settings; `gnomon config defaults` prints them all
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// Ends the role at the first signal.
fn begin() -> Result<CancellationToken, Failure> {
    gnomon_sensor::install_crypto();
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    Ok(shutdown)
}
