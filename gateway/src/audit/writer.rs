//! The one task that writes the log.

use super::{
    file::LogFile,
    record::{Entry, Gap, Outcome, Record},
    ticket::Ticket,
};
use crate::{
    config::{Audit, OnFailure},
    limit::Bucket,
};
use rules::Timestamp;
use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

/// After a write, how long more records are waited for, so that a busy gateway writes hundreds at once.
const COALESCE: Duration = Duration::from_millis(5);

/// How long a request waits for a place in the queue before it is turned away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where requests get their tickets.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: mpsc::Sender<Entry>,
    state: Arc<State>,
    on_failure: OnFailure,
}

/// What tickets, the writer and the metrics share.
#[derive(Debug)]
pub(crate) struct State {
    failing: AtomicBool,
    written: AtomicU64,
    refusals: AtomicU64,
    turned_away: AtomicU64,
    lost: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    refusals_per_second: f64,
    budget: Mutex<Bucket>,
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
                Err(_) => timeout(PATIENCE, self.queue.clone().reserve_owned()).await.ok().and_then(Result::ok),
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

impl State {
    fn new(config: &Audit) -> State {
        let refusals_per_second = f64::from(config.refusals_per_second.max(1));
        State {
            failing: AtomicBool::new(false),
            written: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            outcomes: Default::default(),
            refusals_per_second,
            budget: Mutex::new(Bucket::full(refusals_per_second * 10.0, Instant::now())),
        }
    }

    pub(super) fn count(&self, record: &Record) {
        let place = Outcome::ALL.iter().position(|o| *o == record.outcome);
        if let Some(n) = place.and_then(|i| self.outcomes.get(i)) {
            n.fetch_add(1, Relaxed);
        }
    }

    /// Counts the refusal when it may not.
    pub(super) fn may_record_refusal(&self, now: Instant) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let may = budget.draw(1.0, self.refusals_per_second, self.refusals_per_second * 10.0, now).is_ok();
        if !may {
            self.refusals.fetch_add(1, Relaxed);
        }
        may
    }

    pub(super) fn lost(&self, n: u64) {
        self.lost.fetch_add(n, Relaxed);
    }

    /// What has to be told, once.
    fn take_gap(&self, at: Timestamp) -> Option<Gap> {
        let take = |n: &AtomicU64| n.swap(0, Relaxed);
        let gap = Gap { at, refusals: take(&self.refusals), turned_away: take(&self.turned_away), lost: take(&self.lost), torn: 0 };
        (gap != Gap { at, ..Gap::default() }).then_some(gap)
    }
}

/// Owns the file; [`Writer::run`] ends when all tickets and handles are gone, and has written everything then.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Receiver<Entry>,
    state: Arc<State>,
    file: LogFile,
    config: Audit,
    /// Not yet written, at most as many as the queue holds.
    pending: Vec<Entry>,
    bound: usize,
}

impl Writer {
    /// `places`: requests that may be open at once.
    pub(crate) fn open(dir: &Path, config: &Audit, places: usize, now: Timestamp) -> io::Result<(Log, Writer)> {
        let file = LogFile::open(dir, config.clone(), now)?;
        let (sender, queue) = mpsc::channel(places);
        let state = Arc::new(State::new(config));
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
            self.pending.push(Entry::Gap(gap));
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
                    tracing::error!(%why, on_failure = ?self.config.on_failure, "THE AUDIT LOG CANNOT BE WRITTEN");
                }
            }
        }
    }
}
