//! The sources of events, in the order of their urgency.

use crate::{health::Health, netlink::Commit};
use rules::wire::v1::Signed;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// How often the clock, the state directory and the kernel's generation are looked at.
const TICK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) enum Input {
    Shutdown,
    /// `None`: commits were missed.
    Commit(Option<Commit>),
    Set(Arc<Signed>),
    Health(Health),
    Bypasses(Vec<String>),
    Tick,
}

/// A source that has closed is no longer asked.
#[derive(Debug)]
pub(super) struct Inputs {
    shutdown: CancellationToken,
    commits: Option<mpsc::Receiver<Option<Commit>>>,
    sets: Option<mpsc::Receiver<Arc<Signed>>>,
    health: Option<watch::Receiver<Option<Health>>>,
    bypasses: watch::Receiver<Vec<String>>,
    tick: Interval,
}

impl Inputs {
    pub(super) fn new(
        sets: mpsc::Receiver<Arc<Signed>>,
        commits: Option<mpsc::Receiver<Option<Commit>>>,
        health: Option<watch::Receiver<Option<Health>>>,
        bypasses: watch::Receiver<Vec<String>>,
        shutdown: CancellationToken,
    ) -> Inputs {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Inputs { shutdown, commits, sets: Some(sets), health, bypasses, tick }
    }

    pub(super) async fn next(&mut self) -> Input {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Input::Shutdown,
                commit = receive(&mut self.commits) => match commit {
                    Some(commit) => return Input::Commit(commit),
                    None => self.commits = None,
                },
                // One after the other: the later set may be the older, or none at all.
                signed = receive(&mut self.sets) => match signed {
                    Some(signed) => return Input::Set(signed),
                    None => self.sets = None,
                },
                changed = changed(&mut self.health) => match changed {
                    Some(Some(health)) => return Input::Health(health),
                    Some(None) => {}
                    None => self.health = None,
                },
                Ok(()) = self.bypasses.changed() => return Input::Bypasses(self.bypasses.borrow_and_update().clone()),
                _ = self.tick.tick() => return Input::Tick,
            }
        }
    }
}

/// `None`: its sender is gone. Without a receiver it never returns.
async fn receive<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

async fn changed<T: Clone>(of: &mut Option<watch::Receiver<T>>) -> Option<T> {
    match of {
        Some(receiver) => receiver.changed().await.ok().map(|()| receiver.borrow_and_update().clone()),
        None => std::future::pending().await,
    }
}
