//! Whose packets are judged, and whose tries are noted.

use crate::{
    blocking::apply,
    lab::{INNOCENT, Lab, PORT, SHADOW, blocking, decision, empty, lab, sh, sign},
    talk::{assert_blocked, assert_flows, connect, datagram, echo, serve, shadow, within},
    upkeep::Running,
};
use enforcer::Approval;
use rules::{
    decision::Action,
    observation::{Attempt, Outcome},
};
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

fn attempts(lab: &Lab) -> Vec<Attempt> {
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::status(&config).await }).unwrap().attempts
}

fn told(all: &[Attempt]) -> Vec<String> {
    let mut told: Vec<String> = all.iter().map(|a| format!("{} {} {:?} {}", a.client, a.endpoint, a.action, a.count)).collect();
    told.sort();
    told
}

/// Connections and datagrams to what is blocked or counted; packets within a connection, and what goes to others, are no attempts.
#[test]
fn the_kernel_notes_who_tried_what_and_how_often() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut set = blocking(1, 60);
    set.decisions.push(decision(INNOCENT[0], PORT, Action::Shadow));
    apply(&lab, "router", sign(&set));
    assert_eq!(told(&attempts(&lab)), Vec::<String>::new(), "nobody tried yet");
    for to in shadow() {
        for _ in 0..3 {
            connect(&lab, to).unwrap_err();
        }
        datagram(&lab, to).unwrap_err();
    }
    let counted = SocketAddr::new(INNOCENT[0].parse().unwrap(), PORT);
    let mut open = connect(&lab, counted).unwrap();
    (0..5).for_each(|_| echo(&mut open).unwrap());
    assert_flows(&lab, SocketAddr::new(INNOCENT[1].parse().unwrap(), PORT));
    let said = attempts(&lab);
    assert_eq!(told(&said), ["10.91.0.2 10.92.0.2:3001 Block 4", "10.91.0.2 10.92.0.3:3001 Shadow 1", "fd91::2 [fd92::2]:3001 Block 4"]);
    assert_eq!(said[0].endpoint.to_string(), "10.92.0.3:3001", "the latest comes first");
    // A renewed set, and a table made right again, keep the notes; what is lifted is told no more.
    let mut next = empty(2, 60);
    next.decisions = vec![decision(SHADOW[0], PORT, Action::Block)];
    apply(&lab, "router", sign(&next));
    assert_eq!(told(&attempts(&lab)), ["10.91.0.2 10.92.0.2:3001 Block 4"]);
}

/// One connection as a user of the agent's host.
fn reaches(lab: &Lab, account: u32, to: &str) -> bool {
    let script = format!("exec 3<>/dev/tcp/{to}/{PORT} && printf E >&3 && head -c 1 <&3");
    let agent = lab.ns("agent");
    let user = format!("--reuid={account}");
    let args = ["netns", "exec", &agent, "setpriv", &user, "--clear-groups", "timeout", "2", "bash", "-c", &script];
    Command::new("ip").args(args).output().unwrap().stdout == b"E"
}

#[test]
fn at_an_agents_host_people_keep_working_where_accounts_are_named() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    for to in SHADOW {
        assert!(reaches(&lab, 4711, to) && reaches(&lab, 4712, to) && reaches(&lab, 1000, to));
    }
    let mut config = lab.config("agent");
    config.accounts = [4711, 4712].into();
    let signed = sign(&blocking(1, 60));
    lab.run("agent", move || async move { enforcer::apply(&config, &signed, Approval { many_new: true, ..Approval::default() }).await })
        .unwrap();
    for to in SHADOW {
        assert!(!reaches(&lab, 4711, to) && !reaches(&lab, 4712, to), "{to}: an agent's account still gets through");
        assert!(reaches(&lab, 1000, to), "{to}: a person is cut off");
    }
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    // Without accounts everybody on the host is bound again, by the same table.
    apply(&lab, "agent", sign(&blocking(2, 60)));
    for to in SHADOW {
        assert!(!reaches(&lab, 1000, to));
    }
    shadow().into_iter().for_each(|to| assert_blocked(&lab, to));
}

/// Each at the shadow server: is the agents' one cut, is the person's not?
fn binds(lab: &Lab, bound: &[u32], free: &[u32]) -> bool {
    bound.iter().all(|account| !reaches(lab, *account, SHADOW[0])) && free.iter().all(|account| reaches(lab, *account, SHADOW[0]))
}

#[test]
fn accounts_are_put_right_when_others_change_them_and_changed_by_a_restart() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let config = |accounts: &[u32]| enforcer::Config { accounts: accounts.iter().copied().collect(), ..lab.config("agent") };
    let mut running = Running::start_at(&lab, "agent", config(&[4711, 4712]));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    assert!(binds(&lab, &[4711, 4712], &[1000]));
    // Everybody bound, nobody bound, another one bound: none of it shows in the sets.
    let [rules, other] = ["add rule inet gnomon on_output", "replace rule inet gnomon on_output handle"];
    let listed = lab.nft("agent", "-a list chain inet gnomon on_output");
    let number = listed.lines().find(|l| l.contains("4712")).unwrap().rsplit(' ').next().unwrap().to_owned();
    for damage in
        [format!("{other} {number} meta skuid 1000 jump judge"), format!("{rules} jump judge"), "flush chain inet gnomon on_output".into()]
    {
        lab.nft("agent", &format!("'{damage}'"));
        let report = running.report();
        assert_eq!(report.outcome, Outcome::Applied, "{damage}: {}", report.reason);
        assert!(report.reason.contains("nft (pid "), "{damage}: {}", report.reason);
        within(Duration::from_secs(1), || binds(&lab, &[4711, 4712], &[1000]));
    }
    running.stop();
    // As many rules as before, about others: what is in force is what the configuration says now.
    let mut running = Running::start_at(&lab, "agent", config(&[4711, 4713]));
    assert_eq!(running.report().outcome, Outcome::Applied);
    assert!(binds(&lab, &[4711, 4713], &[4712, 1000]));
    running.stop();
    let mut running = Running::start_at(&lab, "agent", config(&[]));
    assert_eq!(running.report().outcome, Outcome::Applied);
    assert!(binds(&lab, &[4711, 4712, 4713, 1000], &[]));
    running.stop();
}

/// More clients than the kernel notes: whoever comes after is not noted, which is said, and blocked like everybody.
#[test]
fn where_no_more_tries_can_be_noted_blocks_hold_and_the_loss_is_told() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let agent = lab.ns("agent");
    // Any address of these is this host's own.
    sh(&format!("ip -n {agent} route add local 10.91.128.0/17 dev lo; ip -n {} route add 10.91.128.0/17 via 10.91.0.2", lab.ns("router")));
    let mut set = blocking(1, 600);
    set.agents = vec!["10.91.0.0/16".parse().unwrap(), "fd91::/64".parse().unwrap()];
    let try_from = |numbers: std::ops::Range<u32>| {
        let to = SocketAddr::new(SHADOW[0].parse().unwrap(), PORT);
        lab.within("agent", move || {
            let answered = |n: u32| {
                let socket = UdpSocket::bind((Ipv4Addr::from(0x0a5b_8000 + n), 0)).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                socket.send_to(b"u", to).unwrap();
                // Only the first is waited for: it shows that these addresses get answers where nothing is blocked.
                n == numbers.start && socket.recv(&mut [0; 8]).is_ok()
            };
            numbers.clone().filter(|n| answered(*n)).count()
        })
    };
    assert_eq!(try_from(0..1), 1, "an address of many reaches the server");
    apply(&lab, "router", sign(&set));
    let size = enforcer::names::TRIED_SIZE as u32;
    assert_eq!(try_from(0..size - 1), 0);
    let lost = |lab: &Lab| {
        let config = lab.config("router");
        let status = lab.run("router", move || async move { enforcer::status(&config).await }).unwrap();
        (status.attempts.len(), status.attempts_lost)
    };
    let told = rules::observation::PointStatus::MAX_ATTEMPTS;
    assert_eq!(lost(&lab), (told, u64::from(size) - 1 - told as u64), "room for one more, and what is not told of is counted");
    assert_eq!(try_from(size..size + 200), 0, "beyond the bound");
    assert_eq!(lost(&lab), (told, u64::from(size) - told as u64 + 1), "full: at least one more was not noted");
    // A client that was never noted.
    for to in shadow() {
        for _ in 0..3 {
            assert_blocked(&lab, to);
        }
    }
    for to in INNOCENT {
        assert_flows(&lab, SocketAddr::new(to.parse().unwrap(), PORT));
    }
}

/// Random policies that mean the same few places in every way there is: whatever planner and checker make of one, in the kernel what is
/// protected flows, and what is blocked does not. The checker alone is asked ten thousand times (`enforcer::check::tests`).
#[test]
fn fault_27_no_random_policy_cuts_what_is_protected() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(27);
    let mut state = seed;
    let mut chance = |of: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % of
    };
    let (mut cut, mut spared, mut refused) = (0, 0, 0);
    for case in 1..=60 {
        let mut config = lab.config("router");
        let mut set = empty(case, 30);
        let mut safe = Vec::new();
        for place in SHADOW.into_iter().chain(INNOCENT) {
            let at = SocketAddr::new(place.parse().unwrap(), PORT);
            let net = ipnet::IpNet::from(at.ip());
            let wide = ipnet::IpNet::new(at.ip(), net.prefix_len() - 1).unwrap().trunc();
            match chance(12) {
                0 => set.protected.push(net),
                1 => set.protected.push(wide),
                2 => set.protected_endpoints.push(at.to_string().parse().unwrap()),
                3 => config.protected.push(net),
                4 => config.protected_endpoints.push(at.to_string().parse().unwrap()),
                _ => {}
            }
            if chance(3) > 0 {
                set.decisions.push(decision(place, PORT, Action::Block));
            }
        }
        set.decisions.push(decision("10.91.0.1", PORT, Action::Block));
        for to in SHADOW.into_iter().chain(INNOCENT).map(|a| SocketAddr::new(a.parse().unwrap(), PORT)) {
            let covers = |nets: &[ipnet::IpNet]| nets.iter().any(|n| n.contains(&to.ip()));
            let named = |places: &[rules::endpoint::Endpoint]| places.iter().any(|e| e.address == to.ip());
            if covers(&set.protected) || covers(&config.protected) || named(&set.protected_endpoints) || named(&config.protected_endpoints)
            {
                safe.push(to);
            }
        }
        let (signed, meant) = (sign(&set), Approval { many_new: true, ..Approval::default() });
        let held = || lab.nft("router", "-s list table inet gnomon 2>/dev/null || true");
        let before = held();
        let outcome = lab.run("router", move || async move { enforcer::apply(&config, &signed, meant).await });
        if outcome.is_err() {
            // A set that contradicts itself: what was in force stays so, whole.
            assert_eq!(held(), before, "seed {seed}, case {case}");
            refused += 1;
            continue;
        }
        safe.iter().for_each(|to| assert_flows(&lab, *to));
        spared += safe.len();
        for to in
            set.decisions.iter().map(|d| SocketAddr::new(d.endpoint.address, PORT)).filter(|to| !to.ip().to_string().starts_with("10.91."))
        {
            if !safe.contains(&to) {
                // By TCP: the kernel sends only so many refusals of datagrams a second.
                assert_eq!(connect(&lab, to).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "seed {seed}, case {case}: {to}");
                cut += 1;
            }
        }
    }
    assert!(cut > 5 && spared > 20 && refused > 2, "seed {seed}: {cut} cut, {spared} spared, {refused} refused: proves too little");
}
