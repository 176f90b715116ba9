//! The reports of an enforcement point on their way to a collector: each is sent until it is acknowledged, and numbered, so that it
//! counts once.

use crate::{Connection, Error, Untaken};
use rules::wire::{
    Applied, Said, Timestamp,
    v1::{Ack, Batch, Record},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;

const EPOCH_FILE: &str = "reports.epoch";
const FIRST_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Epoch and next number. Each start is an epoch of its own, later than any before it even if the clock was set back.
#[derive(Debug)]
pub struct Statements {
    file: PathBuf,
    epoch: u64,
    next: u64,
}

impl Statements {
    /// Begins an epoch, kept in the data directory. Epochs are milliseconds since 1970 where nothing is in the way.
    pub fn begin(data: &Path, now: Timestamp) -> Result<Statements, Error> {
        let file = data.join(EPOCH_FILE);
        let old = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let mut statements = Statements { file, epoch: old, next: 1 };
        let begun = statements.anew(None, now);
        begun.map_err(|why| Error::Epoch { path: statements.file.clone(), why })?;
        Ok(statements)
    }

    fn anew(&mut self, seen: Option<u64>, now: Timestamp) -> io::Result<()> {
        let before = self.epoch.max(seen.unwrap_or(0));
        self.epoch = before.saturating_add(1).max(u64::try_from(now.as_millisecond()).unwrap_or(0));
        self.next = 1;
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{}\n", self.epoch))?;
        fs::rename(&fresh, &self.file)
    }
}

/// Carries reports until their sender has ended; of several that wait only the newest counts. One that was sent is sent again
/// until it is acknowledged: it may have arrived, and its number must not come to mean something else.
pub async fn carry<F, Sent>(name: String, mut statements: Statements, mut reports: mpsc::Receiver<Applied>, send: F)
where
    F: Fn(Batch) -> Sent,
    Sent: Future<Output = Result<Ack, Untaken>>,
{
    while let Some(mut applied) = reports.recv().await {
        while let Ok(newer) = reports.try_recv() {
            applied = newer;
        }
        let at = Timestamp::now();
        let mut wait = FIRST_WAIT;
        loop {
            let record = Record { seq: statements.next, at, said: Said::Applied(applied.clone()) };
            let why = match send(Batch { sensor: name.clone(), epoch: statements.epoch, records: vec![record] }).await {
                Ok(ack) if ack.epoch == statements.epoch && ack.seq >= statements.next => {
                    statements.next += 1;
                    break;
                }
                Err(Untaken::Never(why)) => {
                    // Its number is still free.
                    tracing::error!(why, "the collector refuses a report for good; it is dropped");
                    break;
                }
                Ok(ack) => anew(&mut statements, Some(ack.epoch)),
                Err(Untaken::Over(seen)) => anew(&mut statements, seen),
                Err(Untaken::Later(why)) => why,
            };
            tracing::warn!(why, retry_ms = wait.as_millis(), "the collector did not take a report; it is sent again");
            if reports.is_closed() && reports.is_empty() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

impl Connection {
    /// Carries the reports of an enforcement point to the collector. Ends with their senders.
    pub async fn report_all(self, statements: Statements, reports: mpsc::Receiver<Applied>) {
        let connection = &self;
        carry(self.identity().name.clone(), statements, reports, |batch| async move { connection.report(&batch).await }).await;
    }
}

fn anew(statements: &mut Statements, seen: Option<u64>) -> String {
    match statements.anew(seen, Timestamp::now()) {
        Ok(()) => "it counts otherwise; numbering anew".to_owned(),
        Err(why) => format!("numbering anew, which {} does not keep: {why}", statements.file.display()),
    }
}

#[cfg(test)]
mod tests;
