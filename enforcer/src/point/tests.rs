use super::*;
use crate::{
    check::Objection,
    facts::Facts,
    fixtures::{decision, facts, set, t0},
};
use rules::decision::Action;

fn manner(before: Option<&DecisionSet>) -> ApplyOptions<'_> {
    ApplyOptions { now: t0(), trial: None, many_new: false, hold_back: true, before, new_this_hour: 0, left: Duration::MAX }
}

fn many(count: u16, action: Action) -> Vec<rules::decision::Decision> {
    (0..count).map(|n| decision(&format!("10.0.0.5:{}", 10_000 + n), action)).collect()
}

/// Blocks and counts in the plan, what is withheld, and what of `before` is lifted.
fn weigh(next: &DecisionSet, options: ApplyOptions<'_>, facts: &Facts, config: &Config) -> (usize, usize, usize, Vec<Objection>) {
    let plan = plan_for_host(next, facts, config, (None, Duration::ZERO), Skeleton::Keep, options);
    let of = |action| plan.ruleset.blocks.values().filter(|b| b.action == action).count();
    (of(Action::Block), of(Action::Shadow), plan.withheld.len(), plan.objections)
}

#[test]
fn what_is_only_counted_freezes_nothing() {
    let config = Config::default();
    let before = set(1, &["10.0.0.5:3001", "10.0.0.6:3001"]);
    let mut next = set(2, &["10.0.0.5:3001", "10.0.0.7:3001"]);
    next.decisions.extend(many(501, Action::Shadow));
    let options = ApplyOptions { hold_back: false, ..manner(Some(&before)) };
    assert_eq!(weigh(&next, options, &facts(), &config), (2, 501, 0, vec![]));
    let mut small = config;
    small.limits.max_blocks = 10;
    assert_eq!(weigh(&next, options, &facts(), &small), (2, 8, 493, vec![]));
    // A count that becomes a block is a new block.
    let mut counted = set(1, &[]);
    counted.decisions = many(501, Action::Shadow);
    let mut cut = set(2, &[]);
    cut.decisions = many(501, Action::Block);
    assert_eq!(weigh(&cut, manner(Some(&counted)), &facts(), &Config::default()), (0, 0, 501, vec![]));
}

#[test]
fn too_many_new_are_held_back_while_lifts_are_done() {
    let before = set(1, &["10.0.0.5:3001", "10.0.0.6:3001"]);
    let mut next = set(2, &["10.0.0.5:3001"]);
    next.decisions.extend(many(501, Action::Block));
    let config = Config::default();
    // 10.0.0.6 is not in the plan: it is lifted.
    assert_eq!(weigh(&next, manner(Some(&before)), &facts(), &config), (1, 0, 501, vec![]));
    assert_eq!(weigh(&next, ApplyOptions { many_new: true, ..manner(Some(&before)) }, &facts(), &config), (502, 0, 0, vec![]));
    let person = weigh(&next, ApplyOptions { hold_back: false, ..manner(Some(&before)) }, &facts(), &config).3;
    assert!(person.len() == 1 && person[0].why.contains("--many-new"), "{person:?}");
    let mut small = config;
    small.limits.max_blocks = 100;
    assert_eq!(weigh(&next, ApplyOptions { many_new: true, ..manner(Some(&before)) }, &facts(), &small), (1, 0, 501, vec![]));
}

#[test]
fn a_host_that_does_not_know_itself_adds_nothing_and_says_so() {
    let blind = Facts { blind: true, unknown: vec!["/proc/thread-self/net/route: denied".into()], ..facts() };
    let before = set(1, &["10.0.0.5:3001", "10.0.0.6:3001"]);
    let next = set(2, &["10.0.0.5:3001", "10.0.0.7:3001"]);
    assert_eq!(weigh(&next, manner(Some(&before)), &blind, &Config::default()), (1, 0, 1, vec![]));
    let person = weigh(&next, ApplyOptions { hold_back: false, many_new: true, ..manner(Some(&before)) }, &blind, &Config::default()).3;
    assert!(person.len() == 1 && person[0].why.contains("cannot be read"), "{person:?}");
    let enacted = Enacted {
        elements: 1,
        withheld: vec![],
        new: 0,
        held_back: true,
        unknown: blind.unknown,
        drifted: false,
        renew_in: Duration::from_secs(1),
    };
    let said = crate::operator::applied("p", 2, &enacted).reason;
    assert_eq!(said, "not known about this host, so not protected: /proc/thread-self/net/route: denied");
}
