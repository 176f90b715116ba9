use super::*;
use crate::{
    finding::{FindingId, FindingKind},
    fleet::FleetCoverage,
    observation::{Applied, PointStatus},
    period::Period,
    policy::{FleetPolicy, Group},
};

const START: i64 = 1_800_000_000;

/// A site with so many points, and a clock in minutes.
struct Play {
    policy: Policy,
    points: Vec<Point>,
    wave: Option<Wave>,
    set: Option<DecisionSet>,
    minute: i64,
    held: Vec<WithheldBlock>,
}

impl Play {
    fn new(points: usize) -> Play {
        let mut play = Play { policy: Policy::default(), points: Vec::new(), wave: None, set: None, minute: 0, held: Vec::new() };
        for n in 0..points {
            let status = PointStatus { enforces: true, ..PointStatus::default() };
            let said =
                Applied { point: format!("p{n}"), generation: 0, outcome: Outcome::Applied, elements: 0, reason: String::new(), status };
            play.points.push(Point { name: format!("p{n}"), heard_at: play.now(), short_since: None, said });
        }
        play
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(START + 60 * self.minute).unwrap()
    }

    /// One look at a site that wants these blocks.
    fn look(&mut self, blocks: &[&str]) -> &mut Self {
        let now = self.now();
        let decision = |e: &&str| {
            let (endpoint, finding) = (e.parse().unwrap(), FindingId::derive(FindingKind::Shadow, e));
            (endpoint, Decision { endpoint, finding, action: Action::Block, reason: String::new(), since: now, at: vec![] })
        };
        let mut wanted: BTreeMap<Endpoint, Decision> = blocks.iter().map(decision).collect();
        let generation = self.set.as_ref().map_or(1, |s| s.generation + 1);
        self.held.clear();
        let fleet = Fleet { points: &self.points, wave: self.wave.as_ref() };
        let (wave, rollout) = pace(&mut wanted, self.set.as_ref(), (&fleet, &self.policy), (generation, now), &mut self.held);
        self.wave = wave;
        let decisions: Vec<Decision> = wanted.into_values().collect();
        let said = |s: &DecisionSet| (s.decisions.iter().map(|d| (d.endpoint, d.action)).collect::<Vec<_>>(), s.rollout.clone());
        let set = DecisionSet {
            site: "default".into(),
            generation,
            issued_at: now,
            not_after: Period::days(7).after(now),
            agents: vec![],
            protected: vec![],
            protected_endpoints: vec![],
            lease: Period::seconds(900),
            decisions,
            rollout,
        };
        if self.set.as_ref().map(said) != Some(said(&set)) {
            self.set = Some(set);
        }
        self
    }

    /// How many points make this block, by the set as each of them reads it.
    fn makers(&self, endpoint: &str) -> usize {
        let set = self.set.as_ref().unwrap();
        let makes = |p: &&Point| {
            let theirs = set.clone().at(&p.said.point, &BTreeSet::new());
            theirs.decisions.iter().any(|d| d.endpoint.to_string() == endpoint && d.action == Action::Block)
        };
        self.points.iter().filter(makes).count()
    }

    /// Every point says that it holds the newest set whole.
    fn all_hold(&mut self) -> &mut Self {
        let (now, set) = (self.now(), self.set.clone().unwrap());
        for p in &mut self.points {
            let desired = set.clone().at(&p.said.point, &BTreeSet::new()).decisions.len() as u64;
            p.heard_at = now;
            p.said.generation = set.generation;
            p.said.outcome = Outcome::Applied;
            p.said.status = PointStatus { in_force: set.generation, enforces: true, desired, enforced: desired, ..PointStatus::default() };
        }
        self
    }

    fn later(&mut self, minutes: i64) -> &mut Self {
        self.minute += minutes;
        for p in &mut self.points {
            p.heard_at = Timestamp::from_second(START + 60 * self.minute).unwrap();
        }
        self
    }

    fn maker(&self) -> String {
        self.wave.as_ref().unwrap().points.first().unwrap().clone()
    }

    fn point(&mut self, name: &str) -> &mut Point {
        self.points.iter_mut().find(|p| p.name == name).unwrap()
    }
}

const A: &str = "10.0.0.5:3001";
const B: &str = "10.0.0.6:3001";

#[test]
fn a_new_block_goes_to_one_percent_then_ten_then_all() {
    for (points, sizes) in [(1, [1, 1, 1]), (2, [1, 2, 2]), (3, [1, 2, 3]), (200, [2, 20, 200]), (1000, [10, 100, 1000])] {
        let mut play = Play::new(points);
        let seen = [0, 10, 10].map(|minutes| {
            play.later(minutes).look(&[A]);
            let makers = play.makers(A);
            play.all_hold();
            makers
        });
        assert_eq!(seen, sizes, "{points} points");
    }
}

#[test]
fn a_wave_waits_for_its_points_and_for_its_time() {
    let mut play = Play::new(100);
    play.look(&[A]).later(5).look(&[A]);
    assert_eq!(play.makers(A), 1, "nobody said anything yet");
    play.all_hold().look(&[A]);
    assert_eq!(play.makers(A), 1, "not watched for long enough");
    let canary = play.maker();
    play.later(5).point(&canary).said.status.on_trial = true;
    play.look(&[A]);
    assert_eq!(play.makers(A), 1, "its health checks are not answered");
    play.point(&canary).said.status.on_trial = false;
    play.look(&[A]);
    assert_eq!(play.makers(A), 10);
}

#[test]
fn the_first_word_of_trouble_stops_it_until_a_person_says_go() {
    type Trouble = fn(&mut Point);
    let troubles: [(&str, Trouble); 5] = [
        ("refused", |p| p.said.outcome = Outcome::Refused),
        ("failed", |p| p.said.outcome = Outcome::Failed),
        ("health", |p| p.said.status.held_back = Some("a health check failed".into())),
        ("0 of 1", |p| p.said.status.enforced = 0),
        ("person", |p| p.said.status.stopped = Some("wrong subnet".into())),
    ];
    for (word, trouble) in troubles {
        let mut play = Play::new(100);
        play.look(&[A]).all_hold();
        let canary = play.maker();
        trouble(play.later(10).point(&canary));
        play.look(&[A]);
        let why = play.wave.as_ref().unwrap().held.clone().unwrap_or_default();
        assert!(why.contains(&format!("`{canary}`")) && why.contains(word), "{word}: {why}");
        // That the point is well again later moves nothing by itself.
        play.all_hold().later(600).look(&[A]);
        assert_eq!(play.makers(A), 1, "{word}");
        play.wave.as_mut().unwrap().go();
        assert_eq!(play.look(&[A]).makers(A), 10, "{word}");
    }
}

#[test]
fn a_silent_point_is_trouble_and_a_persons_hold_holds() {
    let mut play = Play::new(100);
    play.look(&[A]).later(20).look(&[A]);
    assert!(play.wave.as_ref().unwrap().held.as_ref().unwrap().contains("did not say in time"));
    let mut play = Play::new(100);
    play.look(&[A]).all_hold();
    play.wave.as_mut().unwrap().hold("by eve: not today".into());
    assert_eq!(play.later(60).look(&[A]).makers(A), 1);
}

#[test]
fn a_lift_goes_to_all_at_once_and_what_is_new_meanwhile_waits() {
    let mut play = Play::new(100);
    play.look(&[A]).look(&[A, B]);
    assert_eq!((play.makers(A), play.makers(B), play.held.len()), (1, 0, 1));
    // A is lifted everywhere; then B begins its own wave.
    play.look(&[B]);
    assert_eq!((play.makers(A), play.makers(B)), (0, 1));
    assert!(play.set.as_ref().unwrap().decisions.iter().all(|d| d.endpoint.to_string() != A));
}

#[test]
fn what_was_settled_stays_at_all_points_while_a_wave_runs() {
    let mut play = Play::new(100);
    play.policy.fleet.waves = vec![];
    play.look(&[A]);
    assert_eq!(play.makers(A), 100, "without waves, all at once");
    play.policy.fleet.waves = vec![1, 10];
    play.look(&[A, B]);
    assert_eq!((play.makers(A), play.makers(B)), (100, 1));
}

#[test]
fn a_dry_run_is_no_point_of_a_wave_and_an_old_word_enforces_nothing() {
    let mut play = Play::new(4);
    play.points[0].said.status.enforces = false;
    play.look(&[A]).all_hold();
    play.points[0].said.status.enforces = false;
    assert!(!play.wave.as_ref().unwrap().points.contains("p0"));
    play.points[1].heard_at = Period::seconds(301).before(play.now());
    let fleet = Fleet { points: &play.points, wave: None };
    assert_eq!(fleet.coverage(&play.policy, play.now()), FleetCoverage { enforced: 2, desired: 3, points: 3, heard: 2 });
}

#[test]
fn a_group_keeps_a_block_to_its_points() {
    let group = Group { servers: vec!["10.0.0.0/24".parse().unwrap()], kinds: vec![], points: vec!["dc1".into()] };
    let policy = Policy { fleet: FleetPolicy { groups: vec![group], ..FleetPolicy::default() }, ..Policy::default() };
    let at = policy.points_for(A.parse().unwrap(), FindingKind::Shadow);
    assert_eq!(at, ["dc1"]);
    assert!(policy.points_for("10.0.1.5:1".parse().unwrap(), FindingKind::Shadow).is_empty());
    let mut play = Play::new(1);
    play.look(&[A, B]);
    let mut set = play.set.unwrap();
    set.decisions[0].at = at;
    let seen = |point: &str, labels: &[&str]| set.clone().at(point, &labels.iter().map(|l| (*l).to_owned()).collect()).decisions.len();
    assert_eq!((seen("x", &["dc1", "dc2"]), seen("dc1", &[]), seen("x", &["dc2"]), seen("x", &[])), (2, 2, 1, 1));
}
