//! kill -9 at any moment, then a restart: nothing acknowledged is lost, no clock starts anew, no older decision comes back.

use crate::lab::{self, words};
use gnomon::demo::{
    agent::{self, Target},
    cast::Role,
    product::{Product, until},
    stage::{url, v4},
};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rules::{Timestamp, finding::FindingKind, policy::Mode};
use serde::Deserialize;
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(30);
const ROUNDS: u32 = 6;

/// What must never go backwards.
#[derive(Clone, Debug, PartialEq)]
struct Memory {
    epoch: u64,
    acked: u64,
    /// Statements counted by all testimonies of the server.
    said: u64,
    notified_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
    opened_at: Timestamp,
    generation: u64,
}

#[derive(Debug, Deserialize)]
struct Sensor {
    name: String,
    epoch: u64,
    acked: u64,
    gaps: u64,
}

fn memory(product: &Product) -> Result<Memory, String> {
    let sensors: Vec<Sensor> = product.get(&["sensors"])?;
    let sensor = sensors.iter().find(|s| s.name == "sensor").ok_or("the sensor is not known")?;
    if sensor.gaps > 0 {
        return Err(format!("{} observations were given up", sensor.gaps));
    }
    let findings = product.findings()?;
    let finding = findings.iter().find(|f| f.kind == FindingKind::Shadow).ok_or("no finding")?;
    let servers = product.servers()?;
    let plan: Value = product.get(&["enforce", "plan"])?;
    Ok(Memory {
        epoch: sensor.epoch,
        acked: sensor.acked,
        said: servers.iter().flat_map(|s| &s.evidence).map(|e| e.count).sum(),
        notified_at: finding.notified_at,
        deadline: finding.deadline,
        opened_at: finding.opened_at,
        generation: plan.get("generation").and_then(Value::as_u64).ok_or("no generation")?,
    })
}

fn random(rng: &mut TestRng, below: u64) -> u64 {
    use proptest::prelude::Rng;
    rng.next_u64() % below
}

#[test]
fn kill_9_of_collector_and_sensor_loses_nothing_and_restarts_no_clock() {
    let Some(mut lab) = lab::enter() else { return };
    let seed: u64 = std::env::var("GNOMON_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    eprintln!("GNOMON_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);

    let notes = lab.stage.server("notes", 21).unwrap();
    lab.stage.cast(&notes, Role::Sessions, "notes", &["read"]).unwrap();
    let _letterbox = lab.letterbox();
    let (hq, router) = (lab.stage.hq.clone(), lab.stage.router.clone());
    // Thirty days of 20 s each: the deadline stays ahead throughout.
    let toml = lab.settings(2, Duration::from_secs(20), &[21], &[3001]).toml();
    // The same may be said anew at once, so that there is something to lose.
    let toml = toml + "\n[sensor.uplink]\nrepeat_every = \"50ms\"\n";
    let product = Product::prepare(&lab.stage, &hq, "collector", &toml).unwrap();
    let config = product.config.to_str().unwrap().to_owned();
    let mut collector = product.start(&mut lab.stage, "collector").unwrap();
    let mut sensor = lab.join(&product, &router, "sensor", "sensor", &["--config", &config]);
    let sets = lab.stage.path("set.json");
    lab.join(&product, &router, "courier", "courier", &["--sets", sets.to_str().unwrap()]);
    let fail =
        |lab: &lab::Lab, why: String| -> ! { panic!("seed {seed}: {why}\n{}", words(&lab.stage, &["collector", "sensor", "courier"])) };

    // The load: an agent that calls without rest.
    let stop = Arc::new(AtomicBool::new(false));
    let (agent, quit) = (lab.stage.agent.clone(), stop.clone());
    let load = std::thread::spawn(move || {
        let target = Target::new(&url(v4(21), 3001, "/mcp"), Role::Sessions);
        let mut calls = 0_u64;
        while !quit.load(Ordering::Relaxed) {
            calls += u64::from(agent::call(&agent, &target, "read").unwrap().is_ok());
        }
        calls
    });

    until(SOON, || memory(&product)).unwrap_or_else(|why| fail(&lab, why));
    product.set_policy(|p| p.mode = Mode::Hard).unwrap();
    let started = until(SOON, || memory(&product).and_then(|m| m.notified_at.map(|_| m).ok_or("no notice yet".into())));
    let mut last = started.unwrap_or_else(|why| fail(&lab, why));
    let mut applied = 0;
    for round in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(random(&mut rng, 1200)));
        last = memory(&product).unwrap_or_else(|why| fail(&lab, why));
        let begun = Instant::now();
        let victim = if random(&mut rng, 2) == 0 {
            lab.stage.world.kill(collector);
            collector = product.start(&mut lab.stage, "collector").unwrap_or_else(|why| fail(&lab, format!("round {round}: {why}")));
            "collector"
        } else {
            lab.stage.world.kill(sensor);
            sensor = lab.role(&router, "sensor", "sensor", &["--config", &config]);
            "sensor"
        };
        // It goes on: more is acknowledged than before, in the same epoch, and nothing of what was is gone.
        let now = until(SOON, || {
            let now = memory(&product)?;
            if now.acked > last.acked { Ok(now) } else { Err(format!("{now:?} does not go on from {last:?}")) }
        });
        let now = now.unwrap_or_else(|why| fail(&lab, format!("round {round}, {victim}: {why}")));
        eprintln!("round {round}: {victim} killed and back in {:.1?}, acknowledged {} -> {}", begun.elapsed(), last.acked, now.acked);
        assert_eq!(now.epoch, last.epoch, "round {round}: the {victim} forgot its numbers");
        assert!(now.said >= last.said, "round {round}, {victim}: {last:?} -> {now:?}");
        assert_eq!(
            (now.notified_at, now.deadline, now.opened_at),
            (last.notified_at, last.deadline, last.opened_at),
            "round {round}: a clock moved when the {victim} was killed"
        );
        assert!(now.generation >= last.generation, "round {round}: {last:?} -> {now:?}");
        let arrived = generation_in(&sets);
        assert!(arrived >= applied, "round {round}: set {arrived} came after {applied}");
        applied = arrived;
        last = now;
    }
    stop.store(true, Ordering::Relaxed);
    let calls = load.join().unwrap();
    assert!(calls > 10 && applied > 0, "{calls} calls, set {applied}: too little happened to prove anything");
    let verified: Value = product.get(&["journal", "verify"]).unwrap();
    eprintln!("{calls} calls, {} observations acknowledged, set {applied}, journal {verified}", last.acked);
}

/// The generation in the courier's file; 0 as long as there is none.
fn generation_in(sets: &std::path::Path) -> u64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let signed = std::fs::read(sets).ok().and_then(|b| serde_json::from_slice::<rules::wire::v1::Signed>(&b).ok());
    let payload = signed.and_then(|s| STANDARD.decode(s.payload).ok());
    let set = payload.and_then(|p| serde_json::from_slice::<rules::wire::v1::Decisions>(&p).ok());
    set.map_or(0, |s| s.generation)
}
