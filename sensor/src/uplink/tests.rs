//! The whole way: witnesses to spool to a collector that fails as collectors do.

use super::*;
use rules::{
    endpoint::Place,
    evidence::{Evidence, Witness},
    wire::v1::Record,
};

fn evidence(port: u16) -> (Timestamp, Said) {
    let place = Place::new(format!("10.0.0.1:{port}").parse().unwrap());
    let at = Timestamp::UNIX_EPOCH;
    (at, Said::Evidence(Box::new(Evidence::new(place, Witness::Wire, "wire.server.session-header", at))))
}

fn port(record: &Record) -> Option<u16> {
    match &record.said {
        Said::Evidence(e) => Some(e.place.endpoint.port),
        _ => None,
    }
}

fn config(dir: &std::path::Path) -> Config {
    Config { spool: Some(dir.to_owned()), longest_wait: Period::seconds(0), ..Config::default() }
}

/// Every third batch fails, every fifth is taken and its acknowledgement lost; what arrives is every statement, each number once.
#[tokio::test]
async fn a_collector_that_fails_and_forgets_gets_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, mut deliveries) = mpsc::channel::<Delivery>(1);
    let (voice, said) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run("s".into(), config(dir.path()), Uplink::InProcess(collector), said, shutdown.clone()));
    let witness = tokio::spawn(async move {
        for n in 1..=400 {
            voice.send(evidence(n)).await.unwrap();
            voice.send(evidence(1)).await.unwrap();
        }
        voice
    });
    let mut got: BTreeMap<u64, u16> = BTreeMap::new();
    let mut count = 0;
    while got.len() < 400 {
        let Delivery { batch, done } = deliveries.recv().await.unwrap();
        count += 1;
        if count % 3 == 0 {
            done.send(Err("busy".into())).unwrap();
            continue;
        }
        for record in &batch.records {
            let port = port(record).unwrap();
            assert!(got.insert(record.seq, port).is_none_or(|before| before == port));
        }
        let ack = Ack { epoch: batch.epoch, seq: *got.keys().last().unwrap() };
        if count % 5 != 0 {
            done.send(Ok(ack)).unwrap();
        }
    }
    let _voice = witness.await.unwrap();
    assert_eq!(got.keys().copied().collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    assert_eq!(got.values().copied().collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    shutdown.cancel();
    drop(deliveries);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_no_collector_took_waits_for_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, deliveries) = mpsc::channel::<Delivery>(1);
    drop(deliveries);
    let (voice, said) = mpsc::channel(16);
    voice.send(evidence(7)).await.unwrap();
    drop(voice);
    run("s".into(), config(dir.path()), Uplink::InProcess(collector), said, CancellationToken::new()).await.unwrap();

    let (collector, mut deliveries) = mpsc::channel::<Delivery>(1);
    let (_voice, said) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run("s".into(), config(dir.path()), Uplink::InProcess(collector), said, shutdown.clone()));
    let Delivery { batch, done } = deliveries.recv().await.unwrap();
    assert_eq!(batch.records.iter().map(|r| (r.seq, port(r))).collect::<Vec<_>>(), [(1, Some(7))]);
    done.send(Ok(Ack { epoch: batch.epoch, seq: 1 })).unwrap();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let mut spool = Spool::open(dir.path(), Limits::default(), 0).unwrap();
    assert!(spool.peek(10, 1000, Timestamp::UNIX_EPOCH).unwrap().is_empty() || spool.acked() == 0);
}

#[tokio::test]
async fn a_spool_that_cannot_be_is_an_error_with_its_path() {
    let (collector, _deliveries) = mpsc::channel::<Delivery>(1);
    let (_voice, said) = mpsc::channel(16);
    let config = Config { spool: Some("/proc/gnomon".into()), ..Config::default() };
    let why = run("s".into(), config, Uplink::InProcess(collector), said, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(why.contains("/proc/gnomon") && why.contains("uplink.spool"), "{why}");
}
