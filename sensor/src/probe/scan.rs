//! The scan: the sweep's effects performed, and everything counted.

use super::{
    answer::Outcome,
    checkpoint::Checkpoint,
    config::{ScanConfig, ScanError, ScanReport},
    dial::{Cost, Dialer},
    echo::Echoes,
    http1::Caps,
    identify::{Hint, Interrogation},
    knock::raw::{Knocker, Told, may_knock},
    named,
    question::{Ask, Identity, Question},
    schedule::{Effect, Event, SECOND_LOOK, SECOND_LOOK_AFTER, STOP_GRACE, Sweep},
    targets::Space,
    tls,
    transcript::Transcripts,
    windows,
};
use rules::{Timestamp, endpoint::Endpoint, evidence::Evidence};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

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
    let mut seed = config.seed.unwrap_or_else(fresh_seed);
    if config.dry_run {
        report.would_ask = would_ask(&config, &space, seed);
        return Ok(report);
    }
    let transcripts = match &config.evidence {
        Some(dir) => Some(Transcripts::open(dir).map_err(|why| ScanError::Evidence(dir.clone(), why))?),
        None => None,
    };
    let (checkpoint, position) = match &config.resume {
        None => (None, None),
        Some(path) => {
            let (checkpoint, position) = Checkpoint::open(path, space.fingerprint(), seed, report.knocking)?;
            seed = checkpoint.seed;
            (Some(checkpoint), position)
        }
    };
    let mut sweep = Sweep::new(space, seed, config.manner(), config.bounds(), begun);
    for (address, name) in names {
        sweep.hint(address, None, Hint { host: Some(name), ..Hint::default() });
    }
    for hint in &config.hints {
        let address = hint.address.parse().map_err(|_| ScanError::Hint(rules::printable::printable(&hint.address, 80)))?;
        sweep.hint(address, hint.port, hint.hint());
    }
    let mut knocker = None;
    if report.knocking {
        // Allowed a moment ago; where it is not any more, every endpoint is asked.
        match Knocker::open() {
            Ok(open) => {
                knocker = Some(open);
                sweep = sweep.knocking(begun);
            }
            Err(why) => {
                tracing::warn!(%why, "no port stage: every endpoint is asked");
                report.knocking = false;
            }
        }
    }
    if let Some(position) = position {
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

/// Asks one endpoint: to confirm a passive nomination, to check a known server again, or that it is gone.
pub async fn probe_one(target: Endpoint, hint: Hint, config: &ScanConfig) -> Vec<Evidence> {
    probe_one_with(target, hint, config, Arc::default()).await.0
}

pub(super) async fn probe_one_with(target: Endpoint, hint: Hint, config: &ScanConfig, echoes: Arc<Echoes>) -> (Vec<Evidence>, Spent) {
    let mut spent = Spent::default();
    if stopped_by_file(config).is_err() {
        return (Vec::new(), spent);
    }
    let dialer = match dialer(config, echoes) {
        Ok(dialer) => dialer,
        Err(why) => {
            tracing::warn!(%why, "nobody was asked");
            return (Vec::new(), spent);
        }
    };
    let mut interrogation = Interrogation::new(target, hint, config.manner(), config.seed.unwrap_or_else(fresh_seed));
    let pause = std::time::Duration::from_secs(1) / config.per_host_rate.max(1);
    while let Some(question) = interrogation.next_question() {
        let (outcome, cost) = dialer.ask(&question).await;
        spent.connections += u64::from(cost.connections);
        spent.requests += u64::from(cost.requests);
        spent.bytes_sent += cost.sent;
        interrogation.absorb(&question, &outcome);
        tokio::time::sleep(if interrogation.take_pause() { SECOND_LOOK_AFTER } else { pause }).await;
    }
    let (minted, ended) = interrogation.sessions();
    (spent.minted, spent.ended) = (u64::from(minted), u64::from(ended));
    (interrogation.evidence(Timestamp::now()), spent)
}

/// What asking one endpoint cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) bytes_sent: u64,
    pub(super) minted: u64,
    pub(super) ended: u64,
}

fn dialer(config: &ScanConfig, echoes: Arc<Echoes>) -> Result<Arc<Dialer>, ScanError> {
    let identity = Identity { contact: config.contact.clone() };
    let test_identity = config.test_identity.as_ref().map(tls::test_identity).transpose()?;
    let keep = config.evidence.is_some();
    Ok(Arc::new(Dialer { identity, patience: config.patience(), caps: Caps::default(), echoes, keep, test_identity }))
}

fn fresh_seed() -> u64 {
    Timestamp::now().as_nanosecond() as u64 ^ u64::from(std::process::id()).rotate_left(32)
}

/// A scan under way: what its effects are performed with.
struct Running<'a> {
    config: &'a ScanConfig,
    dialer: Arc<Dialer>,
    knocker: Option<(Knocker, mpsc::Receiver<Told>)>,
    checkpoint: Option<Checkpoint>,
    transcripts: Option<Transcripts>,
    out: &'a mpsc::Sender<Evidence>,
    seen: &'a watch::Sender<ScanReport>,
    report: &'a mut ScanReport,
    begun: Instant,
}

/// How often the stop file, the windows and this host's own tables are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Running<'_> {
    async fn run(&mut self, mut sweep: Sweep, shutdown: CancellationToken) {
        let mut asking: JoinSet<(Question, Outcome, Cost)> = JoinSet::new();
        let mut give_up: Option<Instant> = None;
        let mut event = Event::Tick;
        let mut look = time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut looks = 0u64;
        loop {
            for effect in sweep.handle(event, Instant::now(), Timestamp::now()) {
                self.perform(effect, &mut asking).await;
            }
            if sweep.is_done() {
                break;
            }
            let now = Instant::now();
            let wake = [sweep.wake_at(now), give_up].into_iter().flatten().min();
            event = tokio::select! {
                biased;
                () = shutdown.cancelled(), if give_up.is_none() => self.stop(&mut give_up),
                _ = look.tick() => {
                    looks += 1;
                    self.show(&sweep);
                    if looks.is_multiple_of(4) {
                        self.note(&sweep);
                    }
                    if give_up.is_none() && stopped_by_file(self.config).is_err() {
                        self.stop(&mut give_up)
                    } else {
                        Event::Rest(!windows::is_open(&self.config.windows, Timestamp::now()) || crowded())
                    }
                }
                Some(told) = heard(&mut self.knocker) => match told {
                    Told::Heard(heard) => Event::Heard(heard),
                    Told::Sent { sent, failed } => Event::Knocked { sent, failed },
                },
                Some(done) = asking.join_next() => match done {
                    Ok((question, outcome, mut cost)) => {
                        if let Some(transcripts) = &mut self.transcripts {
                            transcripts.add(question.endpoint, std::mem::take(&mut cost.exchanges), Timestamp::now());
                        }
                        count(self.report, &question, &outcome, cost);
                        Event::Answered(Box::new((question, outcome)))
                    }
                    Err(_) => Event::Tick,
                },
                () = sleep_until(wake), if wake.is_some() => Event::Tick,
            };
            if give_up.is_some_and(|at| Instant::now() >= at) {
                asking.abort_all();
                break;
            }
        }
        self.show(&sweep);
        self.end(&sweep);
    }

    async fn perform(&mut self, effect: Effect, asking: &mut JoinSet<(Question, Outcome, Cost)>) {
        match effect {
            Effect::Ask(question) => {
                let dialer = self.dialer.clone();
                asking.spawn(async move {
                    let (outcome, cost) = dialer.ask(&question).await;
                    (question, outcome, cost)
                });
            }
            Effect::Knock(batch) => {
                // The plan has fewer batches out than fit.
                if let Some((knocker, _)) = &self.knocker
                    && !knocker.knock(batch)
                {
                    tracing::warn!("the port stage has no sender any more");
                }
            }
            Effect::Found(found) => {
                if let (Some(transcripts), Some(first)) = (&mut self.transcripts, found.first()) {
                    transcripts.write(first.place.endpoint);
                    (self.report.transcripts, self.report.transcripts_lost) = (u64::from(transcripts.written), transcripts.lost);
                }
                for evidence in found {
                    match self.out.send(evidence).await {
                        Ok(()) => self.report.evidence += 1,
                        Err(_) => self.report.evidence_lost += 1,
                    }
                }
            }
        }
    }

    fn stop(&mut self, give_up: &mut Option<Instant>) -> Event {
        self.report.stopped = true;
        *give_up = Some(Instant::now() + STOP_GRACE);
        Event::Stop
    }

    fn show(&mut self, sweep: &Sweep) {
        self.report.progress(&sweep.progress());
        self.report.elapsed_ms = millis(self.begun.elapsed());
        if self.seen.receiver_count() > 0 {
            let lists = (std::mem::take(&mut self.report.requests_to), std::mem::take(&mut self.report.excluded_vendors));
            self.seen.send_replace(self.report.clone());
            (self.report.requests_to, self.report.excluded_vendors) = lists;
        }
    }

    fn note(&self, sweep: &Sweep) {
        if let Some(checkpoint) = &self.checkpoint
            && let Err(why) = checkpoint.note(sweep.position(Instant::now()))
        {
            tracing::warn!(%why, "the position could not be noted");
        }
    }

    fn end(&self, sweep: &Sweep) {
        if self.report.stopped {
            return self.note(sweep);
        }
        if let Some(Err(why)) = self.checkpoint.as_ref().map(Checkpoint::done) {
            tracing::warn!(%why, "the noted position could not be removed");
        }
    }
}

async fn heard(knocker: &mut Option<(Knocker, mpsc::Receiver<Told>)>) -> Option<Told> {
    match knocker {
        Some((_, told)) => told.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether this host's own connection tracking is nearly full: each SYN takes a place there, and what harms this host harms
/// whoever relies on it.
fn crowded() -> bool {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    matches!((read("count"), read("max")), (Some(count), Some(max)) if max > 0 && count * 4 > max * 3)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => time::sleep_until(at.into()).await,
        None => std::future::pending().await,
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
        Ask::Site => "site",
        Ask::Stream => "event-stream",
        Ask::Lines => "lines",
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
