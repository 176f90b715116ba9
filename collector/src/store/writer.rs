//! The one thread that writes: group commit, then answers.

use super::Unavailable;
use crate::{clock::Clock, state::State};
use rules::Timestamp;
use rusqlite::Connection;
use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// What a job may use: the open transaction, the state as of this moment in it, and the time.
pub(crate) struct Turn<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) state: &'a mut State,
    pub(crate) now: Timestamp,
}

pub(crate) type Outcome<T> = Result<T, rusqlite::Error>;
/// Runs in every transaction after its jobs: judges what they touched.
pub(crate) type Settle = Box<dyn FnMut(&mut Turn<'_>) -> Outcome<()> + Send>;
/// Runs after every commit: shows what is now durable.
pub(crate) type Publish = Box<dyn FnMut(&State) + Send>;

/// Reads the whole state back.
type Load = Box<dyn Fn(&Connection) -> Outcome<State> + Send>;

trait Job: Send {
    fn act(&mut self, turn: &mut Turn<'_>) -> Outcome<()>;
    fn answer(self: Box<Self>, result: Result<(), Unavailable>);
}

struct Asked<T, F> {
    act: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T: Send, F: FnOnce(&mut Turn<'_>) -> Outcome<T> + Send> Job for Asked<T, F> {
    fn act(&mut self, turn: &mut Turn<'_>) -> Outcome<()> {
        if let Some(act) = self.act.take() {
            self.value = Some(act(turn)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Unavailable>) {
        let Asked { value, reply, .. } = *self;
        // Whoever asked may have gone; what was stored stays stored.
        let _ = reply.send(result.and_then(|()| value.ok_or(Unavailable::Stopping)));
    }
}

#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    state: Arc<RwLock<State>>,
    refused: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("free", &self.queue.capacity()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Jobs in one transaction.
    const GROUP: usize = 64;

    /// Loads the state and starts the thread. It ends when the last `Writer` is dropped, having done all that was asked.
    pub(crate) fn start(
        db: Connection,
        queue: usize,
        clock: Clock,
        load: impl Fn(&Connection) -> Outcome<State> + Send + 'static,
        settle: Settle,
        publish: Publish,
    ) -> Result<(Writer, JoinHandle<()>), Unavailable> {
        let state = Arc::new(RwLock::new(load(&db)?));
        let (sender, jobs) = mpsc::channel(queue.max(1));
        let closing = Arc::new(AtomicBool::new(false));
        let mut bench =
            Bench { db, state: state.clone(), stale: false, closing: closing.clone(), clock, load: Box::new(load), settle, publish };
        let thread = std::thread::Builder::new()
            .name("collector-writer".to_owned())
            .spawn(move || bench.run(jobs))
            .map_err(|e| Unavailable::Failed(e.to_string()))?;
        Ok((Writer { queue: sender, state, refused: Arc::default(), closing }, thread))
    }

    /// Runs `act` inside a transaction; durable when this returns. Waits for nothing but the disk: a full queue is `Busy`.
    ///
    /// An error takes the whole transaction back, with the state; a refusal is a value of `T`.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Turn<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Asked { act: Some(act), value: None, reply });
        self.queue.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => {
                self.refused.fetch_add(1, Relaxed);
                Unavailable::Busy
            }
            mpsc::error::TrySendError::Closed(_) => Unavailable::Stopping,
        })?;
        answer.await.unwrap_or(Err(Unavailable::Stopping))
    }

    /// Reads the state as of the last commit. Waits while a transaction is under way, so not on a runtime's thread.
    pub(crate) async fn read<T: Send + 'static>(&self, look: impl FnOnce(&State) -> T + Send + 'static) -> Result<T, Unavailable> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || look(&state.read().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(|_| Unavailable::Stopping)
    }

    /// Takes no more jobs; the thread ends when those that wait are done, whoever still holds a `Writer`.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Relaxed);
        let (reply, _) = oneshot::channel();
        let nothing = Asked { act: Some(|_: &mut Turn<'_>| Ok(())), value: None, reply };
        // Closed already is as good.
        let _ = self.queue.send(Box::new(nothing)).await;
    }

    /// Jobs refused because the queue was full.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

struct Bench {
    db: Connection,
    state: Arc<RwLock<State>>,
    /// A transaction failed after it may have changed the state, and so did reading it back.
    stale: bool,
    closing: Arc<AtomicBool>,
    clock: Clock,
    load: Load,
    settle: Settle,
    publish: Publish,
}

impl Bench {
    fn run(&mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(Writer::GROUP);
        while jobs.blocking_recv_many(&mut group, Writer::GROUP) > 0 {
            let shared = self.state.clone();
            let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
            let result = self.transact(&mut state, &mut group);
            if let Err(why) = &result {
                tracing::warn!(%why, "nothing was stored");
                self.stale = !self.reload(&mut state);
            }
            drop(state);
            for job in group.drain(..) {
                job.answer(result.clone());
            }
            if self.closing.load(Relaxed) {
                jobs.close();
            }
        }
        // Leaves one file behind instead of three.
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    fn transact(&mut self, state: &mut State, group: &mut [Box<dyn Job>]) -> Result<(), Unavailable> {
        if self.stale {
            *state = (self.load)(&self.db)?;
            self.stale = false;
        }
        let db = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut turn = Turn { db: &db, state: &mut *state, now: self.clock.now() };
        for job in group {
            job.act(&mut turn)?;
        }
        (self.settle)(&mut turn)?;
        db.commit()?;
        (self.publish)(state);
        Ok(())
    }

    /// The state as it was before the transaction that failed.
    fn reload(&self, state: &mut State) -> bool {
        match (self.load)(&self.db) {
            Ok(loaded) => {
                *state = loaded;
                true
            }
            Err(_) => false,
        }
    }
}
