use super::*;
use crate::{
    fixtures::{Chance, decision, facts, set},
    ruleset::{self, Block},
};
use expect_test::expect;
use rules::decision::Action;

fn judge(ruleset: &Ruleset, set: &DecisionSet, config: &Config) -> Vec<Objection> {
    let facts = facts();
    objections(ruleset, &Against { set, facts: &facts, config, new_this_hour: 0, many_new: false, lease: set.lease.0, beside: 0 })
}

/// A planner that withholds nothing: what the checker has to stop by itself.
fn careless(set: &DecisionSet, config: &Config) -> Ruleset {
    let mut ruleset = ruleset::plan(set, &facts(), config).0;
    for d in &set.decisions {
        ruleset.blocks.insert(d.endpoint, Block { action: d.action, finding: d.finding.clone() });
    }
    ruleset
}

#[test]
fn a_good_plan_has_no_objection() {
    let set = set(1, &["10.0.0.5:3001", "[fd02::5]:3001", "10.1.0.53:3001", "127.0.0.1:3001"]);
    let config = Config::default();
    assert_eq!(judge(&ruleset::plan(&set, &facts(), &config).0, &set, &config), []);
}

#[test]
fn each_protected_thing_is_defended_without_the_planner() {
    let blocked = [
        "127.0.0.1:3001",
        "[::1]:3001",
        "0.0.0.0:3001",
        "10.0.0.5:0",
        "169.254.1.1:3001",
        "[fe80::9]:3001",
        "[ff02::1]:3001",
        "224.0.0.251:5353",
        "255.255.255.255:3001",
        "10.1.0.7:3001",
        "10.1.0.1:3001",
        "10.1.0.53:3001",
        "10.2.0.9:7413",
        "10.9.0.4:3001",
        "10.8.0.4:3001",
        "10.7.0.4:7412",
    ];
    let config = Config {
        protected: vec!["10.8.0.0/24".parse().unwrap()],
        protected_endpoints: vec!["10.7.0.4:7412".parse().unwrap()],
        ..Config::default()
    };
    let said: String = blocked
        .iter()
        .map(|endpoint| {
            let mut set = set(1, &[]);
            set.decisions = vec![decision(endpoint, Action::Block)];
            let found = judge(&careless(&set, &config), &set, &config);
            assert_eq!(found.len(), 1, "{endpoint}: {found:?}");
            format!("{}\n", found[0])
        })
        .collect();
    expect![[r#"
        127.0.0.1:3001: loopback
        [::1]:3001: loopback
        0.0.0.0:3001: no address
        10.0.0.5:0: port 0
        169.254.1.1:3001: link-local, multicast or broadcast
        [fe80::9]:3001: link-local, multicast or broadcast
        [ff02::1]:3001: link-local, multicast or broadcast
        224.0.0.251:5353: link-local, multicast or broadcast
        255.255.255.255:3001: link-local, multicast or broadcast
        10.1.0.7:3001: this host itself
        10.1.0.1:3001: a default gateway
        10.1.0.53:3001: a resolver
        10.2.0.9:7413: registered or protected by the same set
        10.9.0.4:3001: in a network that the same set protects
        10.8.0.4:3001: in a management network
        10.7.0.4:7412: protected by this host's configuration
    "#]]
    .assert_eq(&said);
}

#[test]
fn limits_hold_even_for_a_well_signed_set() {
    let mut wide = set(1, &["10.0.0.5:3001"]);
    wide.agents = ["0.0.0.0/0", "::/0", "10.0.0.0/7", "127.0.0.0/8"].map(|n| n.parse().unwrap()).to_vec();
    wide.lease = rules::period::Period::days(2);
    let mut config = Config::default();
    config.limits.max_blocks = 0;
    let ruleset = ruleset::plan(&wide, &facts(), &config).0;
    let facts = facts();
    let against =
        Against { set: &wide, facts: &facts, config: &config, new_this_hour: 501, many_new: false, lease: wide.lease.0, beside: 0 };
    let said: String = objections(&ruleset, &against).iter().map(|o| format!("{o}\n")).collect();
    expect![[r#"
        1 blocks: more than max_blocks = 0
        501 new blocks within an hour: more than max_new_per_hour = 500; a person may apply it with --many-new
        lease of 172800 s: outside 1s to 1d
        0.0.0.0/0: an agent range wider than /8
        ::/0: an agent range wider than /16
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_plan_without_its_own_safety_net_is_refused() {
    let set = set(1, &["10.0.0.5:3001"]);
    let mut ruleset = ruleset::plan(&set, &facts(), &Config::default()).0;
    ruleset.never.clear();
    ruleset.open.clear();
    ruleset.sessions.clear();
    let said: String = judge(&ruleset, &set, &Config::default()).iter().map(|o| format!("{o}\n")).collect();
    expect![[r#"
        10.9.0.0/24: must be in the never set and is not
        10.1.0.1/32: must be in the never set and is not
        fe80::1/128: must be in the never set and is not
        10.1.0.53/32: must be in the never set and is not
        10.1.0.7/32: must be in the never set and is not
        127.0.0.1/32: must be in the never set and is not
        fd01::7/128: must be in the never set and is not
        10.2.0.9:7413: must be in the open set and is not
        SSH session 10.1.0.99:54321 to 10.1.0.7:22: must be in the session set and is not
    "#]]
    .assert_eq(&said);
}

/// A server that holds a connection to our SSH port, even from the very port it serves at, stays blockable.
#[test]
fn an_ssh_session_does_not_protect_its_address_and_none_may_be_made_up() {
    let set = set(1, &["10.1.0.99:3001", "10.1.0.99:54321"]);
    let mut ruleset = ruleset::plan(&set, &facts(), &Config::default()).0;
    assert_eq!(ruleset.blocks.len(), 2);
    assert_eq!(judge(&ruleset, &set, &Config::default()), []);
    let end = |e: &str| e.parse().unwrap();
    ruleset.sessions.insert(crate::facts::Session { local: end("10.1.0.7:3001"), peer: end("10.1.0.99:3001") });
    let said: String = judge(&ruleset, &set, &Config::default()).iter().map(|o| format!("{o}\n")).collect();
    expect![[r#"
        SSH session 10.1.0.99:3001 to 10.1.0.7:3001: is kept open and does not exist
        10.1.0.7:3001: kept open as SSH, and is none of ssh_ports
    "#]]
    .assert_eq(&said);
}

#[test]
fn many_objections_are_counted_not_listed() {
    let mut set = set(1, &[]);
    set.decisions = (1..=100).map(|n| decision(&format!("127.0.0.1:{n}"), Action::Block)).collect();
    let found = judge(&careless(&set, &Config::default()), &set, &Config::default());
    assert_eq!(found.len(), SHOWN + 1);
    assert_eq!(found.last().unwrap().subject, "80 more");
}

/// 10,000 policies of a careless planner, judged here by the words of the promise and not by the checker's code: whatever passes cuts
/// nothing that is protected.
#[test]
fn whatever_passes_cuts_nothing_protected() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    let mut chance = Chance(seed);
    let (mut passed, mut refused) = (0, 0);
    for case in 0..10_000 {
        let (set, config) = random_policy(&mut chance);
        let mut ruleset = if chance.below(2) == 0 { careless(&set, &config) } else { ruleset::plan(&set, &facts(), &config).0 };
        if chance.below(10) == 0 {
            ruleset.never.pop_first();
        }
        if chance.below(10) == 0 {
            ruleset.sessions.clear();
        }
        if judge(&ruleset, &set, &config).is_empty() {
            passed += 1;
            assert_eq!(harm(&ruleset, &set, &config), None, "seed {seed} case {case}");
        } else {
            refused += 1;
        }
    }
    assert!(passed > 1_000 && refused > 1_000, "{passed} passed, {refused} refused: the cases are one-sided");
}

fn random_policy(chance: &mut Chance) -> (DecisionSet, Config) {
    let hosts = [
        "10.0.0.5",
        "10.0.0.6",
        "fd02::5",
        "10.1.0.7",
        "fd01::7",
        "10.1.0.1",
        "10.1.0.53",
        "10.1.0.99",
        "10.9.0.4",
        "10.8.0.4",
        "127.0.0.1",
        "10.2.0.9",
        "10.77.1.2",
        "192.168.3.3",
    ];
    let ports = [3000, 3001, 7412, 7413, 8080, 22, 53, 123, 443, 54321];
    let endpoint = |chance: &mut Chance| {
        // Mostly harmless, or nearly nothing would pass.
        let host = if chance.below(8) == 0 { chance.pick(&hosts) } else { chance.pick(&["10.0.0.5", "10.0.0.6", "fd02::5", "10.77.1.2"]) };
        let port = if chance.below(8) == 0 { chance.pick(&ports) } else { chance.pick(&[3000, 3001, 8080]) };
        Endpoint::new(host.parse().unwrap(), port)
    };
    let mut set = set(1, &[]);
    for _ in 0..chance.below(6) {
        let place = endpoint(chance).to_string();
        set.decisions.push(decision(&place, if chance.below(3) == 0 { Action::Shadow } else { Action::Block }));
    }
    set.protected_endpoints = (0..chance.below(2)).map(|_| endpoint(chance)).collect();
    if chance.below(10) == 0 {
        set.agents.push(chance.pick(&["0.0.0.0/0", "10.0.0.0/9", "::/0", "fd00::/15"]).parse().unwrap());
    }
    let mut config = Config { hooks: [chance.pick(&[Hook::Output, Hook::Input, Hook::Forward])].into(), ..Config::default() };
    if chance.below(2) == 0 {
        config.protected.push("10.8.0.0/24".parse().unwrap());
        config.protected_endpoints.push("10.2.0.9:7412".parse().unwrap());
    }
    (set, config)
}

/// What the packet filter would do, spelled out: the first protected conversation that it would cut.
fn harm(ruleset: &Ruleset, set: &DecisionSet, config: &Config) -> Option<String> {
    let facts = facts();
    let cut = |address: &str, port: u16| {
        let address: IpAddr = address.parse().unwrap();
        let place = Endpoint { address, port };
        let kept = ruleset.never.iter().any(|n| n.contains(&address)) || ruleset.open.contains(&place);
        (!kept && ruleset.blocks.contains_key(&place)).then(|| place.to_string())
    };
    let ports: std::collections::BTreeSet<u16> = ruleset.blocks.keys().map(|e| e.port).collect();
    let everywhere = |address: &str| ports.iter().find_map(|p| cut(address, *p));
    let mut kept: Vec<String> = ["127.0.0.1", "::1", "10.9.0.4"].map(String::from).to_vec();
    kept.extend(facts.gateways.iter().chain(&facts.resolvers).map(ToString::to_string));
    if !config.hooks.contains(&Hook::Input) {
        kept.extend(facts.own.iter().map(ToString::to_string));
    }
    if !config.protected.is_empty() {
        kept.push("10.8.0.4".to_owned());
    }
    let session = facts.ssh_sessions.iter().find_map(|s| {
        let through = ruleset.sessions.contains(s);
        (!through).then(|| cut(&s.peer.address.to_string(), s.peer.port)).flatten()
    });
    let hosts = kept.iter().find_map(|a| everywhere(a));
    let open = set.protected_endpoints.iter().chain(&config.protected_endpoints).find_map(|e| cut(&e.address.to_string(), e.port));
    let ssh = ["10.1.0.7", "fd01::7"].iter().find_map(|a| cut(a, 22));
    let elsewhere: IpAddr = "8.8.8.8".parse().unwrap();
    let world = ruleset.agents.iter().find(|n| n.contains(&elsewhere));
    hosts.or(session).or(open).or(ssh).or(world.map(|n| format!("agents {n}")))
}
