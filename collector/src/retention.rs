//! What is forgotten, by age and by number, a little at a time. Counted.

use crate::{
    Config,
    store::{Outcome, Turn, Writer, snapshot},
};
use rules::period::Period;
use rusqlite::params;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(600);
/// Rows in one transaction: others wait for it.
const AT_ONCE: i64 = 5_000;
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
    let (database, keep, now) = (crate::run::database(&config.data), config.retention.snapshots, config.clock.now());
    let made = tokio::task::spawn_blocking(move || snapshot::today(&database, keep, now)).await;
    if let Ok(Err(why)) = made {
        tracing::warn!(%why, "there is no snapshot of today");
        let counted = writer.write(|turn| {
            turn.state.lose("snapshots-failed", 1);
            Ok(())
        });
        // A writer that does not answer says so itself.
        drop(counted.await);
    }
}

/// One step. True when there is more to remove.
pub(crate) fn prune(turn: &mut Turn<'_>) -> Outcome<bool> {
    let kept = turn.state.config.retention.clone();
    let old = kept.observations.before(turn.now).as_millisecond();
    let too_old = "DELETE FROM observations WHERE (sensor, epoch, seq) IN
                   (SELECT sensor, epoch, seq FROM observations WHERE stored_ms < ?1 ORDER BY stored_ms LIMIT ?2)";
    let aged = turn.db.execute(too_old, params![old, AT_ONCE])?;
    let stored: i64 = turn.db.query_row("SELECT count(*) FROM observations", [], |r| r.get(0))?;
    let over = stored.saturating_sub(i64::try_from(kept.max_observations).unwrap_or(i64::MAX)).clamp(0, AT_ONCE);
    let oldest = "DELETE FROM observations WHERE (sensor, epoch, seq) IN
                  (SELECT sensor, epoch, seq FROM observations ORDER BY stored_ms LIMIT ?1)";
    let pushed = if over > 0 { turn.db.execute(oldest, [over])? } else { 0 };
    let letters = LETTERS.before(turn.now).as_millisecond();
    turn.db.execute("DELETE FROM outbox WHERE state <> 'waiting' AND next_ms < ?1", [letters])?;
    turn.state.lose("observations-aged-out", aged as u64);
    turn.state.lose("observations-over-limit", pushed as u64);
    forget_candidates(turn, kept.candidates);
    Ok(aged as i64 == AT_ONCE || pushed as i64 == AT_ONCE)
}

/// What was never more than Probable and was not seen for long.
fn forget_candidates(turn: &mut Turn<'_>, after: Period) {
    let (before, pack) = (after.before(turn.now), turn.state.pack.clone());
    for (name, site) in &mut turn.state.sites {
        for (endpoint, renamed) in site.inventory.expire(before, &pack) {
            turn.state.touched.doors.insert((name.clone(), endpoint));
            turn.state.touched.renamed.extend(renamed.into_iter().map(|(from, to)| (name.clone(), from, to)));
        }
    }
}
