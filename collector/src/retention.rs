//! Forgets, by age and by number, a little at a time. Counted.

use crate::{
    Config,
    commit::{Outcome, Transaction, Writer},
    losses::Loss,
    store::{database, snapshot},
};
use rules::period::Period;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(600);
/// Rows in one transaction: others wait for it.
const AT_ONCE: u64 = 5_000;
/// Messages that were delivered or given up are kept this long, so that nobody is told twice.
const LETTERS: Period = Period::days(400);

pub(crate) async fn run(writer: Writer, config: Arc<Config>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = snapshot(&writer, &config) => {}
        }
        match writer.write(prune).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(why) => tracing::warn!(%why, "old observations were not removed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

/// A day's snapshot, beside the writer: nobody waits for it.
async fn snapshot(writer: &Writer, config: &Config) {
    let (database, keep, now) = (database(&config.data), config.retention.snapshots, config.clock.now());
    let made = tokio::task::spawn_blocking(move || snapshot::today(&database, keep, now)).await;
    if let Ok(Err(why)) = made {
        tracing::warn!(%why, "there is no snapshot of today");
        let counted = writer.write(|tx| {
            tx.image.lose(Loss::SnapshotsFailed, 1);
            Ok(())
        });
        // A writer that does not answer says so itself.
        drop(counted.await);
    }
}

/// One step. True when there is more to remove.
pub(crate) fn prune(tx: &mut Transaction<'_>) -> Outcome<bool> {
    let kept = tx.image.config.retention.clone();
    let aged = tx.records.forget_observations_before(kept.observations.before(tx.now), AT_ONCE)?;
    let over = tx.records.observations()?.saturating_sub(kept.max_observations).min(AT_ONCE);
    let pushed = if over > 0 { tx.records.forget_oldest_observations(over)? } else { 0 };
    tx.records.forget_letters_before(LETTERS.before(tx.now))?;
    tx.image.lose(Loss::ObservationsAgedOut, aged);
    tx.image.lose(Loss::ObservationsOverLimit, pushed);
    forget_candidates(tx, kept.candidates);
    Ok(aged == AT_ONCE || pushed == AT_ONCE)
}

/// What was never more than Probable and was not seen for long.
fn forget_candidates(tx: &mut Transaction<'_>, after: Period) {
    let (before, pack) = (after.before(tx.now), tx.image.pack.clone());
    for (name, site) in &mut tx.image.sites {
        for (endpoint, renamed) in site.inventory.expire(before, &pack) {
            tx.touched.endpoints.insert((name.clone(), endpoint));
            tx.touched.renamed.extend(renamed.into_iter().map(|(from, to)| (name.clone(), from, to)));
        }
    }
}
