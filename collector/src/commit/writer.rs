//! The one thread that writes: group commit, then answers.

use super::{
    Outcome, Transaction,
    group::{Committer, Hooks, Job},
};
use crate::{
    clock::Clock,
    image::Image,
    store::{Engine, Unavailable},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot, watch};

struct Asked<T, F> {
    act: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Outcome<T>>,
}

impl<T: Send, F: FnOnce(&mut Transaction<'_>) -> Outcome<T> + Send> Job for Asked<T, F> {
    fn act(&mut self, tx: &mut Transaction<'_>) -> Outcome<()> {
        if let Some(act) = self.act.take() {
            self.value = Some(act(tx)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, result: Outcome<()>) {
        let Asked { value, reply, .. } = *self;
        // The caller may have gone; the change stays stored.
        let _ = reply.send(result.and_then(|()| value.ok_or(Unavailable::Stopping)));
    }
}

#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    published: watch::Receiver<Arc<Image>>,
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

    /// Loads the image and starts the thread. It ends when the last `Writer` is dropped, having done all that was asked.
    pub(crate) fn start(engine: Box<dyn Engine>, queue: usize, clock: Clock, hooks: Hooks) -> Outcome<(Writer, JoinHandle<()>)> {
        let mut committer = Committer::new(engine, clock, hooks)?;
        let (publish, published) = watch::channel(Arc::new(committer.image.clone()));
        let mut show = std::mem::replace(&mut committer.hooks.publish, Box::new(|_, _| {}));
        committer.hooks.publish = Box::new(move |image, announced| {
            publish.send_replace(Arc::new(image.clone()));
            show(image, announced);
        });
        let (queue, jobs) = mpsc::channel(queue.max(1));
        let closing = Arc::new(AtomicBool::new(false));
        let told = closing.clone();
        let thread = std::thread::Builder::new()
            .name("collector-writer".to_owned())
            .spawn(move || work(committer, jobs, &told))
            .map_err(|e| Unavailable::Failed(e.to_string()))?;
        Ok((Writer { queue, published, refused: Arc::default(), closing }, thread))
    }

    /// Runs `act` inside a transaction; durable when this returns. Waits for nothing but the disk: a full queue is `Busy`.
    ///
    /// An error takes back the changes of `act`, and nothing else; a refusal is a value of `T`.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Transaction<'_>) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
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

    /// All that is known as of the last commit. It does not change any more, and nobody waits for it.
    pub(crate) fn snapshot(&self) -> Arc<Image> {
        self.published.borrow().clone()
    }

    /// A longer look at the snapshot, off the runtime's threads.
    pub(crate) async fn read<T: Send + 'static>(&self, look: impl FnOnce(&Image) -> T + Send + 'static) -> Outcome<T> {
        let image = self.snapshot();
        tokio::task::spawn_blocking(move || look(&image)).await.map_err(|_| Unavailable::Stopping)
    }

    /// Takes no more jobs; the thread ends when those that wait are done, even while a `Writer` is still held.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Relaxed);
        let (reply, _) = oneshot::channel();
        let nothing = Asked { act: Some(|_: &mut Transaction<'_>| Ok(())), value: None, reply };
        // Closed already is as good.
        let _ = self.queue.send(Box::new(nothing)).await;
    }

    /// Jobs refused because the queue was full.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// Until the queue is closed: takes the jobs that wait, commits them together, answers.
fn work(mut committer: Committer, mut jobs: mpsc::Receiver<Box<dyn Job>>, closing: &AtomicBool) {
    let mut group = Vec::with_capacity(Writer::GROUP);
    while jobs.blocking_recv_many(&mut group, Writer::GROUP) > 0 {
        match committer.commit(&mut group) {
            Ok(results) => group.drain(..).zip(results).for_each(|(job, result)| job.answer(result)),
            Err(why) => group.drain(..).for_each(|job| job.answer(Err(why.clone()))),
        }
        if closing.load(Relaxed) {
            jobs.close();
        }
    }
    committer.engine.close();
}
