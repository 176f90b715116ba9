//! From what was seen to what the collector has acknowledged.

use rules::{
    Timestamp,
    observation::Said,
    wire::v1::{Ack, Batch},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// One batch on its way to a collector in the same process.
#[derive(Debug)]
pub struct Delivery {
    pub batch: Batch,
    pub done: oneshot::Sender<Result<Ack, String>>,
}

/// Where the batches go.
#[derive(Debug)]
pub enum Uplink {
    InProcess(mpsc::Sender<Delivery>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Spools what arrives and delivers it until `shutdown`, then once more what is left.
/// `sensor` is the name in every batch.
pub async fn run(
    _sensor: String,
    _config: Config,
    _uplink: Uplink,
    mut said: mpsc::Receiver<(Timestamp, Said)>,
    _shutdown: CancellationToken,
) -> Result<(), Error> {
    while said.recv().await.is_some() {}
    Ok(())
}
