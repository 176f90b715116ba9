//! The whole way: sources to spool to a collector that fails as collectors do.

use super::*;
use rules::{
    endpoint::Place,
    evidence::{Evidence, Source},
    wire::v1::Record,
};

fn evidence(port: u16) -> (Timestamp, Said) {
    let place = Place::new(format!("10.0.0.1:{port}").parse().unwrap());
    let at = Timestamp::UNIX_EPOCH;
    (at, Said::Evidence(Box::new(Evidence::new(place, Source::Wire, "wire.server.session-header", at))))
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
    let source = tokio::spawn(async move {
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
    let _voice = source.await.unwrap();
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

fn post(dir: &std::path::Path) -> Post {
    let limits = Limits { segment_bytes: 600, total_bytes: 1 << 20 };
    let mut spool = Spool::open(dir, limits, 1).unwrap();
    for n in 1..=20 {
        spool.append(&[evidence(n)]).unwrap();
    }
    let (collector, _) = mpsc::channel::<Delivery>(1);
    let (thin, courier) = (thin::Thinning::new(Duration::from_secs(1), 10), Courier::new(Duration::ZERO, 1));
    Post { sensor: "s".into(), spool, thin, courier, uplink: Uplink::InProcess(collector), held: Vec::new(), told: Coverage::default() }
}

fn segments(dir: &std::path::Path) -> Vec<PathBuf> {
    let path = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().path();
    let mut found: Vec<_> = std::fs::read_dir(dir).unwrap().map(path).filter(|p| p.extension().is_some_and(|e| e == "segment")).collect();
    found.sort();
    found
}

#[test]
fn an_error_that_room_does_not_cure_costs_nothing_that_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut post = post(dir.path());
    let records = post.spool.peek(1000, 1 << 20, Timestamp::UNIX_EPOCH).unwrap().len();
    let stored = segments(dir.path());
    assert!(stored.len() > 3);
    // A record too long for the open segment begins another, and there is a directory in its place.
    let obstacle = dir.path().join(format!("{:020}.segment", records + 1));
    std::fs::create_dir(&obstacle).unwrap();
    post.held = (1..=10).map(evidence).collect();
    post.store();
    assert_eq!((post.held.len(), post.spool.losses().dropped), (10, 0));
    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(segments(dir.path()), stored);
    post.store();
    assert_eq!((post.held.len(), post.spool.losses().dropped), (0, 0));
}

#[test]
fn a_full_disk_costs_one_segment_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut post = post(dir.path());
    let stored = segments(dir.path());
    // Nothing fits into this one; the spool takes it away again when it fails.
    std::os::unix::fs::symlink("/dev/full", dir.path().join(format!("{:020}.segment", 21))).unwrap();
    post.held = (1..=10).map(evidence).collect();
    post.store();
    assert!(post.held.is_empty() && post.spool.losses().dropped > 0);
    let left = segments(dir.path());
    assert_eq!(stored.iter().filter(|s| !left.contains(s)).count(), 1);
    assert!(!left.contains(&stored[0]));
}

#[tokio::test]
async fn a_collector_that_lacks_what_was_settled_is_told_the_rest_under_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut post = post(dir.path());
    post.spool.ack(15).unwrap();
    post.delivered(Ok(Ack { epoch: 1, seq: 0 })).unwrap();
    assert_eq!((post.spool.epoch(), post.spool.acked()), (2, 0));
    let records = post.spool.peek(1000, 1 << 20, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(records.iter().map(|r| (r.seq, port(r))).collect::<Vec<_>>(), (1..=5).map(|n| (n, Some(n as u16 + 15))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_spool_that_was_set_back_says_under_a_new_epoch_what_the_collector_would_take_for_a_repetition() {
    // Restored from a snapshot: 15 was acknowledged then, 20 is the last number it knows of, and the collector has 400.
    for (ack, epoch) in [(Ack { epoch: 1, seq: 400 }, 2), (Ack { epoch: 7, seq: 0 }, 8)] {
        let dir = tempfile::tempdir().unwrap();
        let mut post = post(dir.path());
        post.spool.ack(15).unwrap();
        post.delivered(Ok(ack)).unwrap();
        assert_eq!((post.spool.epoch(), post.spool.acked(), post.spool.given()), (epoch, 0, 5));
        let records = post.spool.peek(1000, 1 << 20, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(records.iter().map(port).collect::<Vec<_>>(), (16..=20).map(Some).collect::<Vec<_>>());
    }
}
