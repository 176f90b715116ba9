//! The scan: the sweep's effects performed, and everything counted.

use super::{
    answer::Outcome,
    config::{ScanConfig, ScanError, ScanReport},
    dial::{Cost, Dialer},
    echo::Echoes,
    http1::Caps,
    identify::{Hint, Interrogation},
    question::{Ask, Identity, Question},
    schedule::{Effect, Event, SECOND_LOOK_AFTER, STOP_GRACE, Sweep},
    targets::{Limits, Space, Target, parse},
};
use rules::{Timestamp, endpoint::Endpoint, evidence::Evidence};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Instant};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Asks the targets of `config`; evidence goes to `out` as it is found.
///
/// Stops within a second of `shutdown`. Errors only before the first question.
pub async fn scan(config: ScanConfig, out: mpsc::Sender<Evidence>, shutdown: CancellationToken) -> Result<ScanReport, ScanError> {
    scan_with(config, Arc::default(), out, shutdown).await
}

pub(super) async fn scan_with(
    config: ScanConfig,
    echoes: Arc<Echoes>,
    out: mpsc::Sender<Evidence>,
    shutdown: CancellationToken,
) -> Result<ScanReport, ScanError> {
    let begun = Instant::now();
    let mut report = ScanReport::default();
    let (space, names) = resolve(&config, &mut report).await?;
    report.addresses = space.addresses();
    report.endpoints = space.len();
    let seed = config.seed.unwrap_or_else(fresh_seed);
    if config.dry_run {
        report.would_ask = would_ask(&config, &space, seed);
        return Ok(report);
    }
    let mut sweep = Sweep::new(space, seed, config.manner(), config.bounds());
    for (address, name) in names {
        sweep.hint(address, None, Hint { host: Some(name), ..Hint::default() });
    }
    for hint in &config.hints {
        let address = hint.address.parse().map_err(|_| ScanError::Hint(rules::printable::printable(&hint.address, 80)))?;
        sweep.hint(address, hint.port, hint.hint());
    }
    run(sweep, dialer(&config, echoes), &out, shutdown, &mut report).await;
    report.elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Asks one endpoint: to confirm a passive nomination, to check a known server again, or that it is gone.
pub async fn probe_one(target: Endpoint, hint: Hint, config: &ScanConfig) -> Vec<Evidence> {
    probe_one_with(target, hint, config, Arc::default()).await
}

pub(super) async fn probe_one_with(target: Endpoint, hint: Hint, config: &ScanConfig, echoes: Arc<Echoes>) -> Vec<Evidence> {
    let dialer = dialer(config, echoes);
    let mut interrogation = Interrogation::new(target, hint, config.manner(), config.seed.unwrap_or_else(fresh_seed));
    let pause = std::time::Duration::from_secs(1) / config.per_host_rate.max(1);
    while let Some(question) = interrogation.next_question() {
        let (outcome, _) = dialer.ask(&question).await;
        interrogation.absorb(&question, &outcome);
        tokio::time::sleep(if interrogation.take_pause() { SECOND_LOOK_AFTER } else { pause }).await;
    }
    interrogation.evidence(Timestamp::now())
}

fn dialer(config: &ScanConfig, echoes: Arc<Echoes>) -> Arc<Dialer> {
    let identity = Identity { contact: config.contact.clone() };
    Arc::new(Dialer { identity, patience: config.patience(), caps: Caps::default(), echoes })
}

fn fresh_seed() -> u64 {
    Timestamp::now().as_nanosecond() as u64 ^ u64::from(std::process::id()).rotate_left(32)
}

async fn run(mut sweep: Sweep, dialer: Arc<Dialer>, out: &mpsc::Sender<Evidence>, shutdown: CancellationToken, report: &mut ScanReport) {
    let mut asking: JoinSet<(Question, Outcome, Cost)> = JoinSet::new();
    let mut give_up: Option<Instant> = None;
    let mut event = Event::Tick;
    loop {
        for effect in sweep.handle(event, Instant::now(), Timestamp::now()) {
            match effect {
                Effect::Ask(question) => {
                    let dialer = dialer.clone();
                    asking.spawn(async move {
                        let (outcome, cost) = dialer.ask(&question).await;
                        (question, outcome, cost)
                    });
                }
                Effect::Found(found) => deliver(found, out, report).await,
            }
        }
        report.progress(sweep.progress());
        if sweep.is_done() {
            return;
        }
        let now = Instant::now();
        let wake = match (sweep.wake_at(now), give_up) {
            (a, Some(b)) => Some(a.map_or(b, |a| a.min(b))),
            (a, None) => a,
        };
        event = tokio::select! {
            Some(done) = asking.join_next() => match done {
                Ok((question, outcome, cost)) => {
                    count(report, &question, &outcome, cost);
                    Event::Answered(Box::new((question, outcome)))
                }
                Err(_) => Event::Tick,
            },
            () = shutdown.cancelled(), if give_up.is_none() => {
                report.stopped = true;
                give_up = Some(Instant::now() + STOP_GRACE);
                Event::Stop
            }
            () = sleep_until(wake), if wake.is_some() => Event::Tick,
        };
        if give_up.is_some_and(|at| Instant::now() >= at) {
            asking.abort_all();
            return;
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn deliver(found: Vec<Evidence>, out: &mpsc::Sender<Evidence>, report: &mut ScanReport) {
    for evidence in found {
        match out.send(evidence).await {
            Ok(()) => report.evidence += 1,
            Err(_) => report.evidence_lost += 1,
        }
    }
}

fn count(report: &mut ScanReport, question: &Question, outcome: &Outcome, cost: Cost) {
    let kind = match question.ask {
        Ask::Discover => "server/discover",
        Ask::Initialize => "initialize",
        Ask::Control => "control",
        Ask::Routes => "options",
        Ask::Garbled => "broken-json",
        Ask::Page => "page",
        Ask::Stream => "event-stream",
        Ask::Metadata => "metadata",
        Ask::EndSession(_) => "end-session",
    };
    let ended = match outcome {
        Outcome::Answer(_) => "answered",
        Outcome::Refused => "refused",
        Outcome::Unreachable => "unreachable",
        Outcome::Silent => "silent",
        Outcome::Closed => "closed",
        Outcome::NotHttp(_) => "not-http",
        Outcome::Abusive(_) => "abusive",
        Outcome::TlsFailed { .. } => "tls-failed",
    };
    *report.asked.entry(kind.to_owned()).or_default() += 1;
    *report.outcomes.entry(ended.to_owned()).or_default() += 1;
    report.connections += u64::from(cost.connections);
    report.requests += u64::from(cost.requests);
    report.bytes_sent += cost.sent;
    report.bytes_received += cost.received;
    let endpoint = question.endpoint.to_string();
    let room = report.requests_to.len() < ScanReport::MAX_LISTED;
    if cost.requests > 0 && (room || report.requests_to.contains_key(&endpoint)) {
        *report.requests_to.entry(endpoint).or_default() += u64::from(cost.requests);
    }
}

/// Targets as blocks of addresses, and the names some of them came by.
async fn resolve(config: &ScanConfig, report: &mut ScanReport) -> Result<(Space, BTreeMap<IpAddr, String>), ScanError> {
    let mut blocks = Vec::new();
    let mut names = BTreeMap::new();
    for text in &config.targets {
        match parse(text)? {
            Target::Block(first, last) => blocks.push((first, last)),
            Target::Name(name) => {
                let found: Vec<IpAddr> = match tokio::net::lookup_host((name.as_str(), 0)).await {
                    Ok(found) => found.map(|a| a.ip().to_canonical()).take(16).collect(),
                    Err(_) => Vec::new(),
                };
                for address in &found {
                    blocks.push((*address, *address));
                    names.insert(*address, name.clone());
                }
                if found.is_empty() {
                    report.unresolved.push(name);
                }
            }
        }
    }
    if blocks.is_empty() && !report.unresolved.is_empty() {
        return Err(ScanError::NothingResolves(report.unresolved.join(", ")));
    }
    let limits = Limits {
        allow_public: config.allow_public,
        max_addresses: config.max_addresses,
        exclude: config.exclude.clone(),
        exclude_ports: config.exclude_ports.iter().copied().collect(),
    };
    Ok((Space::new(&blocks, &config.ports, &limits)?, names))
}

/// The first question to each endpoint, in the order of asking.
fn would_ask(config: &ScanConfig, space: &Space, seed: u64) -> Vec<String> {
    let order = super::order::Permutation::new(space.len(), seed);
    let endpoints = (0..order.len()).filter_map(|i| order.at(i)).filter_map(|i| space.at(i));
    let first = |endpoint: Endpoint| {
        let question = Interrogation::new(endpoint, Hint::default(), config.manner(), seed).next_question()?;
        Some(format!("{endpoint} {}", question.words()))
    };
    endpoints.filter_map(first).take(ScanReport::MAX_LISTED).collect()
}
