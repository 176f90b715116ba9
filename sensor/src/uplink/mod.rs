//! From what was seen to what the collector has acknowledged: at least once, in order, over any crash.
//!
//! Start reading here: [`run`] is the loop, [`spool`] the disk, [`courier`] decides when to send. The way to a collector on another
//! host is the crate `collector-client`.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod backoff;
mod courier;
pub(crate) mod record;
pub mod spool;
mod thin;

use collector_client::{Connection, Untaken};
use courier::{Courier, Next};
use rules::{
    Timestamp,
    observation::{Coverage, Said},
    period::Period,
    wire::v1::{Ack, Batch},
};
use serde::{Deserialize, Serialize};
use spool::{Limits, Spool};
use std::{collections::BTreeMap, io, path::PathBuf, time::Duration, time::Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// One batch on its way to a collector in the same process.
#[derive(Debug)]
pub struct Delivery {
    pub batch: Batch,
    pub done: oneshot::Sender<Result<Ack, String>>,
}

/// Where the batches go.
#[derive(Clone, Debug)]
pub enum Uplink {
    InProcess(mpsc::Sender<Delivery>),
    Https(Box<Connection>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of the spool. `None`: one of this run's own, gone with it.
    pub spool: Option<PathBuf>,
    /// What the spool may hold; when full, the oldest goes and is reported as a gap.
    pub spool_bytes: u64,
    /// The same statement about the same place is said once in this time.
    pub repeat_every: Period,
    /// Statements remembered for that.
    pub remember: usize,
    /// The longest wait between deliveries that fail.
    pub longest_wait: Period,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            spool: None,
            spool_bytes: 256 << 20,
            repeat_every: Period::seconds(600),
            remember: 65_536,
            longest_wait: Period::seconds(300),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the spool in {} cannot be used: {why}; free or repair that directory, or name another with `uplink.spool`", path.display())]
    Spool { path: PathBuf, why: io::Error },
}

/// Statements taken from the sources at once.
const TAKE: usize = 512;
/// After a shutdown, how long sources may still speak, and how long the last delivery may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Spools what arrives and delivers it until `shutdown`, then once more what is left.
/// `sensor` is the name in every batch.
pub async fn run(
    sensor: String,
    config: Config,
    uplink: Uplink,
    said: mpsc::Receiver<(Timestamp, Said)>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (path, own) = match &config.spool {
        Some(path) => (path.clone(), false),
        None => (own_directory(), true),
    };
    let failed = |why| Error::Spool { path: path.clone(), why };
    let limits =
        Limits { segment_bytes: (config.spool_bytes / 8).clamp(64 << 10, 8 << 20), total_bytes: config.spool_bytes.max(256 << 10) };
    let fresh = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let spool = Spool::open(&path, limits, fresh).map_err(failed)?;
    let thin = thin::Thinning::new(config.repeat_every.0, config.remember);
    let courier = Courier::new(config.longest_wait.0, fresh ^ u64::from(std::process::id()) << 32);
    let mut post = Post { sensor, spool, thin, courier, uplink, held: Vec::new(), told: Coverage::default() };
    let renewing = match &post.uplink {
        Uplink::Https(https) => Some(tokio::spawn(Connection::clone(https).keep_fresh())),
        Uplink::InProcess(_) => None,
    };
    let ended = post.serve(said, shutdown).await;
    if let Some(renewing) = renewing {
        renewing.abort();
    }
    if own {
        // Nothing in it can be of use to anybody any more.
        drop(std::fs::remove_dir_all(&path));
    }
    ended.map_err(failed)
}

fn own_directory() -> PathBuf {
    let unique = format!("gnomon-spool-{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
    std::env::temp_dir().join(unique)
}

struct Post {
    sensor: String,
    spool: Spool,
    thin: thin::Thinning,
    courier: Courier,
    uplink: Uplink,
    /// Taken from the sources and not stored yet: the disk would not have it.
    held: Vec<(Timestamp, Said)>,
    told: Coverage,
}

type Delivered = Result<Ack, Untaken>;

impl Post {
    async fn serve(&mut self, mut said: mpsc::Receiver<(Timestamp, Said)>, shutdown: CancellationToken) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(TAKE);
        let mut under_way: Option<tokio::task::JoinHandle<Delivered>> = None;
        let mut open = true;
        while open {
            let now = Instant::now();
            let mut wake = None;
            if under_way.is_none() {
                match self.courier.next(self.spool.has_pending(), now) {
                    Next::Send => under_way = self.send()?,
                    Next::Wait(until) => wake = Some(until),
                    Next::Idle => {}
                }
            }
            if !self.held.is_empty() {
                let retry = now + Duration::from_secs(1);
                wake = Some(wake.map_or(retry, |w: Instant| w.min(retry)));
            }
            tokio::select! {
                taken = said.recv_many(&mut buffer, TAKE), if self.held.is_empty() => {
                    open = taken > 0;
                    self.take(&mut buffer);
                }
                delivered = finished(&mut under_way), if under_way.is_some() => {
                    under_way = None;
                    self.delivered(delivered)?;
                }
                () = tokio::time::sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => self.store(),
                () = shutdown.cancelled() => break,
            }
        }
        self.last_words(said, under_way).await
    }

    /// Thins out what was just said again, and stores the rest.
    fn take(&mut self, buffer: &mut Vec<(Timestamp, Said)>) {
        let now = Instant::now();
        for (at, said) in buffer.drain(..) {
            if let Said::Evidence(evidence) = &said
                && !self.thin.passes(evidence, now)
            {
                continue;
            }
            self.held.push((at, said));
        }
        self.store();
    }

    /// Accepted is what is on disk. On a full disk the oldest segment goes, one at a time; otherwise nothing does. What still
    /// cannot be stored is held and tried again, and the sources wait with it.
    fn store(&mut self) {
        if !self.held.is_empty() {
            let mut stored = self.spool.append(&self.held);
            if stored.as_ref().is_err_and(is_full) && self.spool.drop_oldest().unwrap_or(false) {
                stored = self.spool.append(&self.held);
            }
            match stored {
                Ok(_) => self.held.clear(),
                Err(why) => {
                    tracing::warn!(%why, held = self.held.len(), "the spool cannot be written; trying again");
                    return;
                }
            }
        }
        self.tell_losses();
    }

    /// Losses of the spool itself are reported like those of any other eye.
    fn tell_losses(&mut self) {
        let losses = self.spool.losses();
        let counts = [("spool-torn", losses.torn), ("spool-corrupt", losses.corrupt), ("spool-full", losses.dropped)];
        let lost: BTreeMap<String, u64> = counts.into_iter().filter(|(_, n)| *n > 0).map(|(k, n)| (k.to_owned(), n)).collect();
        if lost != self.told.lost {
            let coverage = Coverage { interface: "uplink".to_owned(), frames: 0, lost, ..Coverage::default() };
            if self.spool.append(&[(Timestamp::now(), Said::Coverage(coverage.clone()))]).is_ok() {
                self.told = coverage;
            }
        }
    }

    fn send(&mut self) -> io::Result<Option<tokio::task::JoinHandle<Delivered>>> {
        let (records, bytes) = self.courier.size();
        let records = self.spool.peek(records, bytes, Timestamp::now())?;
        if records.is_empty() {
            // Numbers without a record at the very end: nothing to say about them.
            return Ok(None);
        }
        let batch = Batch { sensor: self.sensor.clone(), epoch: self.spool.epoch(), records };
        self.courier.sent(batch.records.len(), batch.records.last().map_or(0, |r| r.seq));
        let uplink = self.uplink.clone();
        Ok(Some(tokio::spawn(async move { uplink.deliver(batch).await })))
    }

    fn delivered(&mut self, delivered: Delivered) -> io::Result<()> {
        let now = Instant::now();
        match delivered {
            Ok(ack) if ack.epoch > self.spool.epoch() => {
                tracing::warn!(epoch = ack.epoch, "the collector knows a later epoch of this sensor; numbering anew");
                // Of two copies of one sensor each takes the other's epoch for a later one: not as fast as they can.
                self.courier.failed(now);
                self.spool.renumber(ack.epoch.saturating_add(1))
            }
            Ok(ack) if ack.epoch == self.spool.epoch() && ack.seq > self.spool.given() => {
                // A snapshot or backup of this machine: the numbers given since then mean something else there, and what is said
                // under them again would be taken for a repetition.
                tracing::warn!(
                    acknowledged = ack.seq,
                    given = self.spool.given(),
                    "the collector has more than this spool ever gave; numbering anew"
                );
                self.spool.renumber(ack.epoch.saturating_add(1))
            }
            Ok(ack) if ack.epoch == self.spool.epoch() && ack.seq > self.spool.acked() => {
                self.courier.acknowledged();
                self.spool.ack(ack.seq)
            }
            Ok(ack) if ack.epoch == self.spool.epoch() && ack.seq < self.spool.acked() => {
                // Another name, a collector set back, or a number it never got: it would wait for what is no longer here.
                tracing::warn!(
                    acknowledged = ack.seq,
                    settled = self.spool.acked(),
                    "the collector lacks what was settled before; numbering anew"
                );
                self.spool.renumber(ack.epoch.saturating_add(1))
            }
            Ok(ack) => {
                self.courier.failed(now);
                tracing::debug!(?ack, "an acknowledgement that acknowledges nothing new");
                Ok(())
            }
            Err(Untaken::Later(why)) => {
                tracing::warn!(%why, "a batch was not delivered; it stays in the spool");
                self.courier.failed(now);
                Ok(())
            }
            Err(Untaken::Over(_)) => {
                tracing::warn!("the collector has seen a later epoch and does not say which; the batch stays in the spool");
                self.courier.failed(now);
                Ok(())
            }
            Err(Untaken::Never(why)) => match self.courier.refused(now) {
                Some(seq) => {
                    tracing::error!(%why, seq, "the collector refuses this observation for good; it is dropped");
                    self.spool.ack(seq)
                }
                None => Ok(()),
            },
        }
    }

    async fn last_words(
        &mut self,
        mut said: mpsc::Receiver<(Timestamp, Said)>,
        under_way: Option<tokio::task::JoinHandle<Delivered>>,
    ) -> io::Result<()> {
        let until = tokio::time::Instant::now() + LAST_WORDS;
        let mut buffer = Vec::with_capacity(TAKE);
        while let Ok(taken) = tokio::time::timeout_at(until, said.recv_many(&mut buffer, TAKE)).await {
            if taken == 0 {
                break;
            }
            self.take(&mut buffer);
        }
        self.store();
        let until = tokio::time::Instant::now() + LAST_WORDS;
        let mut under_way = under_way;
        loop {
            if under_way.is_none() && self.spool.has_pending() {
                under_way = self.send()?;
            }
            let Some(task) = &mut under_way else { return Ok(()) };
            match tokio::time::timeout_at(until, task).await {
                Ok(Ok(Ok(ack))) => self.delivered(Ok(ack))?,
                _ => return Ok(()),
            }
            under_way = None;
        }
    }
}

/// Whether room is what is missing: nothing else is helped by dropping what was stored.
fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

async fn finished(task: &mut Option<tokio::task::JoinHandle<Delivered>>) -> Delivered {
    match task {
        Some(task) => task.await.unwrap_or_else(|why| Err(Untaken::Later(why.to_string()))),
        None => std::future::pending().await,
    }
}

impl Uplink {
    pub(crate) async fn deliver(&self, batch: Batch) -> Delivered {
        match self {
            // A spool that was set back goes on after the epoch that counts.
            Uplink::Https(connection) => connection.report(&batch).await.or_else(|why| match why {
                Untaken::Over(Some(epoch)) => Ok(Ack { epoch, seq: 0 }),
                other => Err(other),
            }),
            Uplink::InProcess(collector) => {
                let gone = || Untaken::Later("the collector is not there".to_owned());
                let (done, answer) = oneshot::channel();
                collector.send(Delivery { batch, done }).await.map_err(|_| gone())?;
                answer.await.map_err(|_| gone())?.map_err(Untaken::Later)
            }
        }
    }
}

#[cfg(test)]
mod tests;
