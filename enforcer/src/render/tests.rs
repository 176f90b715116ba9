use super::*;
use crate::{
    config::Config,
    fixtures::{decision, facts, set},
    present::KernelBlock,
    ruleset,
};
use expect_test::expect;
use rules::decision::DecisionSet;

const LEASE: Duration = Duration::from_secs(900);
const FULL: Term = Term { lease: LEASE, age: Duration::ZERO, trial: None, skeleton: Skeleton::Keep };

fn planned(set: &DecisionSet) -> Ruleset {
    let mut ruleset = ruleset::plan(set, &facts(), &Config::default()).0;
    // The safety net has its own test; here it would only be noise.
    ruleset.never = ["127.0.0.0/8", "::1/128"].map(|n| n.parse().unwrap()).into();
    ruleset
}

/// The kernel as it would be after a ruleset was applied, `left` of each lease remaining.
fn holding(ruleset: &Ruleset, left: u64) -> Present {
    let left = Duration::from_secs(left);
    let held = |b: &Block| KernelBlock { action: b.action, finding: Some(b.finding.clone()), left, packets: 0, bytes: 0 };
    Present {
        skeleton: "ours".into(),
        agents: ruleset.agents.clone(),
        agents_left: left,
        never: ruleset.never.clone(),
        open: ruleset.open.clone(),
        sessions: ruleset.sessions.clone(),
        blocks: ruleset.blocks.iter().map(|(e, b)| (*e, held(b))).collect(),
        foreign: vec![],
    }
}

#[test]
fn the_first_transaction_is_the_whole_table() {
    let first = render(&planned(&set(1, &["10.0.0.5:3001", "[fd02::5]:3001"])), None, FULL);
    expect![[r#"
        add table inet gnomon
        add set inet gnomon agents4 { type ipv4_addr; flags interval, timeout; }
        add set inet gnomon agents6 { type ipv6_addr; flags interval, timeout; }
        add set inet gnomon never4 { type ipv4_addr; flags interval; }
        add set inet gnomon never6 { type ipv6_addr; flags interval; }
        add set inet gnomon open4 { type ipv4_addr . inet_service; }
        add set inet gnomon open6 { type ipv6_addr . inet_service; }
        add set inet gnomon ssh4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; }
        add set inet gnomon ssh6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; }
        add set inet gnomon block4 { type ipv4_addr . inet_service; flags timeout; counter; }
        add set inet gnomon block6 { type ipv6_addr . inet_service; flags timeout; counter; }
        add set inet gnomon shadow4 { type ipv4_addr . inet_service; flags timeout; counter; }
        add set inet gnomon shadow6 { type ipv6_addr . inet_service; flags timeout; counter; }
        add set inet gnomon pushed4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; size 16384; flags dynamic, timeout; timeout 10s; }
        add set inet gnomon pushed6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; size 16384; flags dynamic, timeout; timeout 10s; }
        add set inet gnomon tried4 { type ipv4_addr . ipv4_addr . inet_service; size 16384; flags dynamic, timeout; timeout 7d; }
        add set inet gnomon tried6 { type ipv6_addr . ipv6_addr . inet_service; size 16384; flags dynamic, timeout; timeout 7d; }
        add counter inet gnomon shadowed
        add counter inet gnomon blocked
        add chain inet gnomon shadow
        flush chain inet gnomon shadow
        add rule inet gnomon shadow counter name shadowed
        add rule inet gnomon shadow limit rate 10/second burst 20 packets log prefix "gnomon-shadow " group 5 snaplen 128
        add rule inet gnomon shadow accept
        add chain inet gnomon block
        flush chain inet gnomon block
        add rule inet gnomon block ip saddr . tcp sport . ip daddr . tcp dport @ssh4 accept
        add rule inet gnomon block ip6 saddr . tcp sport . ip6 daddr . tcp dport @ssh6 accept
        add rule inet gnomon block ip daddr . tcp dport . ip saddr . tcp sport @ssh4 accept
        add rule inet gnomon block ip6 daddr . tcp dport . ip6 saddr . tcp sport @ssh6 accept
        add rule inet gnomon block counter name blocked
        add rule inet gnomon block limit rate 10/second burst 20 packets log prefix "gnomon-block " group 5 snaplen 128
        add rule inet gnomon block meta l4proto tcp reject with tcp reset
        add rule inet gnomon block reject with icmpx type admin-prohibited
        add chain inet gnomon tried
        flush chain inet gnomon tried
        add rule inet gnomon tried tcp flags & (syn | ack) == syn update @tried4 { ip saddr . ip daddr . tcp dport counter }
        add rule inet gnomon tried tcp flags & (syn | ack) == syn update @tried6 { ip6 saddr . ip6 daddr . tcp dport counter }
        add rule inet gnomon tried meta l4proto != tcp update @tried4 { ip saddr . ip daddr . th dport counter }
        add rule inet gnomon tried meta l4proto != tcp update @tried6 { ip6 saddr . ip6 daddr . th dport counter }
        add chain inet gnomon counted
        flush chain inet gnomon counted
        add rule inet gnomon counted jump tried
        add rule inet gnomon counted goto shadow
        add chain inet gnomon asked
        flush chain inet gnomon asked
        add rule inet gnomon asked udp dport 53 accept
        add rule inet gnomon asked udp dport 67-68 accept
        add rule inet gnomon asked udp dport 123 accept
        add rule inet gnomon asked udp dport 546-547 accept
        add rule inet gnomon asked udp dport 853 accept
        add rule inet gnomon asked jump tried
        add rule inet gnomon asked goto block
        add chain inet gnomon answered
        flush chain inet gnomon answered
        add rule inet gnomon answered udp sport 53 accept
        add rule inet gnomon answered udp sport 67-68 accept
        add rule inet gnomon answered udp sport 123 accept
        add rule inet gnomon answered udp sport 546-547 accept
        add rule inet gnomon answered udp sport 853 accept
        add rule inet gnomon answered tcp flags & (fin | rst | ack) == ack tcp dport 32768-65535 add @pushed4 { ip saddr . tcp sport . ip daddr . tcp dport limit rate 1/minute burst 3 packets } accept
        add rule inet gnomon answered tcp flags & (fin | rst | ack) == ack tcp dport 32768-65535 add @pushed6 { ip6 saddr . tcp sport . ip6 daddr . tcp dport limit rate 1/minute burst 3 packets } accept
        add rule inet gnomon answered goto block
        add chain inet gnomon requests
        flush chain inet gnomon requests
        add rule inet gnomon requests ip saddr @agents4 ip daddr != @never4 ip daddr . th dport != @open4 ip daddr . th dport @block4 goto asked
        add rule inet gnomon requests ip6 saddr @agents6 ip6 daddr != @never6 ip6 daddr . th dport != @open6 ip6 daddr . th dport @block6 goto asked
        add rule inet gnomon requests ip saddr @agents4 ip daddr != @never4 ip daddr . th dport != @open4 ip daddr . th dport @shadow4 goto counted
        add rule inet gnomon requests ip6 saddr @agents6 ip6 daddr != @never6 ip6 daddr . th dport != @open6 ip6 daddr . th dport @shadow6 goto counted
        add chain inet gnomon answers
        flush chain inet gnomon answers
        add rule inet gnomon answers ip daddr @agents4 ip saddr != @never4 ip saddr . th sport != @open4 ip saddr . th sport @block4 goto answered
        add rule inet gnomon answers ip6 daddr @agents6 ip6 saddr != @never6 ip6 saddr . th sport != @open6 ip6 saddr . th sport @block6 goto answered
        add rule inet gnomon answers ip daddr @agents4 ip saddr != @never4 ip saddr . th sport != @open4 ip saddr . th sport @shadow4 goto shadow
        add rule inet gnomon answers ip6 daddr @agents6 ip6 saddr != @never6 ip6 saddr . th sport != @open6 ip6 saddr . th sport @shadow6 goto shadow
        add chain inet gnomon judge
        flush chain inet gnomon judge
        add rule inet gnomon judge ip daddr . th dport != @block4 ip saddr . th sport != @block4 ip daddr . th dport != @shadow4 ip saddr . th sport != @shadow4 accept
        add rule inet gnomon judge ip6 daddr . th dport != @block6 ip6 saddr . th sport != @block6 ip6 daddr . th dport != @shadow6 ip6 saddr . th sport != @shadow6 accept
        add rule inet gnomon judge meta l4proto != tcp meta l4proto != udp meta l4proto != udplite meta l4proto != sctp meta l4proto != dccp accept
        add rule inet gnomon judge tcp flags & rst == rst ip length 0-60 accept
        add rule inet gnomon judge tcp flags & rst == rst ip6 length 0-40 accept
        add rule inet gnomon judge jump requests
        add rule inet gnomon judge goto answers
        add chain inet gnomon aimed
        flush chain inet gnomon aimed
        add rule inet gnomon aimed ip daddr . th dport != @block4 ip daddr . th dport != @shadow4 accept
        add rule inet gnomon aimed ip6 daddr . th dport != @block6 ip6 daddr . th dport != @shadow6 accept
        add rule inet gnomon aimed meta l4proto != tcp meta l4proto != udp meta l4proto != udplite meta l4proto != sctp meta l4proto != dccp accept
        add rule inet gnomon aimed tcp flags & rst == rst ip length 0-60 accept
        add rule inet gnomon aimed tcp flags & rst == rst ip6 length 0-40 accept
        add rule inet gnomon aimed goto requests
        add chain inet gnomon on_output { type filter hook output priority -10; policy accept; }
        flush chain inet gnomon on_output
        add rule inet gnomon on_output jump judge
        add chain inet gnomon on_input
        flush chain inet gnomon on_input
        delete chain inet gnomon on_input
        add chain inet gnomon on_forward
        flush chain inet gnomon on_forward
        delete chain inet gnomon on_forward
        add chain inet gnomon on_prerouting
        flush chain inet gnomon on_prerouting
        delete chain inet gnomon on_prerouting
        flush set inet gnomon never4
        add element inet gnomon never4 { 127.0.0.0/8 }
        flush set inet gnomon never6
        add element inet gnomon never6 { ::1/128 }
        flush set inet gnomon open4
        add element inet gnomon open4 { 10.2.0.9 . 7413 }
        flush set inet gnomon open6
        flush set inet gnomon ssh4
        add element inet gnomon ssh4 { 10.1.0.7 . 22 . 10.1.0.99 . 54321 }
        flush set inet gnomon ssh6
        flush set inet gnomon agents4
        add element inet gnomon agents4 { 10.1.0.0/16 timeout 900000ms }
        flush set inet gnomon agents6
        add element inet gnomon agents6 { fd01::/32 timeout 900000ms }
        add element inet gnomon block4 { 10.0.0.5 . 3001 timeout 900000ms comment "F-c075b4d8b7f4b6fe60a7251bd89e2528" }
        add element inet gnomon block6 { fd02::5 . 3001 timeout 900000ms comment "F-2b6f5cd11a7abca04e0a6df8828fd51a" }
    "#]]
    .assert_eq(&first.to_nft());
}

#[test]
fn what_is_there_already_is_left_alone() {
    let ruleset = planned(&set(1, &["10.0.0.5:3001"]));
    assert!(render(&ruleset, Some(&holding(&ruleset, 899)), FULL).is_empty());
}

#[test]
fn an_update_touches_only_what_differs() {
    let before = planned(&set(1, &["10.0.0.5:3001", "10.0.0.6:3001"]));
    let mut next = set(2, &["10.0.0.5:3001", "10.0.0.7:3001"]);
    next.decisions.push(decision("[fd02::5]:3001", Action::Shadow));
    expect![[r#"
        add element inet gnomon block4 { 10.0.0.6 . 3001 }
        delete element inet gnomon block4 { 10.0.0.6 . 3001 }
        add element inet gnomon block4 { 10.0.0.7 . 3001 timeout 900000ms comment "F-eec2cc97095340691c6c62399e70ac7d" }
        add element inet gnomon shadow6 { fd02::5 . 3001 timeout 900000ms comment "F-2b6f5cd11a7abca04e0a6df8828fd51a" }
    "#]]
    .assert_eq(&render(&planned(&next), Some(&holding(&before, 899)), FULL).to_nft());
}

#[test]
fn a_renewal_works_on_kernels_that_ignore_a_timeout_given_twice() {
    let ruleset = planned(&set(1, &["10.0.0.5:3001"]));
    expect![[r#"
        flush set inet gnomon agents4
        add element inet gnomon agents4 { 10.1.0.0/16 timeout 900000ms }
        flush set inet gnomon agents6
        add element inet gnomon agents6 { fd01::/32 timeout 900000ms }
        add element inet gnomon block4 { 10.0.0.5 . 3001 }
        delete element inet gnomon block4 { 10.0.0.5 . 3001 }
        add element inet gnomon block4 { 10.0.0.5 . 3001 timeout 900000ms comment "F-c075b4d8b7f4b6fe60a7251bd89e2528" }
    "#]]
    .assert_eq(&render(&ruleset, Some(&holding(&ruleset, 600)), FULL).to_nft());
}

#[test]
fn on_trial_nothing_is_lifted_and_what_is_new_is_short() {
    let before = planned(&set(1, &["10.0.0.5:3001"]));
    let after = planned(&set(2, &["10.0.0.6:3001"]));
    let trial = Term { trial: Some(Duration::from_secs(120)), ..FULL };
    expect![[r#"
        add element inet gnomon block4 { 10.0.0.6 . 3001 timeout 120000ms comment "F-ca9fcfb26e964c96f9c7368b6570ec3a" }
    "#]]
    .assert_eq(&render(&after, Some(&holding(&before, 899)), trial).to_nft());
}

#[test]
fn replacing_is_for_a_table_that_is_not_ours() {
    let ruleset = planned(&set(1, &[]));
    let text = render(&ruleset, Some(&holding(&ruleset, 899)), Term { skeleton: Skeleton::Replace, ..FULL }).to_nft();
    assert!(text.starts_with("add table inet gnomon\ndelete table inet gnomon\nadd table inet gnomon\n"), "{text}");
}

#[test]
fn a_changed_verdict_takes_the_old_one_out_first() {
    let before = planned(&set(1, &["10.0.0.5:3001"]));
    let mut flipped = set(2, &[]);
    flipped.decisions = vec![decision("10.0.0.5:3001", Action::Shadow)];
    expect![[r#"
        add element inet gnomon block4 { 10.0.0.5 . 3001 }
        delete element inet gnomon block4 { 10.0.0.5 . 3001 }
        add element inet gnomon shadow4 { 10.0.0.5 . 3001 timeout 900000ms comment "F-c075b4d8b7f4b6fe60a7251bd89e2528" }
    "#]]
    .assert_eq(&render(&planned(&flipped), Some(&holding(&before, 899)), FULL).to_nft());
}

/// What others put beside ours is taken out by its name; a name that could be more than a name is in no script.
#[test]
fn what_is_bygone_is_emptied_then_taken_out_and_what_is_ours_is_not() {
    let lines = "chain judge\nchain on_forward forward -10 accept\nchain old\nchain old2\nrule old x\nset block4 0x1\nset pushed4 0x1\nset seen 0x1\nmap verdicts\nset a;flush 0x1\nchain \ntable dormant\n";
    let present = Present { skeleton: lines.to_owned(), ..Present::default() };
    expect![[r#"
        flush chain inet gnomon old
        flush chain inet gnomon old2
        delete map inet gnomon verdicts
        delete set inet gnomon seen
        delete chain inet gnomon old
        delete chain inet gnomon old2
    "#]]
    .assert_eq(&skeleton::Leftovers::of(&present).text());
    let ours = Present { skeleton: "chain judge\nset tried4 0x1\n".to_owned(), ..Present::default() };
    assert!(skeleton::Leftovers::of(&ours).is_empty());
}
