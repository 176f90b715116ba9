//! Every way traffic takes: what aims at a virtual address, what comes out of a container, several protocols over one connection,
//! ports of the infrastructure, fragments. Positive control first, each time.

use crate::{
    blocking::apply,
    lab::{INNOCENT, Lab, PORT, SHADOW, blocking, decision, empty, lab, sh, sign},
    talk::{Bystander, assert_flows, connect, datagram, echo, serve, shadow, stream, within},
};
use rules::{decision::Action, observation::Outcome};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

/// Bytes of a conversation that goes on as long as both sides like: opening, its answer, and then one round after the other.
struct Speech {
    name: &'static str,
    port: u16,
    open: &'static [u8],
    opened: &'static [u8],
    say: &'static [u8],
    hear: &'static [u8],
}

/// HTTP/2 (RFC 9113): preface and SETTINGS, then PINGs. WebSocket (RFC 6455): upgrade, then masked text frames.
const SPEECHES: [Speech; 2] = [
    Speech {
        name: "HTTP/2",
        port: 3002,
        open: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        opened: b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0",
        say: b"\0\0\x08\x06\0\0\0\0\0gnomon!!",
        hear: b"\0\0\x08\x06\x01\0\0\0\0gnomon!!",
    },
    Speech {
        name: "WebSocket",
        port: 3004,
        open: b"GET /mcp HTTP/1.1\r\nHost: shadow\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        opened: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        say: b"\x81\x82\0\0\0\0hi",
        hear: b"\x81\x02hi",
    },
];

fn answer(lab: &Lab, at: SocketAddr, speech: &'static Speech) {
    let listener = lab.within("server", move || TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || -> io::Result<()> {
                let (mut open, mut say) = (vec![0; speech.open.len()], vec![0; speech.say.len()]);
                stream.read_exact(&mut open)?;
                assert_eq!(open, speech.open);
                stream.write_all(speech.opened)?;
                loop {
                    stream.read_exact(&mut say)?;
                    stream.write_all(speech.hear)?;
                }
            });
        }
    });
}

fn open(lab: &Lab, to: SocketAddr, speech: &Speech) -> io::Result<TcpStream> {
    let mut stream = connect(lab, to)?;
    stream.write_all(speech.open)?;
    let mut opened = vec![0; speech.opened.len()];
    stream.read_exact(&mut opened)?;
    assert_eq!(opened, speech.opened, "{}", speech.name);
    Ok(stream)
}

fn round(stream: &mut TcpStream, speech: &Speech) -> io::Result<()> {
    stream.write_all(speech.say)?;
    let mut heard = vec![0; speech.hear.len()];
    stream.read_exact(&mut heard)?;
    assert_eq!(heard, speech.hear, "{}", speech.name);
    Ok(())
}

#[test]
fn fault_24_http2_and_websocket_are_cut_in_the_middle_and_come_back() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let bystander = Bystander::start(&lab);
    let mut talks = Vec::new();
    let mut set = empty(1, 4);
    for speech in &SPEECHES {
        for address in SHADOW {
            let at = SocketAddr::new(address.parse().unwrap(), speech.port);
            answer(&lab, at, speech);
            let mut talk = open(&lab, at, speech).unwrap();
            round(&mut talk, speech).unwrap();
            talks.push((at, talk, speech));
            set.decisions.push(decision(address, speech.port, Action::Block));
        }
    }
    apply(&lab, "router", sign(&set));
    for (at, talk, speech) in &mut talks {
        assert_eq!(round(talk, speech).unwrap_err().kind(), ErrorKind::ConnectionReset, "{} with {at}", speech.name);
        assert_eq!(open(&lab, *at, speech).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{} with {at}", speech.name);
    }
    within(Duration::from_secs(8), || talks.iter().all(|(at, _, speech)| open(&lab, *at, speech).is_ok()));
    bystander.assert_untouched();
}

#[test]
fn fault_25_datagrams_are_refused_in_words_and_counted() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    for to in shadow() {
        assert_flows(&lab, to);
    }
    apply(&lab, "router", sign(&blocking(1, 60)));
    for to in shadow() {
        // ICMP and ICMPv6 "administratively prohibited" reach the socket as these.
        let why = datagram(&lab, to).unwrap_err();
        assert!(matches!(why.kind(), ErrorKind::HostUnreachable | ErrorKind::PermissionDenied), "{to}: {why}");
    }
    let config = lab.config("router");
    let status = lab.run("router", move || async move { enforcer::status(&config).await }).unwrap();
    assert!(status.elements.iter().all(|e| e.packets == 1), "{:?}", status.elements);
}

/// The router answers for a virtual address and sends what comes to the shadow server: clients know only the virtual one.
#[test]
fn fault_26_a_virtual_address_is_blocked_by_the_name_that_clients_know() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    lab.nft(
        "router",
        &format!(
            "'add table inet vips; add chain inet vips swap {{ type nat hook prerouting priority -100; }};
              add rule inet vips swap ip daddr 10.99.0.1 tcp dport 80 dnat ip to {0}:{PORT};
              add rule inet vips swap ip daddr 10.99.0.1 udp dport 80 dnat ip to {0}:{PORT};
              add rule inet vips swap ip6 daddr fd99::1 tcp dport 80 dnat ip6 to [{1}]:{PORT};
              add rule inet vips swap ip6 daddr fd99::1 udp dport 80 dnat ip6 to [{1}]:{PORT}'",
            SHADOW[0], SHADOW[1]
        ),
    );
    let virtuals: Vec<SocketAddr> = ["10.99.0.1:80", "[fd99::1]:80"].map(|a| a.parse().unwrap()).into();
    let mut open: Vec<_> = virtuals.iter().map(|to| (connect(&lab, *to).unwrap(), stream(&lab, *to))).collect();
    for (to, (talk, _)) in virtuals.iter().zip(&mut open) {
        echo(talk).unwrap();
        assert_flows(&lab, *to);
    }
    let bystander = Bystander::start(&lab);
    let mut set = empty(1, 5);
    set.decisions = vec![decision("10.99.0.1", 80, Action::Block), decision("fd99::1", 80, Action::Block)];
    let mut config = lab.config("router");
    config.hooks.insert(enforcer::Hook::Prerouting);
    let signed = sign(&set);
    let said = lab.run("router", move || async move { enforcer::apply(&config, &signed, enforcer::Approval::default()).await }).unwrap();
    assert_eq!((said.outcome, said.elements), (Outcome::Applied, 2));
    for (to, (talk, pushed)) in virtuals.iter().zip(&mut open) {
        assert_eq!(echo(talk).unwrap_err().kind(), ErrorKind::ConnectionReset, "{to}");
        assert_eq!(pushed.read_to_end(&mut Vec::new()).unwrap_err().kind(), ErrorKind::ConnectionReset, "the stream from {to}");
        crate::talk::assert_blocked(&lab, *to);
    }
    // The same server by its real address is another endpoint, which nobody blocked.
    for to in shadow() {
        assert_flows(&lab, to);
    }
    within(Duration::from_secs(9), || virtuals.iter().all(|to| connect(&lab, *to).is_ok()));
    bystander.assert_untouched();
}

/// As Docker does: a bridge on the host, an address behind it, and masquerading of what leaves.
#[test]
fn fault_26_what_a_container_sends_is_judged_by_its_own_address() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let (agent, inner) = (lab.ns("agent"), lab.ns("inner"));
    sh(&format!(
        "ip netns add {inner}; ip -n {agent} link add docker0 type bridge; ip -n {agent} addr add 172.30.0.1/24 dev docker0
         ip link add eth0 netns {inner} type veth peer name v0 netns {agent}; ip -n {agent} link set v0 master docker0
         ip -n {inner} addr add 172.30.0.2/24 dev eth0
         for l in docker0 v0; do ip -n {agent} link set $l up; done; ip -n {inner} link set lo up; ip -n {inner} link set eth0 up
         ip -n {inner} route add default via 172.30.0.1; ip netns exec {agent} sysctl -qw net.ipv4.ip_forward=1
         ip netns exec {agent} iptables-nft -t nat -A POSTROUTING -s 172.30.0.0/24 ! -o docker0 -j MASQUERADE
         ip netns exec {agent} iptables-nft -A FORWARD -i docker0 -j ACCEPT"
    ));
    let inside = Inner(inner);
    let [to, other] = [SHADOW[0], INNOCENT[0]].map(|a| SocketAddr::new(a.parse().unwrap(), PORT));
    let reach = |to: SocketAddr| lab.within("inner", move || TcpStream::connect_timeout(&to, Duration::from_secs(1)));
    within(Duration::from_secs(10), || reach(to).is_ok());
    let mut config = lab.config("agent");
    config.hooks = [enforcer::Hook::Output, enforcer::Hook::Forward].into();
    let mut set = blocking(1, 4);
    set.agents.push("172.30.0.0/24".parse().unwrap());
    let before = lab.nft("agent", "-s list table ip nat");
    let (signed, meant) = (sign(&set), enforcer::Approval { many_new: true, ..Default::default() });
    let said = lab.run("agent", move || async move { enforcer::apply(&config, &signed, meant).await }).unwrap();
    assert_eq!(said.outcome, Outcome::Applied);
    assert_eq!(reach(to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(connect(&lab, to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "the host itself");
    assert!(reach(other).is_ok());
    within(Duration::from_secs(8), || reach(to).is_ok());
    assert_eq!(lab.nft("agent", "-s list table ip nat"), before);
    drop(inside);
}

struct Inner(String);

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A datagram of three fragments: the first is refused, so nothing can be put together. (Tagged frames: this needs a kernel with 802.1Q.)
#[test]
fn fault_26_what_comes_in_fragments_does_not_arrive() {
    let Some(lab) = lab() else { return };
    for (address, any) in SHADOW.into_iter().zip(["0.0.0.0:0", "[::]:0"]) {
        let to = SocketAddr::new(address.parse().unwrap(), 3005);
        let sink = lab.within("server", move || UdpSocket::bind(to).unwrap());
        sink.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let send = || {
            lab.within("agent", move || {
                let socket = UdpSocket::bind(any).unwrap();
                let _ = socket.send_to(&[7; 4000], to);
            });
            sink.recv(&mut [0; 4096]).is_ok()
        };
        assert!(send());
        let mut set = empty(if to.is_ipv4() { 1 } else { 2 }, 4);
        set.decisions = vec![decision(address, 3005, Action::Block)];
        apply(&lab, "router", sign(&set));
        for _ in 0..3 {
            assert!(!send());
        }
        within(Duration::from_secs(8), send);
    }
}

/// A shadow server at port 53 is out of nobody's reach, and what resolves names goes on.
#[test]
fn a_shadow_server_at_a_port_of_the_infrastructure_is_cut_and_datagrams_there_pass() {
    let Some(lab) = lab() else { return };
    for port in [53, 123, 853] {
        let at = SocketAddr::new(SHADOW[0].parse().unwrap(), port);
        let (listener, datagrams) = lab.within("server", move || (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap()));
        std::thread::spawn(move || {
            let mut byte = [0; 8];
            while let Ok((n, from)) = datagrams.recv_from(&mut byte) {
                let _ = datagrams.send_to(&byte[..n], from);
            }
        });
        assert!(connect(&lab, at).is_ok());
        let mut set = empty(u64::from(port), 60);
        set.decisions = vec![decision(SHADOW[0], port, Action::Block)];
        assert_eq!(apply(&lab, "router", sign(&set)).elements, 1);
        assert_eq!(connect(&lab, at).unwrap_err().kind(), ErrorKind::ConnectionRefused, "port {port}");
        datagram(&lab, at).unwrap();
        drop(listener);
    }
}
