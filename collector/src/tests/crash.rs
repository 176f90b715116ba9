//! kill -9 at any moment: nothing acknowledged is lost, no clock starts anew, no generation comes back.

use super::*;
use crate::store::Read;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

const DIR: &str = "GNOMON_TEST_CRASH_DIR";

/// What the parent kills: takes batches for ever and says each acknowledgement and generation on its standard output.
#[test]
#[ignore = "run by `nothing_acknowledged_is_lost_by_kill_9` as a process of its own"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = config(Path::new(&dir));
        config.clock = Clock::System;
        let (running, _stop) = run(&config).await;
        let handle = running.handle();
        // Goes on where the last life was acknowledged, as a sensor does.
        let mut next = handle.accept(batch(1, 1, day(0), Vec::new())).await.unwrap().seq + 1;
        let mut said = std::io::stdout();
        loop {
            let port = 1000 + next % 5000;
            let at = Timestamp::now();
            let records = confirmed(&format!("10.0.0.5:{port}/mcp"), at);
            let ack = handle.accept(batch(1, next, at, records)).await.unwrap();
            let generation = handle.decisions().borrow().as_ref().map_or(0, |s| payload(s).generation);
            writeln!(said, "ack {} {generation}", ack.seq).unwrap();
            next = ack.seq + 1;
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let (mut acked, mut generation, mut first_used) = (0, 0, None);
    for life in 1..=6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["tests::crash::child", "--exact", "--ignored", "--nocapture"])
            .env(DIR, data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed after another number of acknowledgements each time, in the middle of whatever comes next.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        for line in lines.filter(|l| l.starts_with("ack ")).take(3 + 10 * life as usize) {
            let numbers: Vec<u64> = line.split(' ').skip(1).map(|n| n.parse().unwrap()).collect();
            (acked, generation) = (numbers[0], generation.max(numbers[1]));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check(data.path(), acked, generation, &mut first_used);
    }
    assert!(acked > 100 && generation > 3, "{acked} {generation}");
}

fn check(data: &Path, acked: u64, generation: u64, first_used: &mut Option<Timestamp>) {
    let config = std::sync::Arc::new(config(data));
    let db = crate::store::open(&crate::store::database(data), None).unwrap();
    let image = crate::image::Image::load(&db, &config).unwrap();
    let sensor = image.sensor("s1").unwrap();
    assert!(sensor.received.acked() >= acked, "{} < {acked}", sensor.received.acked());
    let stored: i64 = db.raw().query_row("SELECT count(*) FROM observations WHERE sensor = 's1'", [], |r| r.get(0)).unwrap();
    assert_eq!(stored as u64, sensor.received.acked(), "what is acknowledged is stored, once");
    let site = &image.sites["default"];
    assert!(site.issued.as_ref().unwrap().set.generation >= generation);
    let counted: u64 = site.inventory.servers().flat_map(|s| &s.testimonies).map(|t| t.count).sum();
    assert_eq!(counted, sensor.received.acked(), "each observation was folded in, once");
    let before = first_used.get_or_insert(site.kept.first_used);
    assert_eq!(*before, site.kept.first_used, "the soft phase did not start anew");
    assert!(db.verify_journal().is_ok());
}
