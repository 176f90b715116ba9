//! New blocks have a short lease until this host says that it is well; and who was stopped knows why.

use crate::{
    lab::{Lab, PORT, SHADOW, blocking, decision, empty, lab, put, sign},
    talk::{assert_blocked, assert_flows, connect, serve, shadow, within},
    upkeep::process,
};
use enforcer::{Error, Status, health::Health};
use rules::{
    decision::{Action, Rollout},
    observation::{Applied, Outcome},
    wire::v1::Signed,
};
use std::{sync::Arc, thread::JoinHandle, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The loop in the router's namespace, and somebody who says how the host is.
struct Gated {
    sets: mpsc::Sender<Arc<Signed>>,
    health: watch::Sender<Option<Health>>,
    reports: mpsc::Receiver<Applied>,
    shutdown: CancellationToken,
    thread: JoinHandle<Result<(), Error>>,
}

impl Gated {
    fn start(lab: &Lab, config: enforcer::Config) -> Gated {
        let (sets, arriving) = mpsc::channel(1);
        let (health, told) = watch::channel(None);
        let (say, reports) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = lab.spawn("router", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(enforcer::run_gated(config, arriving, Some(told), say, token))
        });
        Gated { sets, health, reports, shutdown, thread }
    }

    fn send(&mut self, signed: Signed) -> Applied {
        self.sets.blocking_send(Arc::new(signed)).unwrap();
        self.report()
    }

    fn answer(&mut self, generation: u64, failed: &[&str]) -> Applied {
        let failed = failed.iter().map(|f| ((*f).to_owned(), "no answer".to_owned())).collect();
        self.health.send_replace(Some(Health { generation, failed }));
        self.report()
    }

    fn report(&mut self) -> Applied {
        let begin = std::time::Instant::now();
        loop {
            match self.reports.try_recv() {
                Ok(applied) => return applied,
                Err(_) => assert!(begin.elapsed() < Duration::from_secs(10), "no report"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(self) {
        self.shutdown.cancel();
        self.thread.join().unwrap().unwrap();
    }
}

fn status(lab: &Lab) -> Status {
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::status(&config).await }).unwrap()
}

#[test]
fn new_blocks_have_a_short_lease_until_the_host_is_said_to_be_well() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Gated::start(&lab, lab.config("router"));
    let said = running.send(sign(&blocking(1, 900)));
    assert!(said.outcome == Outcome::Applied && said.status.on_trial, "{said:?}");
    let short = |s: &Status| s.elements.iter().all(|e| e.lease_left.0 <= Duration::from_secs(120));
    assert!(status(&lab).elements.len() == 2 && short(&status(&lab)));
    shadow().into_iter().for_each(|to| assert_blocked(&lab, to));
    let said = running.answer(1, &[]);
    assert!(said.outcome == Outcome::Applied && !said.status.on_trial, "{said:?}");
    assert_eq!((said.status.desired, said.status.enforced), (2, 2));
    assert!(status(&lab).elements.iter().all(|e| e.lease_left.0 > Duration::from_secs(600)));
    running.stop();
}

#[test]
fn a_failed_health_check_takes_what_is_new_out_again_and_leaves_lifts_done() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let [v4, v6] = shadow()[..] else { unreachable!() };
    let mut running = Gated::start(&lab, lab.config("router"));
    let mut first = empty(1, 900);
    first.decisions = vec![decision(SHADOW[0], PORT, Action::Block)];
    running.send(sign(&first));
    running.answer(1, &[]);
    assert_blocked(&lab, v4);
    let mut second = empty(2, 900);
    second.decisions = vec![decision(SHADOW[1], PORT, Action::Block)];
    let said = running.send(sign(&second));
    assert!(said.status.on_trial, "{said:?}");
    assert_flows(&lab, v4);
    assert_blocked(&lab, v6);
    let said = running.answer(2, &["the collector"]);
    assert_eq!(said.outcome, Outcome::Failed, "{said:?}");
    assert!(said.reason.contains("the collector: no answer"), "{}", said.reason);
    let s = &said.status;
    assert_eq!((s.desired, s.enforced, s.on_trial), (1, 0, false));
    assert!(s.held_back.as_ref().is_some_and(|why| why.contains("health check")), "{s:?}");
    assert_flows(&lab, v4);
    assert_flows(&lab, v6);
    // The next set is a new chance.
    let mut third = empty(3, 900);
    third.decisions = second.decisions;
    assert!(running.send(sign(&third)).status.on_trial);
    assert_blocked(&lab, v6);
    assert_eq!(running.answer(3, &[]).outcome, Outcome::Applied);
    assert_blocked(&lab, v6);
    running.stop();
}

/// Test 2 of the fault list.
#[test]
fn killed_between_apply_and_confirm_the_short_lease_lapses_and_the_state_before_is_back() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let (file, health) = (lab.data.path().join("set.json"), lab.data.path().join("health.json"));
    let config = enforcer::Config { sets: Some(file.clone()), health: Some(health.clone()), ..lab.config("router") };
    // A short lease is never longer than the set's own.
    put(&file, &sign(&blocking(1, 4)));
    let child = process(&lab, &config);
    within(Duration::from_secs(5), || shadow().into_iter().all(|to| connect(&lab, to).is_err()));
    child.kill();
    within(Duration::from_secs(6), || shadow().into_iter().all(|to| connect(&lab, to).is_ok()));
    // Who comes back asks again, and opens nothing and closes nothing until it is answered.
    std::fs::remove_file(&file).unwrap();
    let child = process(&lab, &config);
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    let well = Health { generation: 1, ..Health::default() };
    std::fs::write(health.with_extension("new"), serde_json::to_vec(&well).unwrap()).unwrap();
    std::fs::rename(health.with_extension("new"), &health).unwrap();
    within(Duration::from_secs(5), || shadow().into_iter().all(|to| connect(&lab, to).is_err()));
    child.kill();
}

#[test]
fn a_set_on_its_way_through_the_fleet_is_only_counted_where_its_wave_has_not_come() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Gated::start(&lab, lab.config("router"));
    let mut set = blocking(1, 900);
    let blocks = set.decisions.iter().map(|d| d.endpoint).collect();
    set.rollout = Some(Rollout { points: ["elsewhere".to_owned()].into(), blocks });
    let said = running.send(sign(&set));
    assert_eq!((said.outcome, said.status.desired, said.status.on_trial), (Outcome::Applied, 0, false), "{said:?}");
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    set.generation = 2;
    set.rollout.as_mut().unwrap().points.insert("router".to_owned());
    assert!(running.send(sign(&set)).status.on_trial);
    shadow().into_iter().for_each(|to| assert_blocked(&lab, to));
    running.stop();
}
