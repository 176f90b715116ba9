//! Ways past our rules are named, and what only looks like one is none.

use crate::{
    blocking::apply,
    lab::{Lab, blocking, lab, put, sh, sign},
    talk::{assert_blocked, serve, shadow},
};
use rules::observation::Applied;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

fn seen(lab: &Lab) -> Vec<String> {
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::status(&config).await }).unwrap().bypasses
}

#[test]
fn a_flowtable_that_rules_feed_is_named() {
    let Some(lab) = lab() else { return };
    let begin = "add table inet fw; add chain inet fw forward { type filter hook forward priority 0; };";
    let table = "add flowtable inet fw fast { hook ingress priority 0; devices = { left, right }; }";
    let ns = lab.ns("router");
    if !Command::new("ip").args(["netns", "exec", &ns, "/usr/sbin/nft", &format!("{begin} {table}")]).status().unwrap().success() {
        eprintln!("not run: this kernel has no flowtables (CONFIG_NF_FLOW_TABLE)");
        return;
    }
    assert_eq!(seen(&lab), [""; 0], "one that nothing feeds lets nothing by");
    lab.nft("router", "'add rule inet fw forward ct state established flow add @fast'");
    let named = seen(&lab);
    assert!(named.len() == 1 && named[0].starts_with("flowtable inet fw fast on left, right"), "{named:?}");
}

#[test]
fn destinations_translated_before_our_hooks_are_named_and_judged_with_the_one_before_that() {
    let Some(lab) = lab() else { return };
    assert_eq!(seen(&lab), [""; 0]);
    lab.nft("router", "'add table ip nat; add chain ip nat pre { type nat hook prerouting priority dstnat; }'");
    assert_eq!(seen(&lab), [""; 0], "nothing is translated yet");
    lab.nft("router", "'add rule ip nat pre tcp dport 8080 dnat to 10.92.0.2:3001'");
    let named = seen(&lab);
    assert!(named.len() == 1 && named[0].starts_with("destinations are translated in ip nat pre"), "{named:?}");
    let config = enforcer::Config { hooks: [enforcer::Hook::Forward, enforcer::Hook::Prerouting].into(), ..lab.config("router") };
    assert_eq!(lab.run("router", move || async move { enforcer::status(&config).await }).unwrap().bypasses, [""; 0]);
}

#[test]
fn destinations_translated_as_they_leave_are_named_at_an_agents_host() {
    let Some(lab) = lab() else { return };
    let seen = |lab: &Lab| {
        let config = lab.config("agent");
        lab.run("agent", move || async move { enforcer::status(&config).await }).unwrap().bypasses
    };
    lab.nft("agent", "'add table ip nat; add chain ip nat out { type nat hook output priority -100; }; add chain ip nat services'");
    lab.nft("agent", "'add rule ip nat out jump services'");
    assert_eq!(seen(&lab), [""; 0], "nothing is translated yet");
    lab.nft("agent", "'add rule ip nat services ip daddr 10.99.0.1 dnat to 10.92.0.2'");
    let named = seen(&lab);
    assert!(named.len() == 1 && named[0].starts_with("destinations are translated in ip nat services as they leave"), "{named:?}");
}

#[test]
fn what_is_not_tracked_or_accepted_earlier_is_blocked_all_the_same_and_no_bypass() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    apply(&lab, "router", sign(&blocking(1, 60)));
    lab.nft(
        "router",
        "'add table inet raw; add chain inet raw pre { type filter hook prerouting priority -300; }; add rule inet raw pre notrack'",
    );
    lab.nft(
        "router",
        "'add table inet fw; add chain inet fw forward { type filter hook forward priority -100; }; add rule inet fw forward accept'",
    );
    shadow().into_iter().for_each(|to| assert_blocked(&lab, to));
    assert_eq!(seen(&lab), [""; 0]);
}

/// The process on its own, since `/sys` shows the network of whoever mounted it.
struct Telling(Child, mpsc::Receiver<Applied>);

impl Telling {
    fn start(lab: &Lab, config: &enforcer::Config) -> Telling {
        let path = lab.data.path().join("config.json");
        std::fs::write(&path, serde_json::to_vec(config).unwrap()).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.ns("router"), env!("CARGO_BIN_EXE_enforcer")]).arg(path).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .filter_map(|l| serde_json::from_str(&l).ok())
                .take_while(|said| tell.send(Applied::clone(said)).is_ok())
                .count()
        });
        Telling(child, told)
    }

    fn bypasses(&self) -> Vec<String> {
        let limit = Duration::from_secs(10);
        std::iter::from_fn(|| self.1.recv_timeout(limit).ok()).map(|said| said.status.bypasses).find(|b| !b.is_empty()).unwrap_or_default()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bridge_that_is_not_filtered_and_a_rule_that_sends_elsewhere_are_in_the_reports() {
    let Some(lab) = lab() else { return };
    let ns = lab.ns("router");
    let file = lab.data.path().join("set.json");
    put(&file, &sign(&blocking(1, 60)));
    sh(&format!(
        "ip -n {ns} link add br7 type bridge; ip -n {ns} link add br8 type bridge
         for p in 1 2; do ip -n {ns} link add p$p type veth peer name q$p; ip -n {ns} link set p$p master br7; done
         for family in iptables ip6tables; do ip netns exec {ns} sh -c \"test ! -e /proc/sys/net/bridge || echo 0 > /proc/sys/net/bridge/bridge-nf-call-$family\"; done"
    ));
    lab.nft("router", "'add table netdev tap; add chain netdev tap in { type filter hook ingress device left priority 0; }; add rule netdev tap in udp dport 9 fwd to right'");
    let named = Telling::start(&lab, &enforcer::Config { sets: Some(file), ..lab.config("router") }).bypasses();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named[0].starts_with("bridge br7: what passes between its 2 ports"), "{named:?}");
    assert!(named[1].starts_with("rule in netdev tap in: what it sends to right"), "{named:?}");
}
