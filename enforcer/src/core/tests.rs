use super::*;
use crate::fixtures::{set, signed, t0};
use crate::{
    health::Health,
    netlink::Commit,
    point::{Enacted, Error},
};
use expect_test::{Expect, expect};
use rules::{Timestamp, period::Period};

/// A core with a clock that the test moves, and a transcript of what it did.
struct Play {
    core: Core,
    begin: Instant,
    at: Duration,
    said: String,
}

impl Play {
    fn new(mode: Mode) -> Play {
        Play { core: Core::new("p", mode), begin: Instant::now(), at: Duration::ZERO, said: String::new() }
    }

    fn event(&mut self, event: Event) -> &mut Self {
        let now = Now { mono: self.begin + self.at, wall: t0() + self.at, slept: Duration::ZERO };
        for effect in self.core.handle(event, now) {
            let line = match effect {
                Effect::Keep(generation, _) => format!("keep {generation}"),
                Effect::Adopt(set) => format!("adopt {}", set.generation),
                Effect::Uphold(set, cause) => format!("uphold {} {cause:?}", set.generation),
                Effect::Rehearse(set) => format!("rehearse {}", set.generation),
                Effect::RollBack => "roll back".to_owned(),
                Effect::Inspect(set, actor) => format!("inspect {} {actor:?}", set.generation),
                Effect::Pass(set) => format!("pass {}", set.generation),
                Effect::Open(generation) => format!("open {generation}"),
                Effect::Withdraw(set, why) => format!("withdraw {}: {why}", set.generation),
                Effect::Report(a) => format!("report {:?} {} {}", a.outcome, a.generation, a.reason),
            };
            self.said += &format!("{} s: {line}\n", self.at.as_secs());
        }
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        for _ in 0..seconds {
            self.at += Duration::from_secs(1);
            self.event(Event::Tick);
        }
        self
    }

    fn arrives(&mut self, generation: u64) -> &mut Self {
        self.event(Event::Set(Ok(candidate(generation))))
    }

    fn holds(&mut self, generation: u64, state: PointState) -> &mut Self {
        let state = PointState { current: Some(generation), highest: generation, ..state };
        self.event(Event::State(state, Some(candidate(generation).set)))
    }

    fn done(&mut self, generation: u64, cause: Cause, drifted: bool) -> &mut Self {
        let enacted = Enacted {
            elements: 1,
            withheld: vec![],
            new: 0,
            held_back: false,
            unknown: vec![],
            drifted,
            renew_in: Duration::from_secs(300),
        };
        self.event(Event::Enacted { generation, cause, result: Ok(enacted), kernel: Some(10) })
    }

    fn fails(&mut self, generation: u64, cause: Cause, why: Error) -> &mut Self {
        self.event(Event::Enacted { generation, cause, result: Err(why), kernel: Some(10) })
    }

    fn foreign(&mut self, generation: u32) -> &mut Self {
        self.event(Event::Commit(Some(Commit { generation, actor: "nft (pid 9)".into(), ours: true })))
    }

    fn expect(&self, expected: Expect) {
        expected.assert_eq(&self.said);
    }
}

fn candidate(generation: u64) -> Candidate {
    let set = set(generation, &["10.0.0.5:3001"]);
    Candidate { signed: Arc::new(signed(&set)), set: Arc::new(set) }
}

#[test]
fn a_set_is_kept_adopted_and_renewed_at_a_third_of_its_lease() {
    let mut play = Play::new(Mode::Enforce);
    play.event(Event::State(PointState::default(), None)).arrives(1).done(1, Cause::New, true).holds(1, PointState::default());
    play.done(1, Cause::Look { actor: String::new() }, false).wait(300);
    play.done(1, Cause::Renewal, true).wait(299);
    play.expect(expect![[r#"
        0 s: keep 1
        0 s: adopt 1
        0 s: report Applied 1 
        0 s: uphold 1 Look { actor: "" }
        300 s: uphold 1 Renewal
    "#]]);
}

#[test]
fn dry_run_rehearses_and_leaves_what_a_person_confirmed_alive() {
    let mut play = Play::new(Mode::DryRun);
    play.holds(1, PointState::default()).done(1, Cause::Start, true).arrives(2).wait(300);
    play.expect(expect![[r#"
        0 s: uphold 1 Start
        0 s: report Applied 1 
        0 s: keep 2
        0 s: rehearse 2
        300 s: uphold 1 Renewal
    "#]]);
}

#[test]
fn what_may_pass_is_tried_again_and_said_once() {
    let mut play = Play::new(Mode::Enforce);
    play.event(Event::State(PointState::default(), None)).arrives(1);
    for _ in 0..3 {
        play.core.try_again(candidate(1).set, Now { mono: play.begin + play.at, wall: t0(), slept: Duration::ZERO });
        play.fails(1, Cause::New, Error::Unavailable("no nft".into())).wait(5);
    }
    play.expect(expect![[r#"
        0 s: keep 1
        0 s: adopt 1
        0 s: report Failed 1 enforcement is unavailable on this host: no nft
        5 s: adopt 1
        10 s: adopt 1
        15 s: adopt 1
    "#]]);
}

/// As on a full disk: the new set cannot be written down, and the old one is to be renewed all the same.
#[test]
fn a_new_set_that_fails_again_and_again_puts_off_no_renewal() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true).wait(290).arrives(2);
    play.core.try_again(candidate(2).set, Now { mono: play.begin + play.at, wall: t0(), slept: Duration::ZERO });
    let mut renewed = false;
    for _ in 0..20 {
        let full = || Error::State(crate::state::Error::Locked { path: "/".into() });
        play.said.clear();
        play.wait(1);
        if play.said.contains("adopt 2") {
            play.core.try_again(candidate(2).set, Now { mono: play.begin + play.at, wall: t0(), slept: Duration::ZERO });
            play.fails(2, Cause::New, full());
        }
        renewed |= play.said.contains("uphold 1 Renewal");
    }
    assert!(renewed);
}

#[test]
fn drift_is_mended_until_it_is_a_fight() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    // Of our own, and of others about others: nothing.
    play.foreign(10).event(Event::Commit(Some(Commit { generation: 11, actor: "dockerd (pid 1)".into(), ours: false }))).foreign(11);
    for generation in 12..17 {
        play.wait(1).foreign(generation).done(1, Cause::Look { actor: "nft (pid 9)".into() }, true);
    }
    play.foreign(20).wait(600);
    play.expect(expect![[r#"
        0 s: uphold 1 Start
        0 s: report Applied 1 
        1 s: uphold 1 Look { actor: "nft (pid 9)" }
        1 s: report Applied 1 restored after nft (pid 9) changed table inet gnomon
        2 s: uphold 1 Look { actor: "nft (pid 9)" }
        2 s: report Applied 1 restored after nft (pid 9) changed table inet gnomon
        3 s: uphold 1 Look { actor: "nft (pid 9)" }
        3 s: report Applied 1 restored after nft (pid 9) changed table inet gnomon
        4 s: uphold 1 Look { actor: "nft (pid 9)" }
        4 s: report Applied 1 restored after nft (pid 9) changed table inet gnomon
        5 s: uphold 1 Look { actor: "nft (pid 9)" }
        5 s: report Applied 1 restored after nft (pid 9) changed table inet gnomon
        5 s: report Failed 1 table inet gnomon was changed 5 times within 10 minutes, last by nft (pid 9): no more repairs for 10 minutes; find out who it is
        605 s: uphold 1 Look { actor: "" }
    "#]]);
}

#[test]
fn missed_events_make_it_look() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true).event(Event::Commit(None));
    play.expect(expect![[r#"
        0 s: uphold 1 Start
        0 s: report Applied 1 
        0 s: uphold 1 Look { actor: "" }
    "#]]);
}

#[test]
fn an_unconfirmed_trial_is_rolled_back_and_nothing_newer_comes_in_between() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(2, PointState { confirm_by: Some(t0() + Duration::from_secs(10)), previous: Some(1), ..PointState::default() });
    play.arrives(3).wait(10);
    play.event(Event::RolledBack { from: 2, result: Err(Error::Unavailable("no nft".into())) }).wait(6);
    play.event(Event::RolledBack { from: 2, result: Ok(1) });
    play.holds(1, PointState { highest: 2, rolled_back: Some(2), ..PointState::default() }).arrives(2).wait(6);
    play.expect(expect![[r#"
        0 s: keep 3
        0 s: report Refused 3 a trial is running on this host until 2026-11-21T00:00:10Z
        10 s: roll back
        10 s: report Failed 2 generation 2 was not confirmed and could not be rolled back (its blocks lapse): enforcement is unavailable on this host: no nft
        15 s: roll back
        16 s: roll back
        16 s: report RolledBack 1 generation 2 was not confirmed in time
        16 s: uphold 1 Look { actor: "" }
        16 s: keep 2
        16 s: report Refused 2 generation 2 was rolled back on this host; the next one will be applied
    "#]]);
}

#[test]
fn a_trial_ends_by_the_time_that_passes_and_when_somebody_changes_the_table() {
    let mut play = Play::new(Mode::Enforce);
    let trial = || PointState { confirm_by: Some(t0() + Duration::from_secs(10)), previous: Some(1), ..PointState::default() };
    play.holds(2, trial());
    let wall_back = Now { mono: play.begin + Duration::from_secs(11), wall: t0() - Duration::from_secs(3000), slept: Duration::ZERO };
    assert!(matches!(play.core.handle(Event::Tick, wall_back)[..], [Effect::RollBack]), "a clock set back makes no trial longer");
    let mut play = Play::new(Mode::Enforce);
    play.holds(2, trial()).foreign(11);
    play.event(Event::Commit(Some(Commit { generation: 12, actor: "nft (pid 7)".into(), ours: true })));
    play.event(Event::Disturbed { actor: "nft (pid 7)".into(), why: "the table is gone".into() });
    play.event(Event::RolledBack { from: 2, result: Ok(1) });
    play.expect(expect![[r#"
        0 s: inspect 2 "nft (pid 9)"
        0 s: inspect 2 "nft (pid 7)"
        0 s: roll back
        0 s: report RolledBack 1 generation 2 was on trial when nft (pid 7) changed table inet gnomon (the table is gone)
    "#]]);
}

#[test]
fn a_set_that_expires_is_said_once_and_not_renewed() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    play.at = Period::days(7).0;
    play.wait(3).foreign(11).arrives(2);
    play.expect(expect![[r#"
        0 s: uphold 1 Start
        0 s: report Applied 1 
        604801 s: open 1
        604801 s: report Failed 1 the set expired at 2026-11-28T00:00:00Z and no newer one came: its blocks have lapsed, the network is open
        604803 s: keep 2
        604803 s: adopt 2
    "#]]);
}

#[test]
fn a_person_who_stops_it_is_obeyed() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    play.holds(1, PointState { stopped: Some("outage".into()), ..PointState::default() });
    play.arrives(2).foreign(12).wait(400);
    play.holds(1, PointState::default()).wait(1);
    play.expect(expect![[r#"
        0 s: uphold 1 Start
        0 s: report Applied 1 
        0 s: report RolledBack 1 stopped by a person: outage
        0 s: keep 2
        0 s: report Refused 2 enforcement was stopped on this host: outage
        400 s: uphold 1 Look { actor: "" }
        401 s: adopt 2
    "#]]);
}

#[test]
fn a_clock_that_jumps_renews_by_the_monotonic_one() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    let back = Now { mono: play.begin + Duration::from_secs(299), wall: Period::seconds(500).before(t0()), slept: Duration::ZERO };
    assert!(play.core.handle(Event::Tick, back).is_empty());
    let due = Now { mono: play.begin + Duration::from_secs(300), wall: Period::seconds(500).before(t0()), slept: Duration::ZERO };
    assert!(matches!(play.core.handle(Event::Tick, due)[..], [Effect::Uphold(_, Cause::Renewal)]));
}

#[test]
fn a_clock_set_back_gives_a_set_no_more_time() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    let at = |mono: Duration, wall: Duration| Now { mono: play.begin + mono, wall: t0() + wall, slept: Duration::ZERO };
    let (week, hour) = (Period::days(7).0, Duration::from_secs(3600));
    let set = candidate(1).set;
    assert_eq!(play.core.left(&set, at(week - hour, hour)), hour);
    assert!(matches!(play.core.handle(Event::Tick, at(week - hour, hour))[..], [Effect::Uphold(..)]));
    assert!(
        matches!(&play.core.handle(Event::Tick, at(week, hour))[..], [Effect::Open(1), Effect::Report(a)] if a.reason.contains("expired"))
    );
    assert!(play.core.handle(Event::Commit(None), at(week, hour)).is_empty());
    // Read again from the directory, it is still the same set.
    play.core.handle(Event::State(PointState { current: Some(1), highest: 1, ..PointState::default() }, Some(set.clone())), at(week, hour));
    assert_eq!(play.core.left(&set, at(week, hour)), Duration::ZERO);
}

#[test]
fn a_set_of_the_future_is_not_renewed_until_the_clock_is_right() {
    let mut play = Play::new(Mode::Enforce);
    let at = |mono: u64, wall: Timestamp| Now { mono: play.begin + Duration::from_secs(mono), wall, slept: Duration::ZERO };
    let wrong = Period::seconds(601).before(t0());
    let state = PointState { current: Some(1), highest: 1, ..PointState::default() };
    play.core.handle(Event::State(state, Some(candidate(1).set)), at(0, wrong));
    let said = play.core.handle(Event::Tick, at(300, wrong));
    assert!(matches!(&said[..], [Effect::Report(a)] if a.reason.contains("no renewal until it is set right")), "{said:?}");
    assert!(play.core.handle(Event::Tick, at(301, wrong)).is_empty());
    assert!(play.core.handle(Event::Commit(None), at(301, wrong)).is_empty());
    assert!(matches!(play.core.handle(Event::Commit(None), at(302, Period::seconds(600).before(t0())))[..], [Effect::Uphold(..)]));
}

#[test]
fn a_clock_set_back_by_days_takes_nothing_from_a_set_whose_end_is_known() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    let back = |mono: u64| Now { mono: play.begin + Duration::from_secs(mono), wall: Period::days(30).before(t0()), slept: Duration::ZERO };
    assert!(matches!(play.core.handle(Event::Tick, back(300))[..], [Effect::Uphold(_, Cause::Renewal)]));
    let end = Period::days(7).0.as_secs();
    assert!(matches!(play.core.handle(Event::Tick, back(end - 1))[..], [Effect::Uphold(..)]));
    assert!(matches!(&play.core.handle(Event::Tick, back(end))[..], [Effect::Open(1), Effect::Report(_)]));
}

/// The kernel's leases stand still while the host sleeps: they would outlive the set by as much as was left of them.
#[test]
fn a_set_whose_time_ends_while_the_host_sleeps_is_lifted_at_once_and_by_a_jump_alone_it_is_not() {
    let week = Period::days(7).0;
    for (slept, wall) in [(week, t0()), (week, t0() + week)] {
        let mut play = Play::new(Mode::Enforce);
        play.holds(1, PointState::default()).done(1, Cause::Start, true);
        let now = Now { mono: play.begin + Duration::from_secs(1), wall, slept };
        assert!(matches!(&play.core.handle(Event::Tick, now)[..], [Effect::Open(1), Effect::Report(_)]));
        assert!(play.core.handle(Event::Tick, now).is_empty(), "once");
    }
    let mut play = Play::new(Mode::Enforce);
    play.holds(1, PointState::default()).done(1, Cause::Start, true);
    let at = |mono: u64, wall| Now { mono: play.begin + Duration::from_secs(mono), wall, slept: Duration::ZERO };
    assert!(matches!(&play.core.handle(Event::Tick, at(1, t0() + week))[..], [Effect::Report(a)] if a.reason.contains("expired")));
    assert!(play.core.handle(Event::Tick, at(299, t0())).is_empty(), "nothing is due, and nothing was lifted");
    assert!(matches!(play.core.handle(Event::Tick, at(300, t0()))[..], [Effect::Uphold(_, Cause::Renewal)]));
}

impl Play {
    fn gated() -> Play {
        let mut play = Play::new(Mode::Enforce);
        play.core = Core::new("p", Mode::Enforce).gated();
        play
    }

    /// A set with new blocks is in the kernel on a short lease, and recorded as waiting.
    fn waits(&mut self, generation: u64) -> &mut Self {
        let gate = Some(crate::health::Gate { generation, base: 0, failed: None });
        let state = PointState { current: Some(generation), highest: generation, gate, ..PointState::default() };
        self.core.handle_state(&state, candidate(generation).set);
        self.done(generation, Cause::New, false)
    }

    /// What `Reconciler` records when the gate was answered.
    fn settled(&mut self, generation: u64, failed: Option<&str>) -> &mut Self {
        let gate = failed.map(|why| crate::health::Gate { generation, base: 0, failed: Some(why.to_owned()) });
        let state = PointState { current: Some(generation), highest: generation, gate, ..PointState::default() };
        self.core.handle_state(&state, candidate(generation).set);
        self
    }

    /// How taking blocks out went.
    fn withdrawn(&mut self, generation: u64, done: bool) -> &mut Self {
        let enacted = Enacted {
            elements: 1,
            withheld: vec![],
            new: 0,
            held_back: false,
            unknown: vec![],
            drifted: false,
            renew_in: Duration::from_secs(300),
        };
        let result = if done { Ok(enacted) } else { Err(Error::Unavailable("nft".into())) };
        self.event(Event::Withdrawn { generation, why: "dns".into(), result, kernel: None })
    }

    fn health(&mut self, generation: u64, failed: &[&str]) -> &mut Self {
        let failed = failed.iter().map(|f| ((*f).to_owned(), "no answer".to_owned())).collect();
        self.event(Event::Health(Health { generation, failed }))
    }
}

#[test]
fn new_blocks_stay_when_what_answered_before_still_answers() {
    let mut play = Play::gated();
    play.holds(1, PointState::default()).health(0, &["get http://10.0.0.9/"]);
    play.said.clear();
    play.arrives(2).waits(2).wait(3).arrives(3).health(2, &["get http://10.0.0.9/"]).settled(2, None).done(2, Cause::New, false).wait(1);
    expect![[r#"
        0 s: keep 2
        0 s: adopt 2
        0 s: report Applied 2 
        3 s: keep 3
        3 s: pass 2
        3 s: report Applied 2 
        4 s: adopt 3
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn new_blocks_are_taken_out_when_something_answers_no_longer_or_nobody_says() {
    let mut play = Play::gated();
    play.holds(1, PointState::default()).health(0, &[]);
    play.said.clear();
    play.arrives(2).waits(2).health(2, &["dns 10.1.0.53"]).settled(2, Some("dns"));
    play.event(Event::Withdrawn {
        generation: 2,
        why: "dns 10.1.0.53: no answer".into(),
        result: Err(Error::Unavailable("nft".into())),
        kernel: None,
    });
    // Another answer comes too late to matter.
    play.health(2, &[]).wait(2);
    play.arrives(3).waits(3).wait(31);
    expect![[r#"
        0 s: keep 2
        0 s: adopt 2
        0 s: report Applied 2 
        0 s: withdraw 2: dns 10.1.0.53: no answer
        0 s: report Failed 2 after new blocks were applied a health check failed (dns 10.1.0.53: no answer): they lapse within 120 s (taking them out at once failed: enforcement is unavailable on this host: nft)
        2 s: keep 3
        2 s: adopt 3
        2 s: report Applied 3 
        32 s: withdraw 3: nobody said within 30 s whether this host is well
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn blocks_are_cleared_of_blame_when_the_check_fails_without_them_too() {
    let mut play = Play::gated();
    play.holds(1, PointState::default());
    play.said.clear();
    play.arrives(2).waits(2).health(2, &["dns 10.1.0.53"]).settled(2, Some("dns")).withdrawn(2, true);
    play.said.clear();
    play.health(0, &["connect 10.0.0.1:1"]).health(0, &["dns 10.1.0.53", "connect 10.0.0.1:1"]).health(0, &["dns 10.1.0.53"]);
    expect![[r#"
        0 s: pass 2
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn damage_is_never_learned_as_usual_while_an_answer_is_awaited() {
    let mut play = Play::gated();
    play.holds(1, PointState::default()).health(0, &[]);
    play.said.clear();
    // Asked by the clock, after the kernel had the blocks and before the report about them was seen.
    play.arrives(2).waits(2).health(0, &["dns 10.1.0.53"]).health(2, &["dns 10.1.0.53"]).withdrawn(2, true);
    // Too late to matter, and asked with blocks in force all the same.
    play.arrives(3).waits(3).wait(31).withdrawn(3, true).health(3, &["dns 10.1.0.53"]);
    play.arrives(4).waits(4).health(4, &["dns 10.1.0.53"]);
    let told: Vec<&str> = play.said.lines().filter(|l| l.contains("withdraw ") || l.contains("pass ")).collect();
    assert_eq!(
        told,
        [
            "0 s: withdraw 2: dns 10.1.0.53: no answer",
            "30 s: withdraw 3: nobody said within 30 s whether this host is well",
            "31 s: withdraw 4: dns 10.1.0.53: no answer"
        ]
    );
}

#[test]
fn blocks_that_could_not_be_taken_out_are_never_renewed() {
    let mut play = Play::gated();
    play.holds(1, PointState::default()).health(0, &[]);
    // The disk is full: that they failed is not written down.
    play.arrives(2).waits(2).health(2, &["dns 10.1.0.53"]).withdrawn(2, false);
    play.said.clear();
    play.wait(5).withdrawn(2, false).foreign(11).withdrawn(2, false).wait(5).settled(2, Some("dns")).withdrawn(2, true).wait(300);
    expect![[r#"
        5 s: withdraw 2: dns 10.1.0.53: no answer
        5 s: withdraw 2: dns 10.1.0.53: no answer
        10 s: withdraw 2: dns 10.1.0.53: no answer
        10 s: report Failed 2 after new blocks were applied a health check failed (dns): they were taken out again
        310 s: uphold 2 Renewal
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn a_change_of_the_state_does_not_open_the_gate_to_refused_blocks() {
    let mut play = Play::gated();
    play.holds(1, PointState::default()).arrives(2).waits(2).health(2, &["dns 10.1.0.53"]).withdrawn(2, false);
    play.said.clear();
    let gate = |generation| Some(crate::health::Gate { generation, base: 0, failed: None });
    play.holds(2, PointState { gate: gate(2), latest: Some(2), ..PointState::default() }).withdrawn(2, false).wait(5);
    // A person settled it.
    play.holds(2, PointState::default());
    expect![[r#"
        0 s: withdraw 2: dns 10.1.0.53: no answer
        5 s: withdraw 2: dns 10.1.0.53: no answer
        5 s: uphold 2 Look { actor: "" }
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn nothing_is_cleared_of_blame_before_it_is_out() {
    let mut play = Play::gated();
    play.holds(1, PointState::default());
    play.arrives(2).waits(2).health(2, &["dns 10.1.0.53"]).settled(2, Some("dns")).withdrawn(2, false);
    play.said.clear();
    play.health(0, &["dns 10.1.0.53"]).wait(5).withdrawn(2, true);
    // This one may have been asked before they were out.
    play.health(0, &["dns 10.1.0.53"]).wait(25).health(0, &["dns 10.1.0.53"]);
    expect![[r#"
        5 s: withdraw 2: dns 10.1.0.53: no answer
        5 s: report Failed 2 after new blocks were applied a health check failed (dns): they were taken out again
        30 s: pass 2
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn a_restart_between_apply_and_confirm_asks_again_and_renews_nothing_meanwhile() {
    let mut play = Play::gated();
    let gate = Some(crate::health::Gate { generation: 2, base: 1, failed: None });
    play.holds(2, PointState { gate, ..PointState::default() }).wait(3).health(2, &[]);
    expect![[r#"
        0 s: report Applied 2 waits for health checks
        3 s: pass 2
    "#]]
    .assert_eq(&play.said);
}

#[test]
fn a_person_who_stopped_enforcement_while_nobody_ran_is_heard_of_at_the_next_start() {
    let mut play = Play::new(Mode::Enforce);
    play.holds(2, PointState { stopped: Some("wrong subnet".into()), ..PointState::default() }).wait(3);
    expect![[r#"
        0 s: report RolledBack 2 stopped by a person: wrong subnet
    "#]]
    .assert_eq(&play.said);
}
