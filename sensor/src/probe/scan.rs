//! The scan: the sweep's effects performed, and everything counted.

use super::{
    checkpoint::Checkpoint,
    config::{ScanConfig, ScanError, ScanReport},
    dial::Dialer,
    echo::Echoes,
    http1::Caps,
    identify::{Hint, Interrogation},
    knock::raw::{Knocker, may_knock},
    named,
    question::Identity,
    schedule::{SECOND_LOOK, Sweep},
    targets::Space,
    tls,
    transcript::Transcripts,
};
use rules::{Timestamp, endpoint::Endpoint, evidence::Evidence};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

mod running;
mod single;

use running::{Knocking, Running};
pub use single::probe_one;
pub(super) use single::{Spent, probe_one_with};

/// Asks the targets of `config`; evidence goes to `out` as it is found.
///
/// Stops within a second of `shutdown` or of the stop file. Errors only before the first question.
pub async fn scan(config: ScanConfig, out: mpsc::Sender<Evidence>, shutdown: CancellationToken) -> Result<ScanReport, ScanError> {
    scan_with(config, Arc::default(), out, watch::Sender::default(), shutdown).await
}

/// As [`scan`]; `seen` shows the report as it grows, and `echoes` learns of every question.
pub async fn scan_with(
    config: ScanConfig,
    echoes: Arc<Echoes>,
    out: mpsc::Sender<Evidence>,
    seen: watch::Sender<ScanReport>,
    shutdown: CancellationToken,
) -> Result<ScanReport, ScanError> {
    let begun = Instant::now();
    let mut report = ScanReport::default();
    stopped_by_file(&config)?;
    let (space, names) = named::space(&config, &mut report).await?;
    let space = Arc::new(space);
    report.addresses = space.addresses();
    report.endpoints = space.len();
    report.knocking = config.port_stage && space.len() > SECOND_LOOK && may_knock();
    report.at_least_ms = at_least_ms(&config, &space);
    let seed = config.seed.unwrap_or_else(fresh_seed);
    if config.dry_run {
        report.would_ask = would_ask(&config, &space, seed);
        return Ok(report);
    }
    let transcripts = match &config.evidence {
        Some(dir) => Some(Transcripts::open(dir).map_err(|why| ScanError::Evidence(dir.clone(), why))?),
        None => None,
    };
    let checkpoint = match &config.resume {
        None => None,
        Some(path) => Some(Checkpoint::open(path, space.fingerprint(), seed, report.knocking)?),
    };
    let seed = checkpoint.as_ref().map_or(seed, |(checkpoint, _)| checkpoint.seed);
    let mut sweep = Sweep::new(space, seed, config.options(), config.bounds(), begun);
    hint(&mut sweep, &config, names)?;
    let (mut sweep, knocker) = if report.knocking { knocking(sweep, begun) } else { (sweep, None) };
    report.knocking = knocker.is_some();
    let (checkpoint, position) = checkpoint.unzip();
    if let Some(position) = position.flatten() {
        sweep.resume(&position, begun);
    }
    let dialer = dialer(&config, echoes)?;
    let mut running =
        Running { config: &config, dialer, knocker, checkpoint, transcripts, out: &out, seen: &seen, report: &mut report, begun };
    running.run(sweep, shutdown).await;
    report.elapsed_ms = millis(begun.elapsed());
    seen.send_replace(report.clone());
    Ok(report)
}

/// Tells the sweep what is known beforehand.
fn hint(sweep: &mut Sweep, config: &ScanConfig, names: BTreeMap<IpAddr, String>) -> Result<(), ScanError> {
    for (address, name) in names {
        sweep.hint(address, None, Hint { host: Some(name), ..Hint::default() });
    }
    for hint in &config.hints {
        let address = hint.address.parse().map_err(|_| ScanError::Hint(rules::printable::printable(&hint.address, 80)))?;
        sweep.hint(address, hint.port, hint.hint());
    }
    Ok(())
}

/// Begins with the port stage. It was allowed a moment ago; where it is not any more, every endpoint is asked.
fn knocking(sweep: Sweep, now: Instant) -> (Sweep, Option<Knocking>) {
    match Knocker::open() {
        Ok(open) => (sweep.knocking(now), Some(open)),
        Err(why) => {
            tracing::warn!(%why, "no port stage, because raw sockets cannot be opened; every endpoint is asked");
            (sweep, None)
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn stopped_by_file(config: &ScanConfig) -> Result<(), ScanError> {
    match &config.stop_file {
        Some(path) if path.exists() => Err(ScanError::Stopped(rules::printable::printable(&path.display().to_string(), 200))),
        _ => Ok(()),
    }
}

/// One packet or question for each endpoint, and no faster than a subnet or host allows.
fn at_least_ms(config: &ScanConfig, space: &Space) -> u64 {
    let bounds = config.bounds();
    let seconds = |count: u64, rate: u32| count.saturating_mul(1000) / u64::from(rate.max(1));
    let ports = space.ports().len() as u64;
    let one_subnet = space.addresses().min(254) * ports;
    seconds(space.len(), bounds.rate).max(seconds(one_subnet, bounds.per_subnet_rate)).max(seconds(ports, bounds.per_host_rate))
}

fn dialer(config: &ScanConfig, echoes: Arc<Echoes>) -> Result<Arc<Dialer>, ScanError> {
    let identity = Identity { contact: config.contact.clone() };
    let test_identity = config.test_identity.as_ref().map(tls::test_identity).transpose()?;
    let keep = config.evidence.is_some();
    Ok(Arc::new(Dialer { identity, timeouts: config.timeouts(), caps: Caps::default(), echoes, keep, test_identity }))
}

fn fresh_seed() -> u64 {
    Timestamp::now().as_nanosecond() as u64 ^ u64::from(std::process::id()).rotate_left(32)
}

/// The first question to each endpoint, in the order of asking.
fn would_ask(config: &ScanConfig, space: &Space, seed: u64) -> Vec<String> {
    let order = super::order::Permutation::new(space.len(), seed);
    let endpoints = (0..order.len()).filter_map(|i| order.at(i)).filter_map(|i| space.at(i));
    let first = |endpoint: Endpoint| {
        let question = Interrogation::new(endpoint, Hint::default(), config.options(), seed).next_question()?;
        Some(format!("{endpoint} {}", question.words()))
    };
    endpoints.filter_map(first).take(ScanReport::MAX_LISTED).collect()
}
