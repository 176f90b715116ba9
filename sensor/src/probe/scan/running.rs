//! A scan under way: the effects of its sweep performed, and everything counted.

use super::{millis, stopped_by_file};
use crate::probe::{
    answer::Outcome,
    checkpoint::Checkpoint,
    config::{ScanConfig, ScanReport},
    dial::{Cost, Dialer},
    knock::raw::{KnockReport, Knocker},
    question::{Ask, Question},
    schedule::{Effect, Event, Progress, STOP_GRACE, Sweep},
    transcript::Transcripts,
    windows,
};
use rules::{Timestamp, evidence::Evidence};
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

/// The sender of the port stage, and its results.
pub(super) type Knocking = (Knocker, mpsc::Receiver<KnockReport>);

/// The means by which the effects of a sweep are performed.
pub(super) struct Running<'a> {
    pub(super) config: &'a ScanConfig,
    pub(super) dialer: Arc<Dialer>,
    pub(super) knocker: Option<Knocking>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) transcripts: Option<Transcripts>,
    pub(super) out: &'a mpsc::Sender<Evidence>,
    pub(super) seen: &'a watch::Sender<ScanReport>,
    pub(super) report: &'a mut ScanReport,
    pub(super) begun: Instant,
}

/// How often the stop file, the windows and this host's own tables are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Running<'_> {
    pub(super) async fn run(&mut self, mut sweep: Sweep, shutdown: CancellationToken) {
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
                    KnockReport::Heard(heard) => Event::Heard(heard),
                    KnockReport::Sent { sent, failed } => Event::Knocked { sent, failed },
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
        note_progress(self.report, &sweep.progress());
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

async fn heard(knocker: &mut Option<Knocking>) -> Option<KnockReport> {
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

fn note_progress(report: &mut ScanReport, progress: &Progress) {
    report.finished = progress.finished;
    report.packets = progress.knocks.sent;
    report.packets_failed = progress.knocks.failed;
    report.open = progress.knocks.open;
    report.canaries = progress.knocks.canaries;
    report.canaries_lost = progress.knocks.canaries_lost;
    report.reached = progress.reached;
    report.sessions_minted = progress.sessions_minted;
    report.sessions_ended = progress.sessions_ended;
}
