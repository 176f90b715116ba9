//! Observations on their way to the collector, one batch at a time.

use crate::{Connection, connection::Reply};
use rules::wire::{
    printable_bytes,
    v1::{Ack, Batch},
};
use serde::Deserialize;

/// The reason why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// Send it again later.
    Later(String),
    /// The collector will never take it as it is.
    Never(String),
    /// The collector has seen a later epoch of this name; this one, if it said so.
    Over(Option<u64>),
}

/// The collector's answer to a batch under an epoch that is over: the epoch that counts.
#[derive(Deserialize)]
struct Over {
    epoch: u64,
}

impl Connection {
    /// Sends a batch. `Ok` means that the collector has it on disk.
    pub async fn report(&self, batch: &Batch) -> Result<Ack, Untaken> {
        let Reply { status, body } = self.post("/v1/observations", batch).await.map_err(|why| Untaken::Later(why.to_string()))?;
        let said = || format!("{status} {}", printable_bytes(&body, 200));
        match status {
            200 => serde_json::from_slice(&body).map_err(|why| Untaken::Later(format!("not an acknowledgement: {why}"))),
            // What numbers the batches was set back: by a snapshot, a backup, a copy.
            409 => match serde_json::from_slice(&body) {
                Ok(Over { epoch }) => Err(Untaken::Over(Some(epoch))),
                Err(_) => Err(Untaken::Over(None)),
            },
            // The collector understood the batch and will not have it: the same again changes nothing.
            400 | 413 | 422 => Err(Untaken::Never(said())),
            _ => Err(Untaken::Later(said())),
        }
    }
}
