//! The rounds of the probe: it sweeps the named targets now and then, and asks at once where another source points.

use super::{
    Config, ScanConfig, ScanReport,
    agenda::{Memory, until_sweep},
    echo::Echoes,
    nominate::Nominations,
    scan::{Spent, probe_one_with, scan_with},
};
use rules::{
    Timestamp,
    evidence::Evidence,
    observation::{Account, Phase, Said},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;

mod accounts;

/// From a sweep that did not happen to the next try.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// The interval at which the memory is kept on disk, and the cost of single questions is reported.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Passes on the reports of the other sources (`heard` to `tell`), and adds the results of asking and the account of it. Ends after
/// `shutdown` when `heard` is closed, or when nobody listens any more. `sensor` is this sensor's name.
pub async fn run(
    sensor: String,
    config: Config,
    mut heard: mpsc::Receiver<(Timestamp, Said)>,
    tell: mpsc::Sender<(Timestamp, Said)>,
    shutdown: CancellationToken,
) {
    let (out, mut found) = mpsc::channel::<Evidence>(64);
    let mut rounds = Rounds::new(sensor, config);
    let mut single: Option<JoinHandle<(Vec<Evidence>, Spent)>> = None;
    let mut sweep: Option<JoinHandle<Option<ScanReport>>> = None;
    let mut keep = time::interval(KEEP_EVERY);
    keep.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        if single.is_none() && !shutdown.is_cancelled() {
            single = rounds.next_single();
        }
        let mut reports: Vec<(Timestamp, Said)> = Vec::new();
        tokio::select! {
            said = heard.recv(), if open => match said {
                Some((at, said)) => reports.extend(rounds.heard(at, said)),
                None => open = false,
            },
            () = shutdown.cancelled(), if !open => break,
            Some(evidence) = found.recv() => reports.push(rounds.found(evidence)),
            answered = finished(&mut single) => {
                single = None;
                reports.extend(rounds.answered(answered.unwrap_or_default()));
            }
            swept = finished(&mut sweep) => {
                sweep = None;
                reports.extend(rounds.swept(swept.flatten().as_ref()));
            }
            () = time::sleep_until(rounds.sweep_at), if sweep.is_none() && !shutdown.is_cancelled() => {
                let (begun, config) = rounds.begin_sweep();
                reports.push(begun);
                sweep = Some(tokio::spawn(one_sweep(config, rounds.echoes.clone(), out.clone(), shutdown.clone())));
            }
            () = time::sleep_until(rounds.recheck_at), if !shutdown.is_cancelled() => rounds.recheck(),
            _ = keep.tick() => reports.extend(rounds.keep()),
        }
        for report in reports {
            if tell.send(report).await.is_err() {
                return rounds.remember(false);
            }
        }
    }
    rounds.remember(false);
    if let Some(last) = rounds.spent(Phase::Stopped) {
        // When nobody listens any more, there is nobody to tell.
        drop(tell.try_send(last));
    }
}

/// The memory of the rounds.
struct Rounds {
    sensor: String,
    config: Config,
    memory: Memory,
    nominations: Nominations,
    /// The cost of single questions since it was last reported.
    single: Account,
    echoes: Arc<Echoes>,
    sweep_at: time::Instant,
    recheck_at: time::Instant,
}

impl Rounds {
    fn new(sensor: String, config: Config) -> Rounds {
        let memory = config.memory.as_deref().map(Memory::load).unwrap_or_default();
        let mut nominations = Nominations::new(&config.scan);
        nominations.recall(&memory.known);
        let now = time::Instant::now();
        Rounds {
            single: accounts::of_single_questions(&config.scan),
            echoes: Arc::default(),
            sweep_at: now + until_sweep(&sensor, config.every, memory.swept_at, Timestamp::now()),
            recheck_at: now + recheck_every(&config),
            sensor,
            config,
            memory,
            nominations,
        }
    }

    /// Begins to ask the next endpoint that was nominated.
    fn next_single(&mut self) -> Option<JoinHandle<(Vec<Evidence>, Spent)>> {
        let (endpoint, hint) = self.nominations.next()?;
        let (scan, echoes) = (self.config.scan.clone(), self.echoes.clone());
        Some(tokio::spawn(async move { probe_one_with(endpoint, hint, &scan, echoes).await }))
    }

    /// A report of another source, to be passed on unless it is about our own questions.
    fn heard(&mut self, at: Timestamp, said: Said) -> Option<(Timestamp, Said)> {
        if let Said::Evidence(evidence) = &said {
            if self.echoes.is_ours(evidence, Instant::now()) {
                return None;
            }
            self.nominations.hear(evidence, Instant::now());
        }
        Some((at, said))
    }

    /// Evidence of a sweep.
    fn found(&mut self, evidence: Evidence) -> (Timestamp, Said) {
        self.nominations.hear(&evidence, Instant::now());
        accounts::reported(evidence)
    }

    /// The result of asking one endpoint.
    fn answered(&mut self, (evidence, spent): (Vec<Evidence>, Spent)) -> Vec<(Timestamp, Said)> {
        accounts::add(&mut self.single, spent);
        evidence.into_iter().map(|evidence| self.found(evidence)).collect()
    }

    fn begin_sweep(&self) -> ((Timestamp, Said), ScanConfig) {
        let mut config = self.config.scan.clone();
        config.hints.extend(self.nominations.hints());
        (accounts::sweep_begins(&self.config.scan), config)
    }

    /// The end of a sweep; `None`: it did not happen.
    fn swept(&mut self, report: Option<&ScanReport>) -> Vec<(Timestamp, Said)> {
        if report.is_some_and(|r| !r.stopped) {
            self.memory.swept_at = Some(Timestamp::now());
            self.remember(true);
            let until = until_sweep(&self.sensor, self.config.every, self.memory.swept_at, Timestamp::now());
            self.sweep_at = time::Instant::now() + until;
        } else {
            self.sweep_at = time::Instant::now() + TRY_AGAIN.min(self.config.every.0.max(Duration::from_secs(1)));
        }
        let failed = report.is_none().then(accounts::failed);
        [accounts::of_sweep(&self.config.scan, report)].into_iter().chain(failed).collect()
    }

    fn recheck(&mut self) {
        self.recheck_at = time::Instant::now() + recheck_every(&self.config);
        self.nominations.recheck();
    }

    fn keep(&mut self) -> Option<(Timestamp, Said)> {
        self.remember(false);
        self.spent(Phase::Ended)
    }

    /// The account of single questions since the last one, if there were any.
    fn spent(&mut self, phase: Phase) -> Option<(Timestamp, Said)> {
        if self.single.connections == 0 {
            return None;
        }
        let spent = std::mem::replace(&mut self.single, accounts::of_single_questions(&self.config.scan));
        Some(accounts::now(Account { phase, ..spent }))
    }

    /// Keeps the known servers on disk, if they differ from those kept there, or something else is news.
    fn remember(&mut self, news: bool) {
        let Some(path) = &self.config.memory else { return };
        let known = self.nominations.hints();
        if known == self.memory.known && !news {
            return;
        }
        self.memory.known = known;
        if let Err(why) = self.memory.keep(path) {
            tracing::warn!(%why, path = %path.display(), "the probe cannot write its memory; after a restart it begins anew");
        }
    }
}

fn recheck_every(config: &Config) -> Duration {
    config.recheck.0.max(Duration::from_secs(1))
}

/// `None`: it did not happen.
async fn one_sweep(sweep: ScanConfig, echoes: Arc<Echoes>, out: mpsc::Sender<Evidence>, shutdown: CancellationToken) -> Option<ScanReport> {
    match scan_with(sweep, echoes, out, watch::Sender::default(), shutdown).await {
        Ok(report) => {
            tracing::info!(endpoints = report.endpoints, requests = report.requests, evidence = report.evidence, "the sweep has ended");
            Some(report)
        }
        Err(why) => {
            tracing::warn!(%why, "the sweep did not begin");
            None
        }
    }
}

async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
