//! Frames from the interfaces of this host: one thread per interface, from the socket to evidence without a stop in between.
//!
//! The thread that opens sockets keeps the capability for it, since interfaces come and go; the threads that parse give up theirs
//! before they read the first frame.

use super::{
    Config, filter,
    share::{Joint, Share},
    shunt::Shunt,
    thread::{Dropped, Running, frames},
};
use crate::{
    decode::Link,
    moment::Moment,
    privileges,
    reset::live::{Counts, RING, Reactive, SNAP},
    watch::Watch,
};
use pcap::{Active, Capture, Device, Inactive};
use rules::{
    Timestamp,
    observation::{Coverage, Said},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What is said of an interface that was named and is not in the list.
const NOT_THERE: &str = "this host has no interface of that name";
/// From one look at the list of interfaces to the next.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A quiet interface keeps its thread asleep in the kernel; so often it is woken to look at the clock and the token.
const NUDGE: Duration = Duration::from_millis(200);
/// The longest the kernel keeps frames back to hand over several at once, and so the delay of evidence.
const BATCH_DELAY_MS: i32 = 40;

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("passive watching is off: {0}")]
    Privileges(#[from] privileges::Error),
    #[error("passive watching is off: this host has no interface named {wanted}; it has {present}")]
    NoSuchInterface { wanted: String, present: String },
    #[error("passive watching is off: the interfaces of this host cannot be listed: {0}")]
    Devices(String),
}

/// Why one interface is not watched (any more).
#[derive(Debug, thiserror::Error)]
enum InterfaceError {
    #[error("cannot be opened: {0}")]
    Open(pcap::Error),
    #[error("its frames have link type {0}, which the sensor does not read")]
    Link(i32),
    #[error("the kernel refused the filter: {0}")]
    Filter(pcap::Error),
    #[error("no thread to watch it with: {0}")]
    Thread(std::io::Error),
    #[error("went away: {0}")]
    Gone(pcap::Error),
    #[error(transparent)]
    Privileges(#[from] privileges::Error),
}

type Voice = mpsc::Sender<(Timestamp, Said)>;

/// The threads at one interface. The sources say how long: when one ends, all others end with it.
struct Watched {
    sources: Vec<Running>,
    reset: Option<Running>,
    stop: CancellationToken,
}

impl Watched {
    fn threads(&self) -> impl Iterator<Item = &Running> {
        self.sources.iter().chain(&self.reset)
    }

    fn is_over(&self) -> bool {
        if self.sources.iter().any(Running::is_finished) {
            self.stop.cancel();
        }
        self.threads().all(Running::is_finished)
    }
}

/// Watches until `shutdown`. Evidence and coverage go to `out`; evidence that does not fit there is counted as lost.
pub async fn watch(config: Config, out: Voice, shutdown: CancellationToken) -> Result<(), LiveError> {
    watch_with(config, None, out, shutdown).await
}

/// As [`watch`]; what `reactive` is for happens beside it, in threads of its own.
pub(crate) async fn watch_with(
    config: Config,
    reactive: Option<Reactive>,
    out: Voice,
    shutdown: CancellationToken,
) -> Result<(), LiveError> {
    privileges::may_capture()?;
    let mut roster = Roster { config, reactive, out, running: HashMap::new(), refused: BTreeMap::new(), known: BTreeSet::new() };
    let mut first = true;
    while !shutdown.is_cancelled() {
        let (wanted, present) = interfaces(&roster.config).await?;
        if std::mem::take(&mut first) && !roster.config.interfaces.is_empty() && wanted.is_empty() {
            return Err(LiveError::NoSuchInterface { wanted: roster.config.interfaces.join(", "), present });
        }
        roster.running.retain(|_, watched| !watched.is_over());
        roster.note_missing(&wanted, &present).await;
        for name in wanted {
            roster.begin(name, &shutdown).await;
        }
        let again = Instant::now() + LOOK_AGAIN;
        while !shutdown.is_cancelled() && Instant::now() < again {
            tokio::select! {
                () = tokio::time::sleep(NUDGE) => {}
                () = shutdown.cancelled() => {}
            }
            roster.running.values().flat_map(Watched::threads).for_each(Running::nudge);
        }
    }
    let joined = tokio::task::spawn_blocking(move || end(roster.running)).await;
    if joined.is_ok_and(|crashed| crashed > 0) {
        tracing::error!("a capture thread crashed");
    }
    Ok(())
}

/// The interfaces of this host that are watched, and the reasons why others are not.
struct Roster {
    config: Config,
    reactive: Option<Reactive>,
    out: Voice,
    running: HashMap<String, Watched>,
    refused: BTreeMap<String, String>,
    /// Interfaces that were watched once.
    known: BTreeSet<String>,
}

impl Roster {
    /// Reports interfaces that the settings name and this host does not have.
    async fn note_missing(&mut self, wanted: &BTreeSet<String>, present: &str) {
        let Roster { config, refused, known, out, .. } = self;
        let missing: BTreeSet<&String> = config.interfaces.iter().filter(|name| !wanted.contains(*name)).collect();
        refused.retain(|name, _| wanted.contains(name) || missing.contains(name));
        for name in missing {
            // Said once; an interface that was there before reported its end as it went.
            if refused.insert(name.clone(), NOT_THERE.to_owned()).is_none() && !known.contains(name) {
                tracing::warn!(interface = %name, why = NOT_THERE, %present, "the interface is not watched");
                say_off(out, name, "not-there").await;
            }
        }
    }

    /// Begins to watch an interface, unless it is watched already.
    async fn begin(&mut self, name: String, shutdown: &CancellationToken) {
        if self.running.contains_key(&name) {
            return;
        }
        match begin(&name, &self.config, self.reactive.as_ref(), self.out.clone(), shutdown.child_token()) {
            Ok(watched) => {
                tracing::info!(interface = %name, "the interface is watched");
                self.refused.remove(&name);
                self.known.insert(name.clone());
                self.running.insert(name, watched);
            }
            Err(why) => {
                let why = why.to_string();
                // Said once, not every few seconds.
                if self.refused.get(&name) != Some(&why) {
                    tracing::warn!(interface = %name, %why, "the interface is not watched");
                    say_off(&self.out, &name, "not-opened").await;
                    self.refused.insert(name, why);
                }
            }
        }
    }
}

/// Waits for every thread and counts those that crashed. One nudge is not enough: the shutdown may have come while the interfaces
/// were being opened, before any thread slept, and on a quiet interface nothing else wakes it.
fn end(running: HashMap<String, Watched>) -> usize {
    while running.values().any(|watched| !watched.is_over()) {
        running.values().flat_map(Watched::threads).for_each(Running::nudge);
        thread::sleep(Duration::from_millis(5));
    }
    running.into_values().flat_map(|w| w.sources.into_iter().chain(w.reset)).map(Running::join).filter(|ended| !ended).count()
}

/// The interfaces to watch now, and the names of all.
async fn interfaces(config: &Config) -> Result<(BTreeSet<String>, String), LiveError> {
    let listed = tokio::task::spawn_blocking(Device::list).await.map_err(|e| LiveError::Devices(e.to_string()))?;
    let devices = listed.map_err(|e| LiveError::Devices(e.to_string()))?;
    let real: Vec<&Device> = devices.iter().filter(|d| !is_pseudo(&d.name)).collect();
    let present = real.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
    let named = |d: &Device| config.interfaces.contains(&d.name);
    let wanted = real.iter().filter(|d| if config.interfaces.is_empty() { d.flags.is_up() } else { named(d) });
    Ok((wanted.map(|d| d.name.clone()).collect(), present))
}

/// What libpcap lists beside network interfaces.
fn is_pseudo(name: &str) -> bool {
    const KINDS: [&str; 7] = ["any", "nflog", "nfqueue", "usbmon", "bluetooth", "dbus-", "rpcap"];
    KINDS.iter().any(|kind| name.starts_with(kind))
}

/// Opens what reads at one interface, and starts its threads.
fn begin(name: &str, config: &Config, reactive: Option<&Reactive>, out: Voice, stop: CancellationToken) -> Result<Watched, InterfaceError> {
    let of = u8::from(config.threads);
    let open = |index| {
        let share = Share { index, of };
        let settings = capture(name, config)?.snaplen(clamp(config.snap_length.max(64))).buffer_size(clamp(config.ring_bytes.max(1 << 20)));
        open(settings, |link| filter::program(link, share)).map(|(capture, link)| (share, capture, link))
    };
    // All of them, before the first one reads.
    let opened = (0..of).map(open).collect::<Result<Vec<_>, _>>()?;
    let reset = match reactive {
        Some(reactive) => {
            resetter(name, config, reactive, stop.clone()).inspect_err(|why| tracing::warn!(interface = %name, %why, "not resetting")).ok()
        }
        None => None,
    };
    let (reset, counts) = reset.unzip();
    let mut watched = Watched { sources: Vec::new(), reset, stop: stop.clone() };
    let joint = Arc::new(Joint::new(of));
    for (share, capture, link) in opened {
        let flows = config.flows.divided(of);
        let interface = Interface {
            name: name.to_owned(),
            share,
            watch: if share.is_first() { Watch::new(flows) } else { Watch::beside(flows) },
            kernel: Dropped::default(),
            unsaid: 0,
            shunt: Shunt::new(&capture, link, &filter::program(link, share), config.shunt),
            joint: joint.clone(),
            resets: counts.clone(),
            out: out.clone(),
        };
        let source = spawn(interface, capture, link, config.clone(), stop.clone());
        watched.sources.push(source.inspect_err(|_| stop.cancel()).map_err(InterfaceError::Thread)?);
    }
    Ok(watched)
}

/// Frames that wait for others are answered too late: here each is handed over at once.
fn resetter(name: &str, config: &Config, reactive: &Reactive, stop: CancellationToken) -> Result<(Running, Arc<Counts>), InterfaceError> {
    let settings = capture(name, config)?.snaplen(clamp(SNAP)).buffer_size(clamp(RING)).immediate_mode(true);
    let (capture, link) = open(settings, filter::segments)?;
    reactive.spawn(name, capture, link, stop).map_err(InterfaceError::Thread)
}

fn clamp(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn capture(name: &str, config: &Config) -> Result<Capture<Inactive>, InterfaceError> {
    let capture = Capture::from_device(name).map_err(InterfaceError::Open)?;
    Ok(capture.promisc(config.promiscuous).timeout(BATCH_DELAY_MS))
}

fn open(settings: Capture<Inactive>, program: impl Fn(Link) -> String) -> Result<(Capture<Active>, Link), InterfaceError> {
    let mut capture = settings.open().map_err(InterfaceError::Open)?;
    let number = capture.get_datalink().0;
    let link = Link::from_number(number).ok_or(InterfaceError::Link(number))?;
    capture.filter(&program(link), true).map_err(InterfaceError::Filter)?;
    Ok((capture, link))
}

fn spawn(
    mut interface: Interface,
    mut capture: Capture<Active>,
    link: Link,
    config: Config,
    stop: CancellationToken,
) -> std::io::Result<Running> {
    Running::spawn(&format!("wire {}", interface.name), capture.breakloop_handle(), move |nudged| {
        let mut ended = None;
        if let Err(why) = interface.run(&mut capture, link, &config, &nudged, &stop) {
            tracing::warn!(interface = %interface.name, %why, "no longer watching");
            ended = Some("interface-gone");
        }
        interface.end(&mut capture, ended);
    })
}

struct Interface {
    name: String,
    share: Share,
    watch: Watch,
    kernel: Dropped,
    /// Evidence the queue had no room for.
    unsaid: u64,
    shunt: Shunt,
    joint: Arc<Joint>,
    resets: Option<Arc<Counts>>,
    out: Voice,
}

impl Interface {
    fn run(
        &mut self,
        capture: &mut Capture<Active>,
        link: Link,
        config: &Config,
        nudged: &AtomicBool,
        shutdown: &CancellationToken,
    ) -> Result<(), InterfaceError> {
        privileges::give_up()?;
        let mut reported = Instant::now();
        while !shutdown.is_cancelled() {
            let watch = &mut self.watch;
            frames(capture, nudged, |packet| {
                let at = Moment::new(packet.header.ts.tv_sec, packet.header.ts.tv_usec.saturating_mul(1000));
                watch.frame(link, packet.data, packet.header.len as usize, at);
            })
            .map_err(InterfaceError::Gone)?;
            let now = Instant::now();
            self.shunt.take(self.watch.heavy(), now);
            self.shunt.apply(capture, now);
            self.watch.tick(Moment::from(Timestamp::now()));
            self.say();
            if reported.elapsed() >= config.report_every.0 {
                reported = Instant::now();
                let coverage = self.count(capture);
                self.tell(coverage, false);
            }
        }
        Ok(())
    }

    fn end(&mut self, capture: &mut Capture<Active>, why: Option<&str>) {
        self.watch.finish();
        self.say();
        let mut coverage = self.count(capture);
        coverage.lost.extend(why.map(|reason| (reason.to_owned(), 1)));
        self.tell(coverage, true);
    }

    fn say(&mut self) {
        for evidence in self.watch.evidence() {
            let at = evidence.at;
            if self.out.try_send((at, Said::Evidence(Box::new(evidence)))).is_err() {
                self.unsaid += 1;
            }
        }
    }

    fn count(&mut self, capture: &mut Capture<Active>) -> Coverage {
        let mut coverage = self.watch.coverage(&self.name);
        if let Ok(stat) = capture.stats() {
            self.kernel.take(stat);
        }
        // What the interface lost, it lost for all threads.
        let interface = if self.share.is_first() { self.kernel.interface } else { 0 };
        let counted = [("kernel-drop", self.kernel.kernel), ("interface-drop", interface), ("queue-full", self.unsaid)];
        coverage.lost.extend(counted.into_iter().filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.to_owned(), n)));
        coverage.shunted = self.shunt.total;
        coverage
    }

    fn tell(&mut self, coverage: Coverage, ended: bool) {
        let Some(all) = self.joint.take(self.share, coverage, ended) else { return };
        let resets = self.resets.as_ref().map(|counts| counts.tell());
        let coverage = Coverage { interface: self.name.clone(), resets, ..all };
        // When even this has no room, the next one says the same and more.
        drop(self.out.try_send((Timestamp::now(), Said::Coverage(coverage))));
    }
}

async fn say_off(out: &Voice, name: &str, reason: &str) {
    let coverage = Coverage { interface: name.to_owned(), lost: BTreeMap::from([(reason.to_owned(), 1)]), ..Coverage::default() };
    // Nobody to tell when the process is ending.
    drop(out.send((Timestamp::now(), Said::Coverage(coverage))).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_the_capability_it_says_what_is_missing() {
        if privileges::may_capture().is_ok() {
            // On a thread of its own, so that only this test loses it.
            let said = std::thread::spawn(|| privileges::give_up().and_then(|()| privileges::may_capture())).join();
            assert!(said.unwrap().unwrap_err().to_string().contains("CAP_NET_RAW"));
        }
    }
}
