//! The probe as a witness of the sensor: sweeps the named targets now and then, and asks at once where another witness points.

use super::{
    Config,
    echo::Echoes,
    nominate::Nominations,
    scan::{probe_one_with, scan_with},
};
use rules::{
    Timestamp,
    evidence::Evidence,
    observation::{Coverage, Said},
};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::{sync::mpsc, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

/// Passes on what the other witnesses say (`heard` to `tell`), and adds what asking brings. Ends after
/// `shutdown` when `heard` is closed, or when nobody listens any more.
pub async fn run(
    config: Config,
    mut heard: mpsc::Receiver<(Timestamp, Said)>,
    tell: mpsc::Sender<(Timestamp, Said)>,
    shutdown: CancellationToken,
) {
    let mut nominations = Nominations::new(&config.scan);
    let (out, mut found) = mpsc::channel::<Evidence>(64);
    let mut confirming: Option<JoinHandle<Vec<Evidence>>> = None;
    let mut sweeping: Option<JoinHandle<bool>> = None;
    let mut sweep_at = time::Instant::now();
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
            () = shutdown.cancelled(), if !open => return,
            Some(evidence) = found.recv() => {
                nominations.hear(&evidence, Instant::now());
                say.push(as_said(evidence));
            }
            confirmed = finished(&mut confirming) => {
                confirming = None;
                let confirmed = confirmed.unwrap_or_default();
                confirmed.iter().for_each(|e| nominations.hear(e, Instant::now()));
                say.extend(confirmed.into_iter().map(as_said));
            }
            swept = finished(&mut sweeping) => {
                sweeping = None;
                sweep_at = time::Instant::now() + config.every.0.max(time::Duration::from_secs(1));
                if swept != Some(true) {
                    say.push(failed());
                }
            }
            () = time::sleep_until(sweep_at), if sweeping.is_none() && !shutdown.is_cancelled() => {
                let mut sweep = config.scan.clone();
                sweep.hints.extend(nominations.hints());
                sweeping = Some(tokio::spawn(one_sweep(sweep, echoes.clone(), out.clone(), shutdown.clone())));
            }
        }
        for one in say {
            if tell.send(one).await.is_err() {
                return;
            }
        }
    }
}

/// False when it did not happen.
async fn one_sweep(sweep: super::ScanConfig, echoes: Arc<Echoes>, out: mpsc::Sender<Evidence>, shutdown: CancellationToken) -> bool {
    match scan_with(sweep, echoes, out, tokio::sync::watch::Sender::default(), shutdown).await {
        Ok(report) => {
            tracing::info!(endpoints = report.endpoints, requests = report.requests, found = report.evidence, "the sweep is over");
            true
        }
        Err(why) => {
            tracing::warn!(%why, "the scan did not happen");
            false
        }
    }
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
    use rules::{endpoint::Place, evidence::Witness};
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
        let running = tokio::spawn(run(Config { scan, ..Config::default() }, heard, tell, shutdown.clone()));
        let place = Place::new(format!("127.0.0.1:{port}").parse().unwrap()).with_target("/finance/tools");
        wire.send(as_said(Evidence::new(place, Witness::Wire, "wire.client.initialize", Timestamp::UNIX_EPOCH))).await.unwrap();
        let mut marks = Vec::new();
        while marks.len() < 3 {
            if let (_, Said::Evidence(e)) = said.recv().await.unwrap() {
                marks.push(e.mark);
            }
        }
        assert_eq!(marks, ["wire.client.initialize", "probe.server.discover-result", "probe.control.refused"]);
        drop(wire);
        shutdown.cancel();
        running.await.unwrap();
    }
}
