//! New blocks on their way through the enforcement points, and points that do not hold what they should.

use super::{batch, config, confirmed, day, end, look, payload, run};
use crate::{Config, Handle, journal::Verb};
use rules::{
    decision::{Action, DecisionSet},
    finding::FindingKind,
    observation::{Act, Applied, Outcome, PointStatus, Said},
    period::Period,
    wire::v1::Batch,
};
use std::{collections::BTreeSet, time::Duration};

const POINTS: [&str; 3] = ["p0", "p1", "p2"];

struct Site<'a> {
    handle: Handle,
    config: &'a Config,
    seq: u64,
}

impl Site<'_> {
    fn set(&self) -> DecisionSet {
        payload(self.handle.decisions().borrow().as_ref().unwrap())
    }

    fn wave(&self) -> usize {
        self.set().rollout.map_or(POINTS.len(), |r| r.points.len())
    }

    /// A word of one point about the newest set, as it is there.
    async fn say(&mut self, point: &str, change: impl FnOnce(&mut Applied)) {
        let set = self.set();
        let here = set.clone().at(point, &BTreeSet::new());
        let desired = here.decisions.iter().filter(|d| d.action == Action::Block).count() as u64;
        let status = PointStatus { in_force: set.generation, enforces: true, desired, enforced: desired, ..PointStatus::default() };
        let mut said = Applied {
            point: point.to_owned(),
            generation: set.generation,
            outcome: Outcome::Applied,
            elements: desired,
            reason: String::new(),
            status,
        };
        change(&mut said);
        self.seq += 1;
        let now = self.config.clock.now();
        let batch = Batch { sensor: point.to_owned(), ..batch(1, self.seq, now, vec![Said::Applied(said)]) };
        self.handle.accept(batch).await.unwrap();
    }

    async fn all_say(&mut self) {
        for point in POINTS {
            self.say(point, |_| {}).await;
        }
    }

    async fn later(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.config.clock.advance(Duration::from_secs(60));
            look(&self.handle).await;
        }
    }

    async fn open(&self, kind: FindingKind) -> Vec<String> {
        let reasons = self.handle.inner.writer.read(move |image| {
            let matters = image.sites["default"].matters.values();
            let open = matters.filter(|m| m.finding.kind == kind && m.case.end.closed_at.is_none());
            open.flat_map(|m| m.finding.reasons.clone()).collect()
        });
        reasons.await.unwrap()
    }

    async fn journalled(&self, verb: Verb) -> Vec<String> {
        let rows = self.handle.inner.reader.ask(|read| read.journal_after(0, None, 100_000)).await.unwrap().unwrap();
        rows.into_iter().filter(|row| row.verb == verb).map(|row| row.reason).collect()
    }
}

#[tokio::test]
async fn a_block_reaches_the_points_in_waves_stops_at_trouble_and_goes_on_at_a_persons_word() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.policy.grace.period = Period::seconds(120);
    let (running, stop) = run(&config).await;
    let mut site = Site { handle: running.handle(), config: &config, seq: 0 };
    look(&site.handle).await;
    site.all_say().await;
    site.handle.accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    for _ in 0..30 {
        site.later(1).await;
        site.all_say().await;
        if site.set().rollout.is_some() {
            break;
        }
    }
    assert_eq!(site.wave(), 1, "{:?}", site.set());
    let first = site.set().rollout.unwrap().points.first().unwrap().clone();

    // A failed gate at the first point: nobody else makes the block, however long it is waited.
    let broken = |said: &mut Applied| {
        (said.outcome, said.reason) = (Outcome::Failed, "a health check failed: the collector".to_owned());
        said.status.enforced = 0;
    };
    site.say(&first, broken).await;
    for _ in 0..6 {
        site.later(5).await;
        for point in POINTS.iter().filter(|p| **p != first) {
            site.say(point, |_| {}).await;
        }
        site.say(&first, broken).await;
    }
    assert_eq!(site.wave(), 1);
    assert!(site.journalled(Verb::Wave).await.iter().any(|r| r.contains("stands still") && r.contains(&first)));
    let reasons = site.open(FindingKind::Unenforced).await;
    assert!(reasons.iter().any(|r| r.contains("holds 0 of 1 blocks")), "{reasons:?}");

    let go = site.handle.inner.writer.write(|tx| {
        let site = tx.image.sites.get_mut("default").unwrap();
        site.change(tx.records, "default", |kept| kept.wave.as_mut().unwrap().go())?;
        tx.touched.tick = true;
        Ok(())
    });
    go.await.unwrap();
    look(&site.handle).await;
    assert_eq!(site.wave(), 2);
    site.all_say().await;
    site.later(1).await;
    assert_eq!(site.open(FindingKind::Unenforced).await, Vec::<String>::new(), "all is enforced again");
    for _ in 0..3 {
        site.later(4).await;
        site.all_say().await;
    }
    site.later(1).await;
    assert!(site.set().rollout.is_none(), "{:?}", site.set().rollout);
    assert_eq!(site.set().decisions.iter().filter(|d| d.action == Action::Block).count(), 1);

    // A point that falls silent enforces nothing, and is a finding.
    for _ in 0..3 {
        site.later(5).await;
        site.say("p0", |_| {}).await;
        site.say("p1", |_| {}).await;
    }
    let reasons = site.open(FindingKind::Unenforced).await;
    assert!(reasons.len() == 1 && reasons[0].contains("`p2`"), "{reasons:?}");
    end(running, stop).await;
}

#[tokio::test]
async fn what_a_person_did_at_a_point_offline_is_journalled_once() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let mut site = Site { handle: running.handle(), config: &config, seq: 0 };
    look(&site.handle).await;
    let acts = vec![
        Act { at: day(-1), what: "stopped enforcement: wrong subnet, by ada".to_owned() },
        Act { at: day(0), what: "resumed enforcement".to_owned() },
    ];
    for _ in 0..2 {
        site.say("p0", |a| a.status.acts = acts.clone()).await;
    }
    assert_eq!(site.journalled(Verb::PersonActed).await, ["stopped enforcement: wrong subnet, by ada", "resumed enforcement"]);
    end(running, stop).await;
}
