//! The loop.

use crate::{config::Config, operator::Error};
use rules::{observation::Applied, wire::v1::Signed};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Makes this host match each set as it arrives, until `shutdown`. What the kernel then holds lapses by itself, unless
/// `remove_on_exit`.
///
/// Errors end it only when it could not even start (state directory, configuration); a missing or failing `nft` is reported
/// through `reports` and tried again.
pub async fn run(
    _config: Config,
    _sets: watch::Receiver<Option<Arc<Signed>>>,
    _reports: mpsc::Sender<Applied>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    shutdown.cancelled().await;
    Ok(())
}
