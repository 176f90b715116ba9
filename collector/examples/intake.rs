//! Observations per second that a collector makes durable on this machine, and how long a reader waits meanwhile:
//! `cargo run --release -p collector --example intake`.

use collector::{Config, Handle, start};
use rules::{
    Timestamp,
    endpoint::Place,
    evidence::{Evidence, Source},
    observation::Said,
    wire::v1::{Batch, Record},
};
use std::{error::Error, time::Instant};
use tokio_util::sync::CancellationToken;

const SENSORS: u64 = 16;
const BATCHES: u64 = 100;
const RECORDS: u64 = 20;

fn record(sensor: u64, seq: u64, servers: u64) -> Option<Record> {
    let n = (sensor * BATCHES * RECORDS + seq) % servers;
    let place = Place::new(format!("10.{}.{}.5:{}", n / 65_536, n / 256 % 256, 3000 + n % 256).parse().ok()?).with_target("/mcp");
    let at = Timestamp::now();
    let evidence = Evidence::new(place, Source::Wire, "wire.server.initialize-result", at);
    Some(Record { seq, at, said: Said::Evidence(Box::new(evidence)) })
}

async fn send(handle: Handle, sensor: u64, servers: u64) {
    for batch in 0..BATCHES {
        let records = (1..=RECORDS).filter_map(|n| record(sensor, batch * RECORDS + n, servers)).collect();
        let batch = Batch { sensor: format!("s{sensor}-{servers}"), epoch: 1, records };
        if let Err(why) = handle.accept(batch).await {
            eprintln!("{why}");
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::temp_dir().join(format!("gnomon-intake-{}", std::process::id()));
    let mut config = Config { data: data.clone(), admin: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    config.notify.log.enabled = false;
    let stop = CancellationToken::new();
    let running = start(config, stop.clone()).await?;
    for servers in [100, 10_000] {
        let begin = Instant::now();
        let sending: Vec<_> = (0..SENSORS).map(|sensor| tokio::spawn(send(running.handle(), sensor, servers))).collect();
        for sender in sending {
            sender.await?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("{SENSORS} sensors, {servers} servers: {:.0} observations/s", (SENSORS * BATCHES * RECORDS) as f64 / seconds);
    }
    stop.cancel();
    running.wait().await?;
    Ok(std::fs::remove_dir_all(data)?)
}
