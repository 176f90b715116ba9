//! The probe as a source of the sensor: sweeps the named targets now and then, and asks at once where another source points.

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
    observation::{Account, Coverage, Phase, Said},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;

/// After a sweep that did not happen, the next try.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// So often what is known is kept on disk, and what single questions cost is told.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Passes on what the other sources say (`heard` to `tell`), and adds what asking brings, and the account of it. Ends after
/// `shutdown` when `heard` is closed, or when nobody listens any more. `sensor` is this sensor's name.
pub async fn run(
    sensor: String,
    config: Config,
    mut heard: mpsc::Receiver<(Timestamp, Said)>,
    tell: mpsc::Sender<(Timestamp, Said)>,
    shutdown: CancellationToken,
) {
    let mut memory = config.memory.as_deref().map(Memory::load).unwrap_or_default();
    let mut nominations = Nominations::new(&config.scan);
    nominations.recall(&memory.known);
    let (out, mut found) = mpsc::channel::<Evidence>(64);
    let mut confirming: Option<JoinHandle<(Vec<Evidence>, Spent)>> = None;
    let mut sweeping: Option<JoinHandle<Option<ScanReport>>> = None;
    let mut sweep_at = time::Instant::now() + until_sweep(&sensor, config.every, memory.swept_at, Timestamp::now());
    let recheck = config.recheck.0.max(Duration::from_secs(1));
    let mut recheck_at = time::Instant::now() + recheck;
    let mut keep = time::interval(KEEP_EVERY);
    keep.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut single = account(&config.scan, "single questions", "nominations and re-checks");
    let mut open = true;
    let echoes = Arc::<Echoes>::default();
    loop {
        if confirming.is_none() && !shutdown.is_cancelled() {
            confirming = nominations.next().map(|(endpoint, hint)| {
                let (scan, echoes) = (config.scan.clone(), echoes.clone());
                tokio::spawn(async move { probe_one_with(endpoint, hint, &scan, echoes).await })
            });
        }
        let mut say: Vec<(Timestamp, Said)> = Vec::new();
        tokio::select! {
            said = heard.recv(), if open => match said {
                Some((_, Said::Evidence(evidence))) if echoes.is_ours(&evidence, Instant::now()) => {}
                Some((at, said)) => {
                    if let Said::Evidence(evidence) = &said {
                        nominations.hear(evidence, Instant::now());
                    }
                    say.push((at, said));
                }
                None => open = false,
            },
            () = shutdown.cancelled(), if !open => break,
            Some(evidence) = found.recv() => {
                nominations.hear(&evidence, Instant::now());
                say.push(as_said(evidence));
            }
            confirmed = finished(&mut confirming) => {
                confirming = None;
                let (confirmed, spent) = confirmed.unwrap_or_default();
                add(&mut single, spent);
                confirmed.iter().for_each(|e| nominations.hear(e, Instant::now()));
                say.extend(confirmed.into_iter().map(as_said));
            }
            swept = finished(&mut sweeping) => {
                sweeping = None;
                let swept = swept.flatten();
                say.push(account_of(&config.scan, swept.as_ref()));
                if swept.as_ref().is_some_and(|r| !r.stopped) {
                    memory.swept_at = Some(Timestamp::now());
                    remember(&config, &mut memory, &nominations, true);
                    sweep_at = time::Instant::now() + until_sweep(&sensor, config.every, memory.swept_at, Timestamp::now());
                } else {
                    sweep_at = time::Instant::now() + TRY_AGAIN.min(config.every.0.max(Duration::from_secs(1)));
                }
                if swept.is_none() {
                    say.push(failed());
                }
            }
            () = time::sleep_until(sweep_at), if sweeping.is_none() && !shutdown.is_cancelled() => {
                let mut sweep = config.scan.clone();
                sweep.hints.extend(nominations.hints());
                say.push(now(account(&config.scan, "sweep", "schedule")));
                sweeping = Some(tokio::spawn(one_sweep(sweep, echoes.clone(), out.clone(), shutdown.clone())));
            }
            () = time::sleep_until(recheck_at), if !shutdown.is_cancelled() => {
                recheck_at = time::Instant::now() + recheck;
                nominations.recheck();
            }
            _ = keep.tick() => {
                remember(&config, &mut memory, &nominations, false);
                if single.connections > 0 {
                    let spent = std::mem::replace(&mut single, account(&config.scan, "single questions", "nominations and re-checks"));
                    say.push(now(Account { phase: Phase::Ended, ..spent }));
                }
            }
        }
        for one in say {
            if tell.send(one).await.is_err() {
                return remember(&config, &mut memory, &nominations, false);
            }
        }
    }
    remember(&config, &mut memory, &nominations, false);
    if single.connections > 0 {
        // When nobody listens any more, there is nobody to tell.
        drop(tell.try_send(now(Account { phase: Phase::Stopped, ..single })));
    }
}

/// Keeps what is known, if it is other than what is kept, or something else is news.
fn remember(config: &Config, memory: &mut Memory, nominations: &Nominations, news: bool) {
    let Some(path) = &config.memory else { return };
    let known = nominations.hints();
    if known == memory.known && !news {
        return;
    }
    memory.known = known;
    if let Err(why) = memory.keep(path) {
        tracing::warn!(%why, path = %path.display(), "what the probe knows could not be kept");
    }
}

/// `None`: it did not happen.
async fn one_sweep(sweep: ScanConfig, echoes: Arc<Echoes>, out: mpsc::Sender<Evidence>, shutdown: CancellationToken) -> Option<ScanReport> {
    match scan_with(sweep, echoes, out, watch::Sender::default(), shutdown).await {
        Ok(report) => {
            tracing::info!(endpoints = report.endpoints, requests = report.requests, found = report.evidence, "the sweep is over");
            Some(report)
        }
        Err(why) => {
            tracing::warn!(%why, "the scan did not happen");
            None
        }
    }
}

fn account(scan: &ScanConfig, what: &str, by: &str) -> Account {
    let targets = scan.targets.iter().take(Account::MAX_TARGETS).cloned().collect();
    Account { what: what.to_owned(), by: by.to_owned(), targets, ..Account::default() }
}

fn account_of(scan: &ScanConfig, swept: Option<&ScanReport>) -> (Timestamp, Said) {
    let begun = account(scan, "sweep", "schedule");
    now(match swept {
        None => Account { phase: Phase::Refused, ..begun },
        Some(r) => Account {
            phase: if r.stopped { Phase::Stopped } else { Phase::Ended },
            endpoints: r.endpoints,
            packets: r.packets,
            connections: r.connections,
            requests: r.requests,
            bytes_sent: r.bytes_sent,
            sessions_minted: r.sessions_minted,
            sessions_ended: r.sessions_ended,
            elapsed_ms: r.elapsed_ms,
            ..begun
        },
    })
}

fn add(sum: &mut Account, spent: Spent) {
    sum.endpoints += 1;
    sum.connections += spent.connections;
    sum.requests += spent.requests;
    sum.bytes_sent += spent.bytes_sent;
    sum.sessions_minted += spent.minted;
    sum.sessions_ended += spent.ended;
}

fn now(account: Account) -> (Timestamp, Said) {
    (Timestamp::now(), Said::Probed(Box::new(account)))
}

async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

fn as_said(evidence: Evidence) -> (Timestamp, Said) {
    (evidence.at, Said::Evidence(Box::new(evidence)))
}

fn failed() -> (Timestamp, Said) {
    let lost = BTreeMap::from([("failed".to_owned(), 1)]);
    (Timestamp::now(), Said::Coverage(Coverage { interface: "probe".to_owned(), frames: 0, lost, ..Coverage::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ScanConfig;
    use rules::{endpoint::Place, evidence::Source};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server on a path nobody guesses is found because the wire named it; the wire's word is passed on first.
    #[tokio::test]
    async fn where_the_wire_points_the_probe_asks() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 8192];
                let count = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..count]).into_owned();
                let id = text.split("\"id\":\"").nth(1).and_then(|t| t.split('"').next()).unwrap_or_default().to_owned();
                let (status, body) = match (text.contains("POST /finance/tools "), text.contains("server/discover")) {
                    (true, true) => {
                        ("200 OK", format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"supportedVersions":["2026-07-28"]}}}}"#))
                    }
                    (true, false) => {
                        ("404 Not Found", format!(r#"{{"jsonrpc":"2.0","id":"{id}","error":{{"code":-32601,"message":"no"}}}}"#))
                    }
                    _ => ("404 Not Found", String::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        let scan = ScanConfig { targets: vec!["127.0.0.1".into()], ports: vec![1], per_host_rate: 1000, ..ScanConfig::default() };
        let (wire, heard) = mpsc::channel(4);
        let (tell, mut said) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run("s1".into(), Config { scan, ..Config::default() }, heard, tell, shutdown.clone()));
        let place = Place::new(format!("127.0.0.1:{port}").parse().unwrap()).with_target("/finance/tools");
        wire.send(as_said(Evidence::new(place, Source::Wire, "wire.client.initialize", Timestamp::UNIX_EPOCH))).await.unwrap();
        let mut signatures = Vec::new();
        while signatures.len() < 3 {
            if let (_, Said::Evidence(e)) = said.recv().await.unwrap() {
                signatures.push(e.signature);
            }
        }
        assert_eq!(signatures, ["wire.client.initialize", "probe.server.discover-result", "probe.control.refused"]);
        drop(wire);
        shutdown.cancel();
        running.await.unwrap();
    }
}
