//! The one task that writes the log.

use super::{
    file::LogFile,
    record::{LogEntry, Outcome, Record},
    tally::Tally,
    ticket::Ticket,
};
use crate::config::{Audit, OnFailure};
use rules::Timestamp;
use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

/// After a write, how long more records are waited for, so that a busy gateway writes hundreds at once.
const COALESCE: Duration = Duration::from_millis(5);

/// How long a request waits for a place in the queue before it is turned away.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where requests get their tickets.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: mpsc::Sender<LogEntry>,
    state: Arc<Tally>,
    on_failure: OnFailure,
}

/// No ticket: the request must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedAway;

impl Log {
    /// `record` says what is known so far; `started` is when the request's head had been read.
    pub(crate) async fn ticket(&self, record: Record, started: Instant) -> Result<Ticket, TurnedAway> {
        let slot = match self.state.failing.load(Relaxed) {
            true => None,
            false => match self.queue.clone().try_reserve_owned() {
                Ok(slot) => Some(slot),
                Err(_) => timeout(QUEUE_TIMEOUT, self.queue.clone().reserve_owned()).await.ok().and_then(Result::ok),
            },
        };
        if slot.is_none() && self.on_failure == OnFailure::Refuse {
            self.state.turned_away.fetch_add(1, Relaxed);
            return Err(TurnedAway);
        }
        Ok(Ticket::new(record, slot, self.state.clone(), started))
    }

    pub(crate) fn failing(&self) -> bool {
        self.state.failing.load(Relaxed)
    }

    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().zip(self.state.outcomes.iter().map(|n| n.load(Relaxed)))
    }

    pub(crate) fn written(&self) -> u64 {
        self.state.written.load(Relaxed)
    }
}

/// Owns the file; [`Writer::run`] ends when all tickets and handles are gone, and has written everything then.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Receiver<LogEntry>,
    state: Arc<Tally>,
    file: LogFile,
    config: Audit,
    /// Not yet written, at most as many as the queue holds.
    pending: Vec<LogEntry>,
    bound: usize,
}

impl Writer {
    /// `places`: requests that may be open at once.
    pub(crate) fn open(dir: &Path, config: &Audit, places: usize, now: Timestamp) -> io::Result<(Log, Writer)> {
        let file = LogFile::open(dir, config.clone(), now)?;
        let (sender, queue) = mpsc::channel(places);
        let state = Arc::new(Tally::new(config));
        let log = Log { queue: sender, state: state.clone(), on_failure: config.on_failure };
        Ok((log, Writer { queue, state, file, config: config.clone(), pending: Vec::new(), bound: places }))
    }

    pub(crate) async fn run(mut self) {
        let mut tick = interval(self.config.sync_every.0.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        while open {
            let room = self.bound.saturating_sub(self.pending.len()).max(1);
            let ticked = tokio::select! {
                n = self.queue.recv_many(&mut self.pending, room) => { open = n > 0; false },
                _ = tick.tick() => true,
            };
            self.drop_what_does_not_fit();
            // While writing fails, it is tried again at every tick only.
            if ticked || !open || !self.state.failing.load(Relaxed) {
                self = self.write(ticked || !open).await;
            }
            if open && !ticked {
                tokio::time::sleep(COALESCE).await;
            }
        }
        if !self.pending.is_empty() {
            tracing::error!(records = self.pending.len(), "the audit log could not be written to its end");
        }
    }

    fn drop_what_does_not_fit(&mut self) {
        let over = self.pending.len().saturating_sub(self.bound);
        if over > 0 {
            self.pending.truncate(self.bound);
            self.state.lost(over as u64);
        }
    }

    async fn write(mut self, sync: bool) -> Writer {
        let now = Timestamp::now();
        if sync && let Some(gap) = self.state.take_gap(now) {
            self.pending.push(LogEntry::Gap(gap));
        }
        if self.pending.is_empty() && !sync {
            return self;
        }
        let state = self.state.clone();
        let done = tokio::task::spawn_blocking(move || {
            let written = self.append(now).and_then(|()| if sync { self.file.sync() } else { Ok(()) });
            self.note(written);
            self
        });
        match done.await {
            Ok(writer) => writer,
            // Only a panic gets here. Without a writer there must be no calls.
            Err(why) => {
                state.failing.store(true, Relaxed);
                tracing::error!(%why, "the audit writer is gone: calls are refused");
                std::future::pending().await
            }
        }
    }

    fn append(&mut self, now: Timestamp) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.file.append(&self.pending, now)?;
            self.state.written.fetch_add(self.pending.len() as u64, Relaxed);
            self.pending.clear();
        }
        Ok(())
    }

    fn note(&self, written: io::Result<()>) {
        match written {
            Ok(()) => {
                if self.state.failing.swap(false, Relaxed) {
                    tracing::warn!("the audit log can be written again");
                }
            }
            Err(why) => {
                if !self.state.failing.swap(true, Relaxed) {
                    tracing::error!(%why, on_failure = self.config.on_failure.as_str(), "THE AUDIT LOG CANNOT BE WRITTEN");
                }
            }
        }
    }
}
