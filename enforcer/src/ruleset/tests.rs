use super::*;
use crate::fixtures::{decision, facts, set};
use expect_test::expect;

fn show((ruleset, withheld): (Ruleset, Vec<Withheld>)) -> String {
    let list = |items: Vec<String>| items.join(" ");
    let mut text = format!("agents {}\n", list(ruleset.agents.iter().map(ToString::to_string).collect()));
    text += &format!("never {}\n", list(ruleset.never.iter().map(ToString::to_string).collect()));
    text += &format!("open {}\n", list(ruleset.open.iter().map(ToString::to_string).collect()));
    for session in &ruleset.sessions {
        text += &format!("session {} to {}\n", session.peer, session.local);
    }
    for (endpoint, block) in ruleset.blocks {
        text += &format!("{:?} {endpoint} {}\n", block.action, block.finding);
    }
    for w in withheld {
        text += &format!("withheld {}: {}\n", w.endpoint, w.why);
    }
    text
}

const MIXED: [&str; 12] = [
    "10.0.0.5:3001",
    "[fd02::5]:3001",
    "[::ffff:10.0.0.6]:3001",
    "127.0.0.1:3001",
    "[fe80::5]:3001",
    "10.1.0.7:3001",
    "10.1.0.7:22",
    "10.1.0.1:3001",
    "10.1.0.53:3001",
    "10.1.0.99:3001",
    "10.0.0.5:53",
    "10.8.0.1:3001",
];

#[test]
fn an_agents_host_blocks_what_is_elsewhere_and_reports_what_it_withholds() {
    let config = Config { protected: vec!["10.8.0.0/24".parse().unwrap()], ..Config::default() };
    expect![[r#"
        agents 10.1.0.0/16 fd01::/32
        never 10.1.0.1/32 10.1.0.7/32 10.1.0.53/32 10.8.0.0/24 10.9.0.0/24 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32 ::1/128 fd01::7/128 fe80::/10 ff00::/8
        open 10.2.0.9:7413
        session 10.1.0.99:54321 to 10.1.0.7:22
        Block 10.0.0.5:53 F-f3962b0f3faa13b102ea9fee01555461
        Block 10.0.0.5:3001 F-c075b4d8b7f4b6fe60a7251bd89e2528
        Block 10.0.0.6:3001 F-ca9fcfb26e964c96f9c7368b6570ec3a
        Block 10.1.0.99:3001 F-0acc9b96b188ec6a2c30dfe019c469ae
        Block [fd02::5]:3001 F-2b6f5cd11a7abca04e0a6df8828fd51a
        withheld 127.0.0.1:3001: loopback, link-local or multicast: not reached through a network
        withheld [fe80::5]:3001: loopback, link-local or multicast: not reached through a network
        withheld 10.1.0.7:3001: an address of this host, which does not judge its input
        withheld 10.1.0.7:22: an address of this host, which does not judge its input
        withheld 10.1.0.1:3001: a default gateway of this host
        withheld 10.1.0.53:3001: a resolver of this host
        withheld 10.8.0.1:3001: protected by this host's configuration
    "#]].assert_eq(&show(plan(&set(1, &MIXED), &facts(), &config)));
}

#[test]
fn a_servers_host_blocks_its_own_address_but_never_its_ssh() {
    let config = Config { hooks: [Hook::Input].into(), ..Config::default() };
    expect![[r#"
        agents 10.1.0.0/16 fd01::/32
        never 10.1.0.1/32 10.1.0.53/32 10.9.0.0/24 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32 ::1/128 fe80::/10 ff00::/8
        open 10.2.0.9:7413
        session 10.1.0.99:54321 to 10.1.0.7:22
        Block 10.0.0.5:53 F-f3962b0f3faa13b102ea9fee01555461
        Block 10.0.0.5:3001 F-c075b4d8b7f4b6fe60a7251bd89e2528
        Block 10.0.0.6:3001 F-ca9fcfb26e964c96f9c7368b6570ec3a
        Block 10.1.0.7:3001 F-6bca0d9a054006cf75a9e43cb7cd8f98
        Block 10.1.0.99:3001 F-0acc9b96b188ec6a2c30dfe019c469ae
        Block 10.8.0.1:3001 F-f6df9627f2ebcef93a183cad9ce4dea3
        Block [fd02::5]:3001 F-2b6f5cd11a7abca04e0a6df8828fd51a
        withheld 127.0.0.1:3001: loopback, link-local or multicast: not reached through a network
        withheld [fe80::5]:3001: loopback, link-local or multicast: not reached through a network
        withheld 10.1.0.7:22: this host's own SSH port
        withheld 10.1.0.1:3001: a default gateway of this host
        withheld 10.1.0.53:3001: a resolver of this host
    "#]]
    .assert_eq(&show(plan(&set(1, &MIXED), &facts(), &config)));
}

#[test]
fn a_block_wins_over_a_count_and_order_does_not_matter() {
    let mut one = set(1, &["10.0.0.5:3001"]);
    one.decisions.push(decision("10.0.0.5:3001", Action::Shadow));
    let mut other = one.clone();
    other.decisions.reverse();
    let ruleset = plan(&one, &facts(), &Config::default()).0;
    assert_eq!(ruleset, plan(&other, &facts(), &Config::default()).0);
    assert_eq!(ruleset.blocks.values().next().unwrap().action, Action::Block);
}
