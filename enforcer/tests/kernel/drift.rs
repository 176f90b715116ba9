//! What others change that no packet or element of a set would tell: each is mended within a second, and said with who it was.

use crate::{
    lab::{Lab, PORT, SHADOW, blocking, decision, lab, sign},
    talk::{serve, within},
    upkeep::{Running, is_blocked},
};
use enforcer::point::{ApplyOptions, Point};
use rules::{Timestamp, decision::Action, observation::Outcome};
use std::{sync::Arc, time::Duration};

fn mended(lab: &Lab, running: &mut Running, damage: &str) {
    assert!(is_blocked(lab), "before {damage}");
    lab.nft("router", &format!("'{damage}'"));
    let report = running.report();
    assert_eq!(report.outcome, Outcome::Applied, "{damage}: {}", report.reason);
    assert!(report.reason.contains("nft (pid "), "{damage}: {}", report.reason);
    let took = within(Duration::from_secs(1), || is_blocked(lab));
    eprintln!("{damage}: blocked again after {took:?} more");
}

#[test]
fn a_table_put_to_sleep_is_woken() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    mended(&lab, &mut running, "add table inet gnomon { flags dormant; }");
    running.stop();
}

#[test]
fn places_and_conversations_that_others_let_through_are_cut_again_and_told() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let [v4, v6] = SHADOW;
    for damage in [
        format!("add element inet gnomon never4 {{ {v4} }}"),
        format!("add element inet gnomon open6 {{ {v6} . {PORT} }}"),
        "delete element inet gnomon agents4 { 10.91.0.0/24 }".to_owned(),
        "flush set inet gnomon never4".to_owned(),
    ] {
        mended(&lab, &mut running, &damage);
    }
    running.stop();
}

#[test]
fn drift_beside_thousands_is_mended_within_a_second() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut config = lab.config("router");
    (config.limits.max_blocks, config.limits.max_new_per_hour) = (30_000, 50_000);
    let mut running = Running::start(&lab, config);
    for (generation, many) in [(1, 1_000), (2, 20_000)] {
        let mut set = blocking(generation, 600);
        let other = |n: u32| {
            decision(
                &if n.is_multiple_of(2) { format!("10.200.{}.{}", n >> 8, n & 255) } else { format!("fd93::{n:x}") },
                PORT,
                Action::Block,
            )
        };
        set.decisions.extend((0..many).map(other));
        set.decisions.sort_by_key(|d| d.endpoint);
        running.send(sign(&set));
        let report = running.report();
        assert_eq!(report.outcome, Outcome::Applied, "{}", report.reason);
        mended(&lab, &mut running, "flush set inet gnomon block4");
        mended(&lab, &mut running, &format!("delete element inet gnomon block6 {{ {} . {PORT} }}", SHADOW[1]));
    }
    // All of them lifted at once, and then none is held.
    running.send(sign(&blocking(3, 600)));
    assert_eq!(running.report().elements, 2);
    assert!(is_blocked(&lab));
    assert!(!lab.nft("router", "list set inet gnomon block4").contains("10.200."));
    assert!(!lab.nft("router", "list set inet gnomon block6").contains("fd93::"));
    running.stop();
}

/// Where netlink is not to be had, all of it goes by `nft`: it is looked at when it is renewed.
#[test]
fn by_nft_alone_a_table_put_to_sleep_is_seen_and_woken() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let (config, mut trusted) = (lab.config("router"), None);
    let mut enact = || {
        let (config, signed, mut trust) = (config.clone(), sign(&blocking(1, 60)), trusted.take());
        let (enacted, trust) = lab.run("router", move || async move {
            let mut point = Point::open(config).unwrap();
            point.monitor = None;
            let (held, now) = (point.store.lock().await.unwrap(), Timestamp::now());
            let set = Arc::new(point.verify(&signed, 0, now).unwrap());
            let left = Duration::MAX;
            let options = ApplyOptions { now, trial: None, many_new: true, hold_back: false, before: None, new_this_hour: 0, left };
            (point.enact(&held, &set, options, &mut trust).await.unwrap(), trust)
        });
        trusted = trust;
        enacted
    };
    assert!(!is_blocked(&lab));
    enact();
    assert!(is_blocked(&lab));
    assert!(!enact().drifted, "nobody was there");
    lab.nft("router", "'add table inet gnomon { flags dormant; }'");
    assert!(!is_blocked(&lab), "asleep it blocks nothing");
    assert!(enact().drifted);
    assert!(is_blocked(&lab));
}
