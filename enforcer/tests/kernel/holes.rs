//! Ways in which blocks could let through what they must not, or end before they should.

use crate::{
    blocking::apply,
    lab::{Lab, PORT, SHADOW, blocking, decision, empty, lab, sh, sign},
    talk::{assert_blocked, assert_flows, connect, echo, serve, shadow, within},
    upkeep::{Running, is_blocked},
};
use enforcer::{Approval, Error, Hook};
use rules::{decision::Action, observation::Outcome, period::Period};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

/// Every way out is kept open: all hops of a default route, and those of the tables that policy routing asks.
#[test]
fn the_gateways_of_every_table_and_every_hop_are_not_cut() {
    let Some(lab) = lab() else { return };
    let agent = lab.ns("agent");
    sh(&format!(
        "ip -n {agent} route replace default nexthop via 10.91.0.1 nexthop via 10.91.0.3
         ip -n {agent} route add default via 10.91.0.4 table 77
         ip -n {agent} route add 0.0.0.0/1 via inet6 fd91::5
         ip -n {agent} -6 route add default table 78 nexthop via fd91::6 nexthop via fd91::7
         ip -n {agent} route add 10.99.0.0/16 via 10.91.0.8"
    ));
    let mut set = empty(1, 60);
    let gateways = ["10.91.0.1", "10.91.0.3", "10.91.0.4", "fd91::1", "fd91::5", "fd91::6", "fd91::7"];
    set.decisions = gateways.iter().chain(&["10.91.0.8"]).map(|a| decision(a, PORT, Action::Block)).collect();
    let (config, signed) = (lab.config("agent"), sign(&set));
    let status = lab.run("agent", move || async move {
        enforcer::apply(&config, &signed, Approval::default()).await.unwrap();
        enforcer::status(&config).await.unwrap()
    });
    assert_eq!((status.withheld.len(), status.desired), (gateways.len(), 1), "{:?}", status.withheld);
    let held = lab.nft("agent", "list table inet gnomon");
    assert!(held.contains("10.91.0.8") && gateways.iter().all(|a| !held.contains(&format!("{a} . "))), "{held}");
}

/// A lease of no length would have no end for the kernel.
#[test]
fn a_trial_too_short_to_confirm_is_refused_and_nothing_is_in_the_kernel_without_an_end() {
    let Some(lab) = lab() else { return };
    for confirm_within in [0, 500].map(|micros| Some(Period(Duration::from_micros(micros)))) {
        let (config, signed) = (lab.config("router"), sign(&blocking(1, 60)));
        let approval = Approval { confirm_within, ..Approval::default() };
        let said = lab.run("router", move || async move { enforcer::apply(&config, &signed, approval).await });
        assert!(matches!(said, Err(Error::TrialTooShort { .. })), "{said:?}");
        assert!(!lab.nft("router", "list ruleset").contains("gnomon"));
    }
}

/// Who stops enforcement while a commit is on its way has the last word, and neither `rollback` nor `confirm` closes the door again.
#[test]
fn what_was_on_its_way_when_a_person_stopped_it_is_taken_away_again() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let slow = lab.data.path().join("nft-slow");
    std::fs::write(&slow, "#!/bin/sh\nsleep 4\nexec /usr/sbin/nft \"$@\"\n").unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for generation in [1, 2] {
        apply(&lab, "router", sign(&blocking(generation, 60)));
    }
    assert_blocked(&lab, shadow()[0]);
    lab.nft("router", "flush ruleset");
    let config = enforcer::Config { nft: slow, ..lab.config("router") };
    let (applying, signed) = (config.clone(), sign(&blocking(3, 60)));
    let applied = lab.spawn("router", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(enforcer::apply(&applying, &signed, Approval::default()))
    });
    std::thread::sleep(Duration::from_secs(1));
    let stopping = lab.config("router");
    lab.run("router", move || async move { enforcer::panic(&stopping, "outage").await }).unwrap();
    let said = applied.join().unwrap();
    assert!(matches!(said, Err(Error::Stopped(_))), "{said:?}");
    assert_flows(&lab, shadow()[0]);
    let config = lab.config("router");
    let (rolled, confirmed) =
        lab.run("router", move || async move { (enforcer::rollback(&config).await, enforcer::confirm(&config).await) });
    assert!(rolled.unwrap().reason.contains("stays stopped"));
    assert!(matches!(confirmed, Err(Error::Stopped(_))), "{confirmed:?}");
    assert_flows(&lab, shadow()[0]);
    assert!(!lab.nft("router", "list ruleset").contains("gnomon"));
}

/// The glass breaks where keys and the state directory are damaged.
#[test]
fn the_glass_breaks_on_a_host_whose_files_are_damaged() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    apply(&lab, "router", sign(&blocking(1, 60)));
    assert_blocked(&lab, shadow()[0]);
    let file = lab.data.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let config = enforcer::Config { data: file, trusted_keys: vec!["garbage".into()], ..lab.config("router") };
    lab.run("router", move || async move { enforcer::panic(&config, "outage").await }).unwrap_err();
    assert_flows(&lab, shadow()[0]);
}

/// What a router publishes of its own address is blocked by that name, and its withheld ones are told.
#[test]
fn a_published_port_of_the_routers_own_address_is_blocked_where_destinations_are_seen() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    lab.nft("router", "'add table ip nat; add chain ip nat pre { type nat hook prerouting priority dstnat; }'");
    for (port, to) in [(8080, SHADOW[0]), (8081, "10.92.0.3")] {
        lab.nft("router", &format!("'add rule ip nat pre ip daddr 10.91.0.1 tcp dport {port} dnat to {to}:{PORT}'"));
    }
    let [published, other] = [8080, 8081].map(|port| SocketAddr::new("10.91.0.1".parse().unwrap(), port));
    for to in [published, other] {
        connect(&lab, to).and_then(|mut s| echo(&mut s)).unwrap();
    }
    let mut set = empty(1, 60);
    set.decisions = vec![decision("10.91.0.1", 8080, Action::Block), decision("10.91.0.1", 22, Action::Block)];
    let (forward, both) = (lab.config("router"), [Hook::Forward, Hook::Prerouting].into());
    let both = enforcer::Config { hooks: both, data: lab.data.path().join("both"), ..lab.config("router") };
    for (config, withheld) in [(forward, 2), (both, 1)] {
        let signed = sign(&set);
        let status = lab.run("router", move || async move {
            enforcer::apply(&config, &signed, Approval::default()).await.unwrap();
            enforcer::status(&config).await.unwrap()
        });
        assert_eq!((status.withheld.len(), status.desired), (withheld, 2 - withheld), "{:?}", status.withheld);
        assert_eq!(status.bypasses.iter().any(|b| b.contains("ip nat pre")), withheld == 2, "{:?}", status.bypasses);
        let refused = connect(&lab, published).is_err_and(|why| why.kind() == ErrorKind::ConnectionRefused);
        assert_eq!(refused, withheld == 1);
        connect(&lab, other).and_then(|mut s| echo(&mut s)).unwrap();
    }
}

/// Somebody hangs with the lock, or there is no room to write down why: the glass breaks, and the loop leaves it so.
#[test]
fn the_glass_breaks_while_the_lock_is_held_and_nobody_puts_the_table_back() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let hangs = std::fs::File::options().write(true).open(lab.config("router").data.join("lock")).unwrap();
    hangs.lock().unwrap();
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::panic(&config, "outage").await }).unwrap();
    drop(hangs);
    let said = running.report();
    assert!(said.status.stopped.is_some(), "{said:?}");
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    assert_eq!(lab.nft("router", "list ruleset"), "");
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::resume(&config).await }).unwrap();
    within(Duration::from_secs(5), || is_blocked(&lab));
    running.stop();
}

/// A server among agents, at a port that clients have otherwise.
const HIGH: u16 = 40_000;

fn echoing(lab: &Lab, at: SocketAddr) {
    let listener = lab.within("server", move || TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {}
            });
        }
    });
}

#[test]
fn a_server_among_agents_at_an_ephemeral_port_gets_no_request() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let places = SHADOW.map(|a| SocketAddr::new(a.parse().unwrap(), HIGH));
    places.iter().for_each(|at| echoing(&lab, *at));
    let mut open = places.map(|at| connect(&lab, at).unwrap());
    open.iter_mut().for_each(|s| echo(s).unwrap());
    let mut set = empty(1, 60);
    set.agents.extend(["10.92.0.0/24", "fd92::/64"].map(|net| net.parse::<ipnet::IpNet>().unwrap()));
    set.decisions = SHADOW.iter().map(|a| decision(a, HIGH, Action::Block)).collect();
    apply(&lab, "router", sign(&set));
    for stream in &mut open {
        assert_eq!(echo(stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    for at in places {
        assert_eq!(connect(&lab, at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn what_is_in_force_outlasts_a_trial_of_something_else() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let [v4, v6] = shadow()[..] else { unreachable!() };
    let of = |generation, at: &str| {
        let mut set = empty(generation, 9);
        set.decisions = vec![decision(at, PORT, Action::Block)];
        sign(&set)
    };
    apply(&lab, "router", of(1, SHADOW[0]));
    let begin = Instant::now();
    let try_out = |seconds| {
        let (config, signed) = (lab.config("router"), of(2, SHADOW[1]));
        let trial = Approval { confirm_within: Some(Period::seconds(seconds)), many_new: false };
        lab.run("router", move || async move { enforcer::apply(&config, &signed, trial).await })
    };
    let long = try_out(7);
    assert!(matches!(long, Err(Error::TrialTooLong { .. })), "{long:?}");
    // A third of the lease gone: no ordinary look would renew it yet.
    within(Duration::from_secs(5), || begin.elapsed() > Duration::from_millis(2500));
    try_out(6).unwrap();
    assert_blocked(&lab, v6);
    // Without being renewed when the trial began, the other block would be gone now.
    within(Duration::from_secs(12), || begin.elapsed() > Duration::from_millis(9500));
    assert_blocked(&lab, v4);
    assert_flows(&lab, v6);
}

#[test]
fn whoever_flushes_the_table_during_a_trial_ends_it_and_what_was_in_force_is_again() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let mut more = blocking(2, 60);
    more.decisions.push(decision(SHADOW[0], PORT + 1, Action::Block));
    let (config, signed) = (lab.config("router"), sign(&more));
    let trial = Approval { confirm_within: Some(Period::seconds(30)), many_new: false };
    lab.run("router", move || async move { enforcer::apply(&config, &signed, trial).await }).unwrap();
    // The loop knows of the trial once it looked at the state directory; what it does not know of is mended as ever.
    std::thread::sleep(Duration::from_millis(1200));
    assert!(is_blocked(&lab) && lab.nft("router", "list set inet gnomon block4").contains("3002"));
    lab.nft("router", "'flush ruleset'");
    within(Duration::from_secs(2), || is_blocked(&lab));
    let said = running.report();
    assert_eq!((said.outcome, said.generation), (Outcome::RolledBack, 1), "{}", said.reason);
    assert!(said.reason.contains("on trial when nft (pid "), "{}", said.reason);
    assert!(!lab.nft("router", "list set inet gnomon block4").contains("3002"), "what was on trial is not mended");
    running.stop();
}

/// Two enforcers undo each other's blocks, which is said at once; whoever else takes the name by which they know of each other keeps
/// none of them off.
#[test]
fn a_second_enforcer_in_a_namespace_says_so_and_a_squatter_of_the_name_stops_nobody() {
    use std::os::{linux::net::SocketAddrExt, unix::net};
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let name = net::SocketAddr::from_abstract_name("gnomon-enforcer").unwrap();
    let squatter = lab.within("router", move || net::UnixDatagram::bind_addr(&name).unwrap());
    let enforces = |alone: bool, generation: u64| {
        let mut running = Running::start(&lab, lab.config("router"));
        if !alone {
            let said = running.report();
            assert!(said.outcome == Outcome::Failed && said.reason.contains("undo each other's blocks"), "{said:?}");
        }
        running.send(sign(&blocking(generation, 60)));
        let said = running.report();
        assert_eq!(said.outcome, Outcome::Applied, "{}", said.reason);
        assert!(is_blocked(&lab));
        running
    };
    enforces(false, 1).stop();
    drop(squatter);
    let first = enforces(true, 2);
    let other = enforcer::Config { data: lab.data.path().join("other"), ..lab.config("router") };
    let mut second = Running::start(&lab, other);
    assert!(second.report().reason.contains("undo each other's blocks"));
    second.stop();
    first.stop();
}

#[test]
fn the_glass_breaks_without_nft() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    apply(&lab, "router", sign(&blocking(1, 60)));
    assert!(is_blocked(&lab));
    let config = enforcer::Config { nft: "/nonexistent/nft".into(), ..lab.config("router") };
    lab.run("router", move || async move { enforcer::panic(&config, "outage").await }).unwrap();
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    assert_eq!(lab.nft("router", "list ruleset"), "");
}
