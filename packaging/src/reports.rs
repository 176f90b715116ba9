//! An enforcer's word on its way to a collector: said until it is acknowledged, numbered so that it counts once.

use crate::failure::{Failure, Side};
use rules::{
    Timestamp,
    observation::{Applied, Said},
    wire::v1::{Ack, Batch, Record},
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

/// Why a report was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Untaken {
    /// Try again.
    Later(String),
    /// It will never be taken as it is.
    Never(String),
    /// A later epoch was seen; this one, if it is known.
    Over(Option<u64>),
}

/// Epoch and next number. Each start is an epoch of its own, later than any before it even if the clock was set back.
#[derive(Debug)]
pub(crate) struct Numbers {
    file: PathBuf,
    epoch: u64,
    next: u64,
}

impl Numbers {
    /// Begins an epoch, kept in the data directory. Epochs are milliseconds since 1970 where nothing is in the way.
    pub(crate) fn begin(data: &Path, now: Timestamp) -> Result<Numbers, Failure> {
        let file = data.join(EPOCH_FILE);
        let old = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let mut numbers = Numbers { file, epoch: old, next: 1 };
        numbers.anew(None, now).map_err(|why| {
            let what = format!("cannot write {}: {why}", numbers.file.display());
            Failure::new(Side::Machine, what, "make room, or choose another directory: --data DIR")
        })?;
        Ok(numbers)
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
pub(crate) async fn carry<F, Sent>(name: String, mut numbers: Numbers, mut reports: mpsc::Receiver<Applied>, send: F)
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
            let record = Record { seq: numbers.next, at, said: Said::Applied(applied.clone()) };
            let why = match send(Batch { sensor: name.clone(), epoch: numbers.epoch, records: vec![record] }).await {
                Ok(ack) if ack.epoch == numbers.epoch && ack.seq >= numbers.next => {
                    numbers.next += 1;
                    break;
                }
                Err(Untaken::Never(why)) => {
                    // Its number is still free.
                    tracing::error!(why, "the collector refuses a report for good; it is dropped");
                    break;
                }
                Ok(ack) => anew(&mut numbers, Some(ack.epoch)),
                Err(Untaken::Over(seen)) => anew(&mut numbers, seen),
                Err(Untaken::Later(why)) => why,
            };
            tracing::warn!(why, ?wait, "the collector did not take a report; it is sent again");
            if reports.is_closed() && reports.is_empty() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

fn anew(numbers: &mut Numbers, seen: Option<u64>) -> String {
    match numbers.anew(seen, Timestamp::now()) {
        Ok(()) => "it counts otherwise; numbering anew".to_owned(),
        Err(why) => format!("numbering anew, which {} does not keep: {why}", numbers.file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::observation::Outcome;
    use std::sync::Mutex;

    fn applied(generation: u64) -> Applied {
        Applied {
            point: "e1".to_owned(),
            generation,
            outcome: Outcome::DryRun,
            elements: 0,
            reason: String::new(),
            status: Default::default(),
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn an_epoch_is_later_than_the_last_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let epochs = [5000, 9000, 100, 100].map(|ms| Numbers::begin(dir.path(), at(ms)).unwrap().epoch);
        assert_eq!(epochs, [5000, 9000, 9001, 9002]);
    }

    #[tokio::test]
    async fn a_report_is_said_until_it_is_acknowledged_and_keeps_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let (reports, said) = mpsc::channel(4);
        reports.send(applied(1)).await.unwrap();
        let got = Mutex::new(Vec::new());
        let reports = Mutex::new(Some(reports));
        let numbers = Numbers::begin(dir.path(), at(1)).unwrap();
        let send = async |batch: Batch| {
            let record = &batch.records[0];
            let Said::Applied(applied) = &record.said else { panic!("{record:?}") };
            let mut got = got.lock().unwrap();
            got.push((batch.epoch == 1, record.seq, applied.generation));
            let ack = Ack { epoch: batch.epoch, seq: record.seq };
            match got.len() {
                1 => {
                    // Something newer waits; what may have arrived is said first.
                    reports.lock().unwrap().as_ref().unwrap().try_send(super::tests::applied(2)).unwrap();
                    Err(Untaken::Later("lost on the way".to_owned()))
                }
                2 => Err(Untaken::Later("busy".to_owned())),
                3 => Ok(ack),
                4 => Err(Untaken::Over(Some(u64::from(u32::MAX)))),
                _ => {
                    reports.lock().unwrap().take();
                    Ok(ack)
                }
            }
        };
        carry("e1".to_owned(), numbers, said, send).await;
        let got = got.into_inner().unwrap();
        assert_eq!(got, [(true, 1, 1), (true, 1, 1), (true, 1, 1), (true, 2, 2), (false, 1, 2)]);
    }
}
