//! Blocks cut, refuse, spare others, and lapse; at each hook.

use crate::{
    lab::{Lab, blocking, decision, lab, sign},
    talk::{Bystander, assert_blocked, assert_flows, connect, echo, serve, shadow, stream, within},
};
use enforcer::Approval;
use rules::{decision::Action, observation::Outcome, wire::v1::Signed};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

pub fn apply(lab: &Lab, role: &str, signed: Signed) -> rules::observation::Applied {
    let config = lab.config(role);
    let meant = Approval { many_new: true, ..Approval::default() };
    lab.run(role, move || async move { enforcer::apply(&config, &signed, meant).await }).unwrap()
}

fn blocks_at(role: &str) {
    let Some(lab) = lab() else { return };
    let ends = serve(&lab);
    // Positive control: all of it flows.
    for to in crate::talk::addresses() {
        assert_flows(&lab, to);
    }
    let mut talking: Vec<_> = shadow().into_iter().map(|to| (to, connect(&lab, to).unwrap())).collect();
    talking.iter_mut().for_each(|(_, s)| echo(s).unwrap());
    let pushes_since = std::time::Instant::now();
    let mut pushing: Vec<_> = shadow().into_iter().map(|to| (to, stream(&lab, to))).collect();
    let bystander = Bystander::start(&lab);
    while ends.try_recv().is_ok() {}

    let applied = apply(&lab, role, sign(&blocking(1, 6)));
    assert_eq!((applied.outcome, applied.elements), (Outcome::Applied, 2), "{}", applied.reason);
    // A byte every 20 ms waits to be read since then: on a busy machine many.
    let before = pushes_since.elapsed().as_millis() as usize / 20;

    for (to, open) in &mut talking {
        assert_eq!(echo(open).unwrap_err().kind(), ErrorKind::ConnectionReset, "the open connection to {to}");
    }
    // The server learns at its next push, without a word from the client.
    let mut cut = Vec::new();
    while cut.len() < 2 {
        let (at, end) = ends.recv_timeout(Duration::from_secs(1)).expect("both pushing servers are told within a second");
        if shadow().contains(&at) && end == ErrorKind::ConnectionReset {
            cut.push(at);
        }
    }
    // And the client, which never says a word, is told as well.
    for (to, open) in &mut pushing {
        let mut rest = Vec::new();
        let end = open.read_to_end(&mut rest).unwrap_err().kind();
        assert!(rest.len() < before + 100, "{to} still pushes: {}, of which {before} before", rest.len());
        assert_eq!(end, ErrorKind::ConnectionReset, "the client's end of {to}");
    }
    for to in shadow() {
        assert_blocked(&lab, to);
    }
    // Nobody refreshes: the kernel ends it by itself.
    within(Duration::from_secs(9), || connect(&lab, shadow()[0]).is_ok());
    for to in crate::talk::addresses() {
        assert_flows(&lab, to);
    }
    bystander.assert_untouched();
}

#[test]
fn fault_24_a_router_cuts_what_is_open_refuses_what_is_new_and_lets_go_by_itself() {
    blocks_at("router");
}

#[test]
fn so_does_the_agents_host() {
    blocks_at("agent");
}

#[test]
fn and_the_servers_host() {
    blocks_at("server");
}

#[test]
fn shadow_mode_counts_and_lets_pass() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut set = blocking(1, 60);
    set.decisions = crate::lab::SHADOW.iter().map(|a| decision(a, crate::lab::PORT, Action::Shadow)).collect();
    apply(&lab, "router", sign(&set));
    for to in shadow() {
        assert_flows(&lab, to);
    }
    let config = lab.config("router");
    let status = lab.run("router", move || async move { enforcer::status(&config).await }).unwrap();
    assert_eq!((status.desired, status.enforced), (2, 2));
    for element in status.elements {
        assert!(element.packets >= 6, "{element:?}");
    }
}

/// The kernel's own words by netlink, and nft's JSON: two readers that share nothing must see the same table.
#[test]
fn what_netlink_reads_is_what_nft_lists() {
    let Some(lab) = lab() else { return };
    let mut set = blocking(1, 600);
    for agents in ["10.200.0.1/32", "10.200.0.2/32", "10.200.0.3/32", "255.255.255.254/31", "fd00:ffff::/127"] {
        set.agents.push(agents.parse().unwrap());
    }
    for protected in ["10.201.0.0/16", "10.202.0.1/32", "ffff::/16"] {
        set.protected.push(protected.parse().unwrap());
    }
    for endpoint in ["10.203.0.1:443", "[fd03::1]:65535"] {
        set.protected_endpoints.push(endpoint.parse().unwrap());
    }
    set.decisions.extend((1..300).map(|n| decision(&format!("10.204.{}.{}", n / 250, n % 250), 1000 + n, Action::Shadow)));
    apply(&lab, "router", sign(&set));
    let config = lab.config("router");
    let (kernel, nft) = lab.run("router", move || async move {
        let kernel = enforcer::netlink::Monitor::open().unwrap().table().unwrap().unwrap();
        let nft = enforcer::nft::Nft { path: config.nft, timeout: Duration::from_secs(10) }.list().await.unwrap().unwrap();
        (kernel, nft)
    });
    assert_eq!(kernel.agents, nft.agents);
    assert_eq!(kernel.never, nft.never);
    assert_eq!(kernel.open, nft.open);
    assert_eq!((&kernel.foreign, &nft.foreign), (&vec![], &vec![]));
    let what = |p: &enforcer::present::Present| p.blocks.iter().map(|(e, h)| (*e, h.action, h.finding.clone())).collect::<Vec<_>>();
    assert_eq!(what(&kernel).len(), 301);
    assert!(what(&kernel) == what(&nft), "the readers differ");
    assert!(kernel.blocks.values().all(|h| h.left > Duration::from_secs(590) && h.left <= Duration::from_secs(600)));
    for present in [kernel, nft] {
        assert!(enforcer::render::skeleton::is_whole(&present, &[enforcer::Hook::Forward].into()), "{}", present.skeleton);
    }
}

/// The last line: even an element that slipped past planner and checker cannot cut what is protected.
#[test]
fn fault_27_the_kernel_itself_keeps_what_is_protected() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let [v4, v6] = crate::lab::INNOCENT;
    let mut set = blocking(1, 60);
    set.protected.push(format!("{v4}/32").parse().unwrap());
    set.protected_endpoints.push(format!("[{v6}]:{}", crate::lab::PORT).parse().unwrap());
    apply(&lab, "router", sign(&set));
    for (set, address) in [("block4", v4), ("block6", v6)] {
        lab.nft("router", &format!("'add element inet gnomon {set} {{ {address} . {} timeout 60s }}'", crate::lab::PORT));
    }
    for to in crate::talk::addresses().into_iter().skip(2) {
        assert_flows(&lab, to);
    }
    for to in shadow() {
        assert_blocked(&lab, to);
    }
}

/// A shadow server that holds connections to our SSH port keeps these, even from a port that is blocked, and gains nothing by it.
#[test]
fn an_ssh_session_goes_on_and_its_address_stays_blocked() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let ssh = lab.within("agent", || std::net::TcpListener::bind("10.91.0.2:22").unwrap());
    let mut sessions: Vec<_> = ["10.92.0.2:0", "10.92.0.2:3003"].map(|from| session(&lab, from, &ssh)).into();
    let mut set = blocking(1, 30);
    set.decisions.push(decision("10.92.0.2", 3003, Action::Block));
    let applied = apply(&lab, "agent", sign(&set));
    assert_eq!((applied.outcome, applied.elements), (Outcome::Applied, 3), "{}", applied.reason);
    for to in shadow() {
        assert_blocked(&lab, to);
    }
    for (client, server) in &mut sessions {
        client.write_all(b"?").unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"!").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    let config = lab.config("agent");
    let listed = lab.run("agent", move || async move {
        enforcer::nft::Nft { path: config.nft, timeout: config.nft_timeout.0 }.list().await.unwrap().unwrap()
    });
    assert_eq!(listed.sessions.len(), 2, "{:?}", listed.sessions);
}

/// Both ends of a connection from the server's host, from a port of its choice.
fn session(lab: &Lab, from: &str, to: &std::net::TcpListener) -> (TcpStream, TcpStream) {
    let (from, at) = (from.parse().unwrap(), to.local_addr().unwrap());
    let client = lab.run("server", move || async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(from).unwrap();
        socket.connect(at).await.unwrap().into_std().unwrap()
    });
    client.set_nonblocking(false).unwrap();
    let ends = (client, to.accept().unwrap().0);
    for end in [&ends.0, &ends.1] {
        end.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    }
    ends
}
