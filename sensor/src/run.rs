//! The three sources at work, and the one way out.

use crate::{Config, Uplink, capture::live, host, probe, reset, uplink};
use reset::live::Reactive;
use rules::{
    Timestamp,
    evidence::Evidence,
    observation::{Coverage, Said},
};
use std::{collections::BTreeMap, future::Future, pin::pin};
use tokio::{sync::mpsc, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Uplink(#[from] uplink::Error),
}

/// What one source says, with the time of saying.
type Voice = mpsc::Sender<(Timestamp, Said)>;

/// Observations that wait for the spool. A source waits when it is full; the wire, which cannot wait, counts.
const WAITING: usize = 4096;

/// Runs the wire, host and probe sources until `shutdown`. A source that cannot work says so as lost coverage and the others go on;
/// only a spool or uplink that cannot work is an error.
pub async fn run(config: Config, uplink: Uplink, shutdown: CancellationToken) -> Result<(), Error> {
    // Ours alone: a sensor that fails must not end the other roles of its process.
    let shutdown = shutdown.child_token();
    let (voice, said) = mpsc::channel(WAITING);
    let mut sources = JoinSet::new();
    if config.capture.enabled {
        let reactive = reactive(config.reset, &config.name);
        sources.spawn(wire(config.capture, reactive, voice.clone(), shutdown.clone()));
    }
    if config.host.enabled {
        sources.spawn(until(shutdown.clone(), listeners(config.host, voice.clone())));
    }
    let said = if config.probe.scan.targets.is_empty() {
        said
    } else {
        // What the others say passes by the probe, which asks at once where they point.
        let (tell, all) = mpsc::channel(WAITING);
        sources.spawn(probe::run(config.name.clone(), config.probe, said, tell, shutdown.clone()));
        all
    };
    // Also without a source, or when the last one has given up, the sensor reports until it is asked to end.
    let asked_to_end = shutdown.clone();
    sources.spawn(async move {
        asked_to_end.cancelled_owned().await;
        drop(voice);
    });

    let delivered = uplink::run(config.name, config.uplink, uplink, said, shutdown.clone()).await;
    // A spool that failed has nobody left to speak to.
    shutdown.cancel();
    while sources.join_next().await.is_some() {}
    Ok(delivered?)
}

/// The reactive reset, where it is asked for and can work; without it the source is the same.
fn reactive(config: reset::Config, name: &str) -> Option<Reactive> {
    if !config.enabled {
        return None;
    }
    Reactive::begin(config, name).inspect_err(|why| tracing::error!(%why, "reactive reset is off")).ok()
}

async fn wire(config: crate::capture::Config, reactive: Option<Reactive>, voice: Voice, shutdown: CancellationToken) {
    if let Err(why) = live::watch_with(config, reactive, voice.clone(), shutdown).await {
        tracing::warn!(%why, "not watching the wire");
        off(&voice, "wire", "off").await;
    }
}

async fn listeners(config: host::Config, voice: Voice) {
    let mut due = time::interval(config.every.0.max(std::time::Duration::from_secs(1)));
    due.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut known_off = Vec::new();
    loop {
        due.tick().await;
        let Ok(report) = tokio::task::spawn_blocking(|| host::inventory(Timestamp::now())).await else {
            off(&voice, "host", "failed").await;
            continue;
        };
        if report.off != known_off {
            report.off.iter().for_each(|why| tracing::warn!(%why, "part of this host cannot be read"));
            off(&voice, "host", "unreadable").await;
            known_off = report.off;
        }
        for evidence in report.evidence {
            if !tell(&voice, evidence).await {
                return;
            }
        }
    }
}

/// False when nobody listens any more.
async fn tell(voice: &Voice, evidence: Evidence) -> bool {
    let at = evidence.at;
    voice.send((at, Said::Evidence(Box::new(evidence)))).await.is_ok()
}

async fn off(voice: &Voice, part: &str, reason: &str) {
    let coverage = Coverage { interface: part.to_owned(), lost: BTreeMap::from([(reason.to_owned(), 1)]), ..Coverage::default() };
    // When nobody listens, the process is ending and there is nobody to tell.
    drop(voice.send((Timestamp::now(), Said::Coverage(coverage))).await);
}

async fn until(shutdown: CancellationToken, work: impl Future<Output = ()>) {
    let work = pin!(work);
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}
