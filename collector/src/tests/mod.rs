//! The whole collector, from the outside: what is acknowledged stays, whatever happens.

mod crash;
mod disk;
mod doors;
mod enrolment;
mod fleet;
mod lost;
mod packs;
mod told;

use crate::{AcceptError, Config, Error, Handle, Running, clock::Clock, start};
use rules::{
    Timestamp,
    decision::DecisionSet,
    endpoint::Place,
    evidence::{Evidence, Owner, OwnerSource, Source},
    observation::Said,
    period::Period,
    policy::{GracePolicy, Mode, Policy},
    wire::v1::{Batch, Record, Signed},
};
use std::path::Path;
use tokio_util::sync::CancellationToken;

pub(crate) fn day(n: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 86_400 * n).unwrap()
}

/// On a free port, in `data`, at day 0, in hard mode without a soft phase, with a log that counts.
pub(crate) fn config(data: &Path) -> Config {
    let mut config = Config { data: data.to_owned(), admin: ([127, 0, 0, 1], 0).into(), clock: Clock::manual(day(0)), ..Config::default() };
    config.notify.log.counts = true;
    config.judge_every = Period(std::time::Duration::from_millis(50));
    config.policy = Policy {
        mode: Mode::Hard,
        grace: GracePolicy { soft_phase: Period::days(0), ..GracePolicy::default() },
        agents: vec!["10.77.0.0/16".parse().unwrap()],
        ..Policy::default()
    };
    config
}

pub(crate) async fn run(config: &Config) -> (Running, CancellationToken) {
    let stop = CancellationToken::new();
    (start(config.clone(), stop.clone()).await.unwrap(), stop)
}

pub(crate) fn evidence(place: &str, source: Source, signature: &str, at: Timestamp) -> Said {
    let (endpoint, path) = place.split_once('/').unwrap();
    let place = Place::new(endpoint.parse().unwrap()).with_target(&format!("/{path}"));
    let mut evidence = Evidence::new(place, source, signature, at);
    evidence.facts.owner = Some(Owner { name: "ada".to_owned(), source: OwnerSource::ProcessUser });
    Said::Evidence(Box::new(evidence))
}

/// A server that answered a probe and its negative control, and was seen on the wire.
pub(crate) fn confirmed(place: &str, at: Timestamp) -> Vec<Said> {
    vec![
        evidence(place, Source::Probe, "probe.server.discover-result", at),
        evidence(place, Source::Probe, "probe.control.refused", at),
        evidence(place, Source::Wire, "wire.server.initialize-result", at),
    ]
}

pub(crate) fn batch(epoch: u64, first: u64, at: Timestamp, said: Vec<Said>) -> Batch {
    let records = (first..).zip(said).map(|(seq, said)| Record { seq, at, said }).collect();
    Batch { sensor: "s1".to_owned(), epoch, records }
}

pub(crate) fn payload(signed: &Signed) -> DecisionSet {
    use base64::{Engine, engine::general_purpose::STANDARD};
    serde_json::from_slice(&STANDARD.decode(&signed.payload).unwrap()).unwrap()
}

/// Waits for a decision set that `wanted` holds of.
pub(crate) async fn shown(handle: &Handle, wanted: impl Fn(&DecisionSet) -> bool) -> DecisionSet {
    let mut sets = handle.decisions();
    let found = sets.wait_for(|s| s.as_ref().is_some_and(|s| wanted(&payload(s))));
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), found).await.expect("no such set in 20 s").unwrap();
    payload(found.as_ref().unwrap())
}

/// The timer's turn, now.
pub(crate) async fn look(handle: &Handle) {
    let judged = handle.inner.writer.write(|tx| {
        tx.touched.tick = true;
        Ok(())
    });
    judged.await.unwrap();
}

pub(crate) async fn end(running: Running, stop: CancellationToken) {
    stop.cancel();
    running.wait().await.unwrap();
}

#[tokio::test]
async fn a_server_is_found_told_counted_and_after_the_grace_period_blocked_across_restarts() {
    use rules::decision::Action;
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    // Evidence stays fresh: only the clock is looked at here.
    config.policy.presence.gone_after = Period::days(400);
    let (running, stop) = run(&config).await;
    let ack = running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    assert_eq!((ack.epoch, ack.seq), (1, 3));
    let counted = shown(&running.handle(), |s| s.decisions.iter().any(|d| d.action == Action::Shadow)).await;
    end(running, stop).await;

    // Half an hour at a time, as time is lived through; the collector is restarted on the way.
    let mut generation = counted.generation;
    for restart in 1..=3 {
        let (running, stop) = run(&config).await;
        for _ in 0..11 * 48 {
            config.clock.advance(std::time::Duration::from_secs(1800));
            look(&running.handle()).await;
        }
        let blocked = |s: &DecisionSet| s.decisions.iter().any(|d| d.action == Action::Block);
        let set = if restart == 3 { shown(&running.handle(), blocked).await } else { shown(&running.handle(), |_| true).await };
        assert_eq!(blocked(&set), restart == 3, "restart {restart}");
        assert!(set.generation >= generation);
        generation = set.generation;
        end(running, stop).await;
    }
}

#[tokio::test]
async fn an_epoch_that_is_over_is_refused_and_a_replay_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (running, stop) = run(&config(data.path())).await;
    let handle = running.handle();
    let first = batch(7, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)));
    assert_eq!(handle.accept(first.clone()).await.unwrap().seq, 3);
    assert_eq!(handle.accept(first).await.unwrap().seq, 3);
    let over = handle.accept(batch(6, 1, day(0), Vec::new())).await.unwrap_err();
    assert_eq!(over, AcceptError::EpochOver { got: 6, current: 7 });
    let counts = handle.inner.writer.read(|state| {
        let site = &state.sites["default"];
        site.inventory.servers().flat_map(|s| s.testimonies.iter().map(|t| t.count)).collect::<Vec<_>>()
    });
    assert_eq!(counts.await.unwrap(), [1, 1, 1]);
    end(running, stop).await;
}

#[tokio::test]
async fn one_collector_per_data_directory() {
    let data = tempfile::tempdir().unwrap();
    let (running, stop) = run(&config(data.path())).await;
    let second = start(config(data.path()), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(second, Error::Running(_)), "{second}");
    end(running, stop).await;
}
