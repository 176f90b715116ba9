//! A table that an older version of ours left in force: made right under traffic, and nothing gets through meanwhile.

use crate::{
    blocking::apply,
    lab::{Lab, PORT, SHADOW, blocking, lab, sign},
    reload::flow,
    talk::within,
    upkeep::Running,
};
use rules::observation::Outcome;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The kernel's number of our table: a table that was taken away and made anew has another.
fn handle(lab: &Lab) -> String {
    let listed = lab.nft("router", "-a list table inet gnomon");
    listed.lines().next().unwrap().split("handle ").nth(1).unwrap().trim().to_owned()
}

/// `older`: what its version had otherwise. Gives whether the table is still the same one.
fn upgraded(older: &[&str]) -> Option<bool> {
    let lab = lab()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flows = SHADOW.map(|to| flow(&lab, to, false, &stop));
    let got = || flows.iter().map(|(f, _)| f.got.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let sent = || flows.iter().map(|(f, _)| f.sent.load(Ordering::Relaxed)).min().unwrap();
    within(Duration::from_secs(5), || got().iter().all(|n| *n > 50));
    apply(&lab, "router", sign(&blocking(1, 600)));
    for change in older {
        lab.nft("router", &format!("'{change}'"));
    }
    // What was on its way has arrived, and as the older version has it, nothing more comes.
    std::thread::sleep(Duration::from_millis(100));
    let (before, (arrived, began)) = (handle(&lab), (got(), sent()));
    let mut running = Running::start(&lab, lab.config("router"));
    let said = running.report();
    assert_eq!((said.outcome, said.generation), (Outcome::Applied, 1), "{}", said.reason);
    running.send(sign(&blocking(2, 600)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    within(Duration::from_secs(5), || sent() > began + 500);
    assert_eq!(got(), arrived, "of {} that were sent some got through", sent() - began);
    let table = lab.nft("router", "list table inet gnomon");
    assert!(table.contains("update @tried4") && !table.contains("bygone"), "{table}");
    let same = before == handle(&lab);
    running.stop();
    // And they would have arrived.
    lab.nft("router", "delete table inet gnomon");
    within(Duration::from_secs(5), || got().iter().zip(&arrived).all(|(now, then)| now > then));
    stop.store(true, Ordering::Relaxed);
    flows.into_iter().for_each(|(_, thread)| thread.join().unwrap());
    Some(same)
}

#[test]
fn a_table_without_what_is_new_is_filled_in_place_and_leaks_nothing() {
    let older =
        ["flush chain inet gnomon tried", "insert rule inet gnomon judge ip daddr 198.51.100.1 accept", "delete chain inet gnomon aimed"];
    if let Some(same) = upgraded(&older) {
        assert!(same, "the table was taken away and made anew");
    }
}

#[test]
fn a_table_with_what_is_no_more_is_cleared_in_place_and_leaks_nothing() {
    let older = [
        "add set inet gnomon bygone { type ipv4_addr; }",
        "add map inet gnomon bygone_verdicts { type ipv4_addr : verdict; }",
        "add chain inet gnomon bygone_chain",
        "add chain inet gnomon bygone_base { type filter hook forward priority 5; }",
        "add rule inet gnomon bygone_chain ip saddr @bygone accept",
        "add rule inet gnomon bygone_base ip daddr vmap @bygone_verdicts",
        "add element inet gnomon bygone_verdicts { 198.51.100.2 : jump bygone_chain }",
        "insert rule inet gnomon judge ip daddr 198.51.100.1 jump bygone_chain",
    ];
    if let Some(same) = upgraded(&older) {
        assert!(same, "the table was taken away and made anew");
    }
}

/// Blocks of another make entirely, in a map of verdicts: what it blocks is blocked until ours does, in one and the same commit.
#[test]
fn a_table_of_another_make_is_taken_over_and_leaks_nothing() {
    let [v4, v6] = SHADOW;
    let older = format!(
        "delete table inet gnomon
         table inet gnomon {{
             map bygone4 {{ type ipv4_addr . inet_service : verdict; elements = {{ {v4} . {PORT} : drop }}; }}
             map bygone6 {{ type ipv6_addr . inet_service : verdict; elements = {{ {v6} . {PORT} : drop }}; }}
             chain bygone {{ type filter hook forward priority -10; ip daddr . th dport vmap @bygone4; ip6 daddr . th dport vmap @bygone6; }}
         }}"
    );
    if let Some(same) = upgraded(&[&older]) {
        assert!(same, "the table was taken away and made anew");
    }
}
