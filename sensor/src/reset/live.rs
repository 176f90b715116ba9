//! The rim: a capture of its own at each interface, which hands over every frame at once, and the sockets to answer by.
//!
//! The source keeps its own capture, in which frames wait for each other: what resets must not slow down, or lose, what sees.

use super::{
    Config, Error, answer, follow,
    pace::{Bound, Pace},
    snapshot::PolicySnapshot,
    socket::Sockets,
};
use crate::{
    capture::thread::{self, Running},
    decode::{self, Link, Packet, Transport},
    moment::Moment,
    privileges,
};
use pcap::{Active, Capture};
use rules::{Timestamp, endpoint::Endpoint, observation::Resets};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Enough for all headers, with tags and a tunnel.
pub(crate) const SNAP: u32 = 256;
/// Slots of one frame's head each: some thousand frames.
pub(crate) const RING: u32 = 4 << 20;
/// A segment that waited longer than this is answered by nothing: its connection has gone on.
const TOO_LATE: Duration = Duration::from_secs(1);

/// What all interfaces share: the set in force, the sockets, the pace.
#[derive(Clone, Debug)]
pub(crate) struct Reactive {
    snapshots: watch::Receiver<Option<Arc<PolicySnapshot>>>,
    sockets: Arc<Sockets>,
    pace: Arc<Mutex<Pace>>,
}

impl Reactive {
    /// Opens the sockets and follows the sets. To be called while this process may open them.
    pub(crate) fn begin(config: Config, name: &str) -> Result<Reactive, Error> {
        let (file, keys) = config.ready()?;
        let sockets = Arc::new(Sockets::open().map_err(Error::Socket)?);
        let (shown, snapshots) = watch::channel(None);
        let reader = follow::Reader { file, keys, site: config.site, name: name.to_owned(), memory: config.memory, newest: 0 };
        tokio::spawn(follow::follow(reader, shown));
        tracing::warn!("reactive reset is on: best effort, TCP only, no enforcement");
        Ok(Reactive { snapshots, sockets, pace: Arc::new(Mutex::new(Pace::new(config.rate))) })
    }

    /// A thread that resets what it sees at `interface`, and what it counts.
    pub(crate) fn spawn(
        &self,
        interface: &str,
        mut capture: Capture<Active>,
        link: Link,
        stop: CancellationToken,
    ) -> io::Result<(Running, Arc<Counts>)> {
        let counts = Arc::new(Counts::default());
        let mut at = Interface { shared: self.clone(), snapshot: None, link, counts: counts.clone() };
        let (name, wake) = (interface.to_owned(), capture.breakloop_handle());
        let running = Running::spawn(&format!("reset {interface}"), wake, move |nudged| {
            if let Err(why) = at.run(&mut capture, &nudged, &stop) {
                tracing::warn!(interface = %name, %why, "no longer resetting");
            }
        })?;
        Ok((running, counts))
    }
}

/// What was done at one interface, for whoever reports on it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
    connection_bound: AtomicU64,
    rate_bound: AtomicU64,
    late: AtomicU64,
    unseen: AtomicU64,
}

impl Counts {
    pub(crate) fn tell(&self) -> Resets {
        Resets {
            sent: self.sent.load(Relaxed),
            refused: self.refused.load(Relaxed),
            connection_bound: self.connection_bound.load(Relaxed),
            rate_bound: self.rate_bound.load(Relaxed),
            late: self.late.load(Relaxed),
            unseen: self.unseen.load(Relaxed),
        }
    }
}

struct Interface {
    shared: Reactive,
    snapshot: Option<Arc<PolicySnapshot>>,
    link: Link,
    counts: Arc<Counts>,
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("went away: {0}")]
    Gone(pcap::Error),
    #[error(transparent)]
    Privileges(#[from] privileges::Error),
}

impl Interface {
    fn run(&mut self, capture: &mut Capture<Active>, nudged: &AtomicBool, stop: &CancellationToken) -> Result<(), Ended> {
        privileges::give_up()?;
        let mut dropped = thread::Dropped::default();
        let mut looked = Instant::now();
        while !stop.is_cancelled() {
            match self.shared.snapshots.has_changed() {
                Ok(true) => self.snapshot = self.shared.snapshots.borrow_and_update().clone(),
                Ok(false) => {}
                // Nobody follows the file any more.
                Err(_) => self.snapshot = None,
            }
            thread::frames(capture, nudged, |frame| self.frame(&frame)).map_err(Ended::Gone)?;
            if looked.elapsed() >= Duration::from_secs(1) {
                looked = Instant::now();
                if let Ok(stat) = capture.stats() {
                    dropped.take(stat);
                    self.counts.unseen.store(dropped.kernel, Relaxed);
                }
            }
        }
        Ok(())
    }

    /// What most frames cost ends at `meets`: headers, and two lookups.
    fn frame(&self, frame: &pcap::Packet<'_>) {
        let Some(snapshot) = &self.snapshot else { return };
        let Ok(packet) = decode::decode(self.link, frame.data, frame.header.len as usize) else { return };
        let Packet { source, destination, transport: Transport::Tcp(segment) } = packet else { return };
        let source = Endpoint { address: source, port: segment.source_port };
        let destination = Endpoint { address: destination, port: segment.destination_port };
        if !snapshot.meets(source, destination) {
            return;
        }
        let now = Timestamp::now();
        let Some(answer) = answer::answer(snapshot, source, destination, &segment, now) else { return };
        let seen = Moment::new(frame.header.ts.tv_sec, frame.header.ts.tv_usec.saturating_mul(1000));
        if Moment::from(now).since(seen) > TOO_LATE {
            self.counts.late.fetch_add(1, Relaxed);
            return;
        }
        let admitted = self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner).admit(answer.sides, Instant::now());
        match admitted {
            Ok(times) => {
                for reset in &answer.resets {
                    let counted = if self.shared.sockets.send(reset) { &self.counts.sent } else { &self.counts.refused };
                    counted.fetch_add(1, Relaxed);
                }
                if times == 1 {
                    let (agent, server) = (answer.sides.agent, answer.sides.server);
                    tracing::info!(%agent, %server, generation = snapshot.generation, "reset sent to both ends (best effort)");
                }
            }
            Err(Bound::Connection) => drop(self.counts.connection_bound.fetch_add(1, Relaxed)),
            Err(Bound::Rate) => drop(self.counts.rate_bound.fetch_add(1, Relaxed)),
        }
    }
}
