use super::*;
use crate::{
    endpoint::Place,
    evidence::{Owner, OwnerSource},
    finding::{FindingId, FindingKind, Severity},
    policy::GracePolicy,
};
use expect_test::{Expect, expect};

/// A case, its circumstances, and what happened so far as lines: `day 12: notified -> reminded (…)`.
struct World {
    policy: Policy,
    finding: Option<Finding>,
    closure: Closure,
    veto: Option<&'static str>,
    hold: Option<&'static str>,
    sightings: u64,
    watched: bool,
    missed: bool,
    /// Whether the server goes on being seen.
    alive: bool,
    case: Case,
    now: Timestamp,
    log: String,
}

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn world() -> World {
    let agents = vec!["10.0.9.0/24".parse().unwrap()];
    World {
        policy: Policy {
            mode: Mode::Hard,
            agents,
            grace: GracePolicy { hard_from: Some(START), ..GracePolicy::default() },
            ..Policy::default()
        },
        finding: Some(finding()),
        closure: Closure::NotDetected,
        veto: None,
        hold: None,
        sightings: 0,
        watched: true,
        missed: false,
        alive: true,
        case: Case::open(START),
        now: START,
        log: String::new(),
    }
}

fn finding() -> Finding {
    Finding {
        id: FindingId::derive(FindingKind::Shadow, "x"),
        kind: FindingKind::Shadow,
        severity: Severity::High,
        site: "default".into(),
        place: Some(Place::new("10.0.0.5:3001".parse().unwrap())),
        slug: None,
        owner: Some(Owner { name: "eve".into(), source: OwnerSource::ProcessUser }),
        reasons: vec!["answers as an MCP server and is not registered".into()],
        corroborated: true,
        sensors: 1,
        shared_with: Vec::new(),
        last_seen: START,
    }
}

impl World {
    /// One step at the present moment, and a second one that must find nothing to do.
    fn look(&mut self) -> &mut World {
        if let Some(finding) = self.finding.as_mut().filter(|_| self.alive) {
            finding.last_seen = self.now;
            self.sightings = self.now.as_second().unsigned_abs();
        }
        let c = Circumstances {
            policy: &self.policy,
            soft_phase_start: START,
            finding: self.finding.as_ref(),
            closure: self.closure,
            veto: self.veto,
            hold: self.hold,
            sightings: self.sightings,
            watched: self.watched,
            missed: self.missed,
            identity: None,
        };
        let (case, effects) = step(&self.case, self.now, &c);
        assert_eq!(step(&case, self.now, &c), (case.clone(), Vec::new()), "a second look changes nothing");
        self.case = case;
        let day = self.now.duration_since(START).as_secs() as f64 / 86_400.0;
        for effect in effects {
            let line = match effect {
                Effect::Moved { from, to, reason } => format!("{} -> {} ({reason})", from.as_str(), to.as_str()),
                Effect::Tell { to, message, .. } => format!("tell {to:?}: {message:?}"),
            };
            self.log.push_str(&format!("day {day:.1}: {line}\n"));
        }
        self
    }

    /// Lives through so many days, looking every half hour.
    fn days(&mut self, n: u64) -> &mut World {
        for _ in 0..n * 48 {
            self.now = Period::seconds(1800).after(self.now);
            self.look();
        }
        self
    }

    fn deliver(&mut self) -> &mut World {
        assert!(self.case.delivered(self.now));
        self
    }

    fn told(&mut self, what: &Expect) {
        what.assert_eq(&std::mem::take(&mut self.log));
    }
}

#[test]
fn the_whole_ladder() {
    world().look().deliver().days(31).told(&expect![[r#"
        day 0.0: tell Owner: Notice
        day 0.0: open -> notified (a notice was delivered)
        day 16.0: notified -> reminded (a reminder fell due)
        day 16.0: tell Owner: Reminder(Period(1209600s))
        day 23.0: tell Owner: Reminder(Period(604800s))
        day 29.0: tell Owner: Reminder(Period(86400s))
        day 30.0: reminded -> due (the grace period is over)
        day 30.0: due -> blocked (due, corroborated, and the site is in hard mode)
        day 30.0: tell Owner: Blocked
    "#]]);
}

#[test]
fn without_proof_of_delivery_no_clock_runs_and_the_security_queue_is_told() {
    let mut w = world();
    w.look().days(60).told(&expect![[r#"
        day 0.0: tell Owner: Notice
        day 3.0: open -> open (no notice reached the owner: the security queue is told as well)
        day 3.0: tell SecurityQueue: Notice
    "#]]);
    assert_eq!(w.case.block_at(&w.policy, START), None);
}

#[test]
fn an_owner_nobody_knows_or_that_only_the_network_named_is_the_security_queues() {
    let mut w = world();
    w.finding.as_mut().unwrap().owner = Some(Owner { name: "dns.corp".into(), source: OwnerSource::ReverseDns });
    w.look().told(&expect![[r#"
        day 0.0: tell SecurityQueue: Notice
    "#]]);
    w.finding.as_mut().unwrap().owner = None;
    w.look().told(&expect![""]);
}

#[test]
fn the_soft_phase_holds_the_block() {
    let mut w = world();
    w.policy.grace.hard_from = None;
    w.look().deliver().days(89).told(&expect![[r#"
        day 0.0: tell Owner: Notice
        day 0.0: open -> notified (a notice was delivered)
        day 76.0: notified -> reminded (a reminder fell due)
        day 76.0: tell Owner: Reminder(Period(1209600s))
        day 83.0: tell Owner: Reminder(Period(604800s))
        day 89.0: tell Owner: Reminder(Period(86400s))
    "#]]);
    w.days(1).told(&expect![[r#"
        day 90.0: reminded -> due (the grace period is over)
        day 90.0: due -> blocked (due, corroborated, and the site is in hard mode)
        day 90.0: tell Owner: Blocked
    "#]]);
}

#[test]
fn what_keeps_a_due_finding_from_being_blocked() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 7] = [
        ("soft mode", |w| w.policy.mode = Mode::Soft),
        ("one witness", |w| w.finding.as_mut().unwrap().corroborated = false),
        ("shared", |w| w.finding.as_mut().unwrap().shared_with = vec!["/other".into()]),
        ("no agents", |w| w.policy.agents.clear()),
        ("protected", |w| w.policy.protected = vec!["10.0.0.0/24".parse().unwrap()]),
        ("loopback", |w| w.finding.as_mut().unwrap().place = Some(Place::new("127.0.0.1:3001".parse().unwrap()))),
        ("veto", |w| w.veto = Some("the gateway answers there")),
    ];
    for (name, change) in changes {
        let mut w = world();
        change(&mut w);
        w.look().deliver().days(60);
        assert_eq!(w.case.escalation, Escalation::Due, "{name}");
    }
    let mut held = world();
    held.hold = Some("too many at once");
    held.look().deliver().days(60);
    assert_eq!(held.case.escalation, Escalation::Due);
    held.hold = None;
    assert_eq!(held.look().case.escalation, Escalation::Blocked);
}

#[test]
fn a_block_is_lifted_when_its_ground_falls_away() {
    let mut w = world();
    w.look().deliver().days(31);
    w.log.clear();
    w.finding.as_mut().unwrap().shared_with = vec!["api.corp.example".into()];
    w.look().told(&expect![[r#"
        day 31.0: blocked -> due (other names or paths answer at the same address and port)
        day 31.0: tell Owner: Released
    "#]]);
    w.finding = Some(finding());
    w.look();
    w.log.clear();
    w.policy.mode = Mode::Observe;
    w.look().told(&expect![[r#"
        day 31.0: blocked -> due (the site is in observe mode)
        day 31.0: tell Owner: Released
    "#]]);
}

#[test]
fn a_policy_with_more_patience_takes_a_block_back() {
    let mut w = world();
    w.look().deliver().days(31);
    w.log.clear();
    w.policy.grace.period = Period::days(60);
    w.look().days(20).told(&expect![[r#"
        day 31.0: blocked -> due (the deadline moved)
        day 31.0: tell Owner: Released
        day 31.0: due -> notified (the deadline moved)
        day 46.0: notified -> reminded (a reminder fell due)
        day 46.0: tell Owner: Reminder(Period(1209600s))
    "#]]);
}

#[test]
fn registration_closes_and_what_comes_back_has_a_new_clock() {
    let mut w = world();
    w.look().deliver().days(31);
    w.log.clear();
    w.closure = Closure::Registered;
    let finding = w.finding.take();
    w.look().days(2);
    w.finding = finding;
    w.look().told(&expect![[r#"
        day 31.0: blocked -> closed (registered)
        day 31.0: tell Owner: Released
        day 33.0: closed -> open (found again)
        day 33.0: tell Owner: Notice
    "#]]);
    assert_eq!(w.case.notified_at, None);
}

#[test]
fn an_exemption_releases_and_its_end_starts_a_new_clock() {
    let mut w = world();
    w.look().deliver().days(31);
    w.log.clear();
    let until = Period::days(20).after(w.now);
    w.case.exempt(exemption("ann", "bob", until), &w.policy, w.now).unwrap();
    w.look().days(19).told(&expect![[r#"
        day 31.0: blocked -> due (exempted)
        day 31.0: tell Owner: Released
    "#]]);
    w.days(1).told(&expect![[r#"
        day 51.0: due -> open (the exemption ended)
        day 51.0: tell Owner: Notice
    "#]]);
}

fn exemption(by: &str, approved: &str, until: Timestamp) -> Exemption {
    Exemption { requested_by: by.into(), approved_by: approved.into(), reason: "a demo on friday".into(), until }
}

#[test]
fn an_exemption_needs_a_reason_an_end_and_somebody_else() {
    let w = world();
    let soon = Period::days(5).after(w.now);
    let refused = |e: Exemption| w.case.clone().exempt(e, &w.policy, w.now).unwrap_err().to_string();
    expect!["an exemption is approved by somebody else than ann, who asked for it"].assert_eq(&refused(exemption("ann", " ANN ", soon)));
    expect!["`reason` must not be empty"].assert_eq(&refused(Exemption { reason: "  ".into(), ..exemption("ann", "bob", soon) }));
    expect!["1970-01-01T00:00:00Z is not in the future"].assert_eq(&refused(exemption("ann", "bob", w.now)));
    expect!["until 9999-12-30T22:00:00.999999999Z is longer than this site allows: at most 180d, that is until 1970-06-30T00:00:00Z"]
        .assert_eq(&refused(exemption("ann", "bob", Timestamp::MAX)));
}

#[test]
fn a_snooze_silences_reminders_for_a_while_and_never_past_the_block() {
    let mut w = world();
    w.look().deliver().days(10);
    w.log.clear();
    let until = |w: &World, days| Period::days(days).after(w.now);
    let too_long = w.case.snooze(until(&w, 15), &w.policy, START, w.now).unwrap_err();
    expect!["until 1970-01-26T00:00:00Z is longer than this site allows: at most 14d, that is until 1970-01-25T00:00:00Z"]
        .assert_eq(&too_long.to_string());
    w.case.snooze(until(&w, 10), &w.policy, START, w.now).unwrap();
    w.days(9).told(&expect![""]);
    w.days(2).told(&expect![[r#"
        day 20.0: notified -> reminded (a reminder fell due)
        day 20.0: tell Owner: Reminder(Period(1209600s))
    "#]]);
    let past = w.case.snooze(until(&w, 12), &w.policy, START, w.now).unwrap_err();
    expect!["a snooze silences the reminders, so it must end before the block falls due at 1970-01-31T00:00:00Z"]
        .assert_eq(&past.to_string());
}

#[test]
fn no_jump_of_the_clock_and_no_outage_brings_a_block_nearer() {
    let mut w = world();
    w.look().deliver().days(10);
    let before = w.case.waited;
    for jump in [60, -80, 400, -370] {
        let by = jiff::SignedDuration::from_hours(jump * 24);
        w.now = w.now.checked_add(by).unwrap_or(START);
        w.look();
    }
    assert!(w.case.waited >= before && w.case.waited <= Period(before.0 + 2 * Case::WATCH));
    assert_eq!(w.case.escalation, Escalation::Notified);
    w.days(19);
    assert_eq!(w.case.escalation, Escalation::Reminded);
    w.days(2);
    assert_eq!(w.case.escalation, Escalation::Blocked);
}

#[test]
fn in_observe_mode_nobody_is_told_and_no_clock_runs() {
    let mut w = world();
    w.policy.mode = Mode::Observe;
    w.look().days(40).told(&expect![""]);
    w.policy.mode = Mode::Hard;
    w.look().deliver().days(5);
    w.policy.mode = Mode::Observe;
    let waited = w.look().case.waited;
    assert_eq!(w.days(40).case.waited, waited);
}

#[test]
fn a_grace_shorter_than_a_reminder_sends_no_reminder_from_before_it_began() {
    let mut w = world();
    w.policy.grace.period = Period::days(10);
    w.look().deliver().days(11).told(&expect![[r#"
        day 0.0: tell Owner: Notice
        day 0.0: open -> notified (a notice was delivered)
        day 3.0: notified -> reminded (a reminder fell due)
        day 3.0: tell Owner: Reminder(Period(604800s))
        day 9.0: tell Owner: Reminder(Period(86400s))
        day 10.0: reminded -> due (the grace period is over)
        day 10.0: due -> blocked (due, corroborated, and the site is in hard mode)
        day 10.0: tell Owner: Blocked
    "#]]);
}

#[test]
fn a_finding_that_never_ends_in_a_block_ends_at_the_notice() {
    let mut w = world();
    w.finding.as_mut().unwrap().kind = FindingKind::Exposed;
    w.look().deliver().days(60).told(&expect![[r#"
        day 0.0: tell Owner: Notice
        day 0.0: open -> notified (a notice was delivered)
    "#]]);
}

#[test]
fn a_case_survives_being_written_down_at_any_moment() {
    let mut w = world();
    w.look().deliver();
    for _ in 0..40 {
        let written = serde_json::to_string(&w.case).unwrap();
        w.case = serde_json::from_str(&written).unwrap();
        w.days(1);
    }
    assert_eq!(w.case.escalation, Escalation::Blocked);
}

#[test]
fn where_it_stands_says_what_it_waits_for() {
    let mut w = world();
    w.policy.grace.hard_from = None;
    let stands = |w: &World| status(&w.case, &finding(), &w.policy, START, w.now);
    let mut said = vec![stands(w.look())];
    said.push(stands(w.deliver().days(1)));
    w.policy.mode = Mode::Soft;
    said.push(stands(w.look()));
    said.push(stands(w.days(100)));
    w.policy.mode = Mode::Hard;
    said.push(stands(&w));
    said.push(stands(w.look()));
    expect![[r#"
        waiting for proof that a notice reached the owner: until then no clock runs
        to be blocked at 1970-04-01T00:00:00Z
        due at 1970-04-01T00:00:00Z; as things stand no block will follow: the site is not in hard mode
        due, and not blocked: the site is not in hard mode
        due, and not blocked: the site is not in hard mode
        blocked since 1970-04-12T00:00:00Z"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn what_is_not_worth_storing_loses_no_time() {
    let (mut live, mut lazy) = (world(), world());
    live.look().deliver();
    lazy.look().deliver();
    let mut writes = 0;
    for minute in 1..=44_000_u64 {
        live.now = Period::seconds(minute * 60).after(START);
        live.look();
        let stored = lazy.case.clone();
        lazy.now = live.now;
        if lazy.look().case.worth_storing(&stored) {
            writes += 1;
        } else {
            lazy.case = stored;
        }
    }
    assert_eq!(live.log, lazy.log);
    assert!((2900..3000).contains(&writes), "{writes} writes in 44000 looks");
}

#[test]
fn silence_closes_what_somebody_listened_to() {
    let mut w = world();
    w.look().deliver().days(1);
    w.log.clear();
    w.alive = false;
    w.days(13).told(&expect![""]);
    w.days(1).told(&expect![[r#"
        day 15.0: notified -> closed (nothing answers there any more)
        day 15.0: tell Owner: Released
    "#]]);
}

#[test]
fn before_a_deaf_sensor_silence_says_nothing_and_an_outage_is_no_silence() {
    let mut w = world();
    w.look().deliver().days(1);
    (w.alive, w.watched) = (false, false);
    w.days(20);
    assert_eq!(w.case.escalation, Escalation::Reminded);
    w.watched = true;
    w.now = Period::days(40).after(w.now);
    w.look();
    assert_eq!(w.case.escalation, Escalation::Reminded);
}

#[test]
fn a_probe_that_found_nothing_shortens_the_silence_but_a_restart_is_no_departure() {
    let mut w = world();
    w.look().deliver().days(1);
    (w.alive, w.missed) = (false, true);
    w.look();
    assert_eq!(w.case.escalation, Escalation::Notified);
    w.days(1);
    assert_eq!(w.case.end.closed, Some(Closure::Gone));
}

#[test]
fn an_owner_who_becomes_known_late_is_told_with_the_clock_that_runs() {
    let mut w = world();
    let owner = w.finding.as_mut().unwrap().owner.take();
    w.look().deliver().days(1);
    w.log.clear();
    w.finding.as_mut().unwrap().owner = owner;
    w.days(1).told(&expect![[r#"
        day 1.0: tell Owner: Notice
    "#]]);
    assert_eq!(w.case.block_at(&w.policy, START), Some(Period::days(30).after(START)));
}

#[test]
fn where_two_sensors_are_wanted_one_with_all_witnesses_never_blocks() {
    let mut policy = world().policy;
    let mut one = finding();
    assert_eq!(objection(&one, &policy), None);
    policy.blocking.corroboration = Corroboration::Sensor;
    assert!(objection(&one, &policy).is_some_and(|why| why.contains("second sensor")));
    one.sensors = 2;
    assert_eq!(objection(&one, &policy), None);
}

/// Found by the wire alone, it was silent because of the block, "gone" after fourteen days, and had another thirty when it spoke again.
#[test]
fn silence_under_a_block_is_no_departure_until_the_block_is_gone_too() {
    let mut w = world();
    w.look().deliver().days(31);
    assert_eq!(w.case.escalation, Escalation::Blocked);
    w.alive = false;
    w.log.clear();
    w.days(20).told(&expect![[r#"
        day 45.0: blocked -> due (it was not seen lately, so nobody can say that it is still there)
        day 45.0: tell Owner: Released
    "#]]);
    w.alive = true;
    w.look().told(&expect![[r#"
        day 51.0: due -> blocked (due, corroborated, and the site is in hard mode)
        day 51.0: tell Owner: Blocked
    "#]]);
    let blocked = w.case.clone();
    w.alive = false;
    w.days(29);
    assert_eq!(w.case.end.closed, Some(Closure::Gone));
    w.case = blocked;
    (w.alive, w.missed) = (false, true);
    w.days(2);
    assert_eq!(w.case.end.closed, Some(Closure::Gone));
}

/// Cases as an earlier release stored them.
const STORED: [&str; 2] = [
    r#"{"rung":"blocked","opened_at":"1970-01-01T00:00:00Z","asked":{"owner":"1970-01-01T00:00:01Z"},"notified_at":"1970-01-01T00:00:02Z","waited":"30d","seen":7,"unseen":"1h","why_not":null,"reminded":["7d"],"blocked_at":"1970-01-31T00:00:00Z","hushed":true,"identity":"files","replaced":true,"contested":true,"closed":null,"closed_at":null,"exemption":null,"snoozed_until":null,"judged_at":"1970-01-31T00:00:00Z"}"#,
    r#"{"rung":"closed","opened_at":"1970-01-01T00:00:00Z","asked":{},"notified_at":null,"waited":"0s","seen":0,"unseen":"0s","why_not":null,"reminded":[],"blocked_at":null,"closed":"gone","closed_at":"1970-01-02T00:00:00Z","exemption":null,"snoozed_until":null,"judged_at":"1970-01-02T00:00:00Z"}"#,
];

#[test]
fn stored_cases_are_read_and_written_as_they_were() {
    let [blocked, closed] = STORED.map(|text| {
        let case: Case = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&case).unwrap(), text);
        case
    });
    assert_eq!((blocked.presence.seen, blocked.occupant.identity.as_deref()), (7, Some("files")));
    assert_eq!((closed.end.closed, closed.occupant), (Some(Closure::Gone), Occupant::default()));
}
