//! The channels between the roles of one process.

use collector::{AcceptError, Handle};
use collector_client::{Statements, Untaken};
use rules::{
    evidence::Evidence,
    observation::{Applied, Said},
    wire::v1::{Ack, Batch, Signed},
};
use sensor::Delivery;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Hands a sensor's batches to the collector of the same process, until the sensor has ended.
pub(crate) async fn feed(mut batches: mpsc::Receiver<Delivery>, handle: Handle, seen: Option<mpsc::Sender<Evidence>>) {
    while let Some(Delivery { batch, done }) = batches.recv().await {
        if let Some(seen) = &seen {
            show(&batch, seen);
        }
        let answer = match handle.accept(batch).await {
            // The sensor goes on after it: its spool was set back.
            Err(AcceptError::EpochOver { current, .. }) => Ok(Ack { epoch: current, seq: 0 }),
            other => other.map_err(|why| why.to_string()),
        };
        // A sensor that no longer waits will ask again.
        drop(done.send(answer));
    }
}

fn show(batch: &Batch, seen: &mpsc::Sender<Evidence>) {
    for record in &batch.records {
        if let Said::Evidence(evidence) = &record.said {
            // What the screen misses is in the inventory all the same.
            drop(seen.try_send((**evidence).clone()));
        }
    }
}

/// Hands each signed set on as it is shown; one that a newer one overtook meanwhile is left out.
pub(crate) async fn hand_on(mut shown: watch::Receiver<Option<Arc<Signed>>>, sets: mpsc::Sender<Arc<Signed>>) {
    loop {
        let set = shown.borrow_and_update().clone();
        let taken = match set {
            Some(set) => sets.send(set).await.is_ok(),
            None => true,
        };
        if !taken || shown.changed().await.is_err() {
            return;
        }
    }
}

/// Brings an enforcer's word to the collector of the same process, until the enforcer has ended.
pub(crate) async fn report(statements: Statements, reports: mpsc::Receiver<Applied>, handle: Handle) {
    collector_client::carry("local-enforcer".to_owned(), statements, reports, |batch| {
        let handle = handle.clone();
        async move {
            handle.accept(batch).await.map_err(|why| match why {
                AcceptError::Malformed(_) => Untaken::Never(why.to_string()),
                AcceptError::EpochOver { current, .. } => Untaken::Over(Some(current)),
                _ => Untaken::Later(why.to_string()),
            })
        }
    })
    .await;
}

/// Shows an enforcer's word to two: to whom it is carried, and to whoever asks how the host is.
pub(crate) async fn tee(mut said: mpsc::Receiver<Applied>, onward: mpsc::Sender<Applied>, shown: mpsc::Sender<Applied>) {
    while let Some(applied) = said.recv().await {
        // Whoever asks is busy asking: the next word says the same again.
        drop(shown.try_send(applied.clone()));
        if onward.send(applied).await.is_err() {
            return;
        }
    }
}
