//! What is true of this host: its addresses, its gateways, its resolvers, and who administers it right now.
//!
//! What the kernel tells of routes, text of `/proc/thread-self/net` and of `resolv.conf` in, addresses out; the files are read at the rim
//! ([`Facts::gather`]). What cannot be read is named in `unknown`, since a protection that is missing must not look like one that is not
//! needed.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use rules::endpoint::Endpoint;

/// `thread-self`, since a thread may live in a network namespace of its own.
const NET: &str = "/proc/thread-self/net";
const MAX_FILE: u64 = 16 << 20;
/// Strangers may open connections to an SSH port; more than this are not protected, and said.
const MAX_SESSIONS: usize = 1024;

/// One established connection to an SSH port of this host. Only this conversation is protected, never the address at its other end:
/// anybody can open a connection, also a server that is to be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    pub local: Endpoint,
    pub peer: Endpoint,
}

/// Sessions that were read, for as long as nobody connected to this host since: the kernel walks its whole table of sockets to list them
/// (10 ms with 24 GiB of memory), and tells the number of connections accepted so far at once.
#[derive(Debug, Default)]
pub struct Sessions {
    /// When, and at which number.
    read: Option<(Instant, u64)>,
    known: BTreeSet<Session>,
}

impl Sessions {
    /// One that ended meanwhile is protected so much longer at most.
    const FOR: Duration = Duration::from_secs(60);

    fn still(&self, accepted: Option<u64>) -> Option<&BTreeSet<Session>> {
        let (at, then) = self.read?;
        (accepted? == then && at.elapsed() < Sessions::FOR).then_some(&self.known)
    }
}

/// What a host's routing tables say about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub own: BTreeSet<IpAddr>,
    /// Next hops of default routes.
    pub gateways: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub own: BTreeSet<IpAddr>,
    pub gateways: BTreeSet<IpAddr>,
    pub resolvers: BTreeSet<IpAddr>,
    pub ssh_sessions: BTreeSet<Session>,
    /// What could not be read, or not be kept.
    pub unknown: Vec<String>,
    /// Own addresses or default gateways are among what is unknown: a new block could hit them unseen.
    pub blind: bool,
}

impl Facts {
    /// Of this host; its own addresses and default gateways are those that the kernel told, or why it did not.
    pub fn gather(routes: std::io::Result<Routes>, ssh_ports: &[u16], sessions: &mut Sessions) -> Facts {
        let mut facts = Facts::default();
        // An address may be tentative, and have no route yet.
        let inet6 = facts.read(&format!("{NET}/if_inet6"));
        facts.own.extend(local_v6(&inet6).map(IpAddr::V6));
        match routes {
            Ok(Routes { own, gateways }) => {
                facts.own.extend(own);
                facts.gateways = gateways;
            }
            Err(why) => facts.unknown.push(format!("routes: {why}")),
        }
        facts.blind = !facts.unknown.is_empty();
        facts.gather_sessions(ssh_ports, sessions);
        if let Some(beyond) = facts.ssh_sessions.iter().nth(MAX_SESSIONS).copied() {
            let left = facts.ssh_sessions.split_off(&beyond).len();
            facts.unknown.push(format!("{left} SSH sessions beyond {MAX_SESSIONS} are not protected"));
        }
        for file in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
            // The second exists only where systemd-resolved stands in front of the real resolvers.
            let text = if std::path::Path::new(file).exists() { facts.read(file) } else { String::new() };
            facts.resolvers.extend(nameservers(&text));
        }
        facts
    }

    fn gather_sessions(&mut self, ssh_ports: &[u16], sessions: &mut Sessions) {
        // The number first: who connects while the tables are read makes it another one.
        let accepted = bounded(&format!("{NET}/snmp")).ok().and_then(|text| accepted(&text));
        if let Some(known) = sessions.still(accepted) {
            self.ssh_sessions.clone_from(known);
            return;
        }
        let (before, mut settled) = (self.unknown.len(), true);
        for table in ["tcp", "tcp6"] {
            let sockets = self.read(&format!("{NET}/{table}"));
            settled &= !begins(&sockets, ssh_ports);
            self.ssh_sessions.extend(established(&sockets, ssh_ports));
        }
        let whole = self.unknown.len() == before;
        let read = accepted.filter(|_| whole && settled).map(|n| (Instant::now(), n));
        *sessions = Sessions { read, known: self.ssh_sessions.clone() };
    }

    fn read(&mut self, path: &str) -> String {
        match bounded(path) {
            Ok(text) => text,
            // A kernel without IPv6 has no such files, and nothing to protect there.
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && path.contains('6') => String::new(),
            Err(why) => {
                self.unknown.push(format!("{path}: {why}"));
                String::new()
            }
        }
    }
}

fn bounded(path: &str) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other(format!("more than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// First column of `if_inet6`: 32 hexadecimal digits.
fn local_v6(inet6: &str) -> impl Iterator<Item = Ipv6Addr> {
    inet6.lines().filter_map(|line| hex_v6(line.split_whitespace().next()?))
}

/// `tcp` and `tcp6`: established (state 01) sockets whose local port is one of `ports`.
fn established(sockets: &str, ports: &[u16]) -> BTreeSet<Session> {
    let session = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, peer, state) = (hex_endpoint(columns.next()?)?, hex_endpoint(columns.next()?)?, columns.next()?);
        (state == "01" && ports.contains(&local.port)).then_some(Session { local, peer })
    };
    sockets.lines().skip(1).filter_map(session).collect()
}

/// Whether a connection to one of `ports` is in its handshake (state 03). It may be counted among the accepted already (the kernel counts
/// before it says established; with TCP Fast Open a whole round trip before), so that its end would change no number.
fn begins(sockets: &str, ports: &[u16]) -> bool {
    let begins = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (hex_endpoint(columns.next()?)?, columns.nth(1)?);
        Some(state == "03" && ports.contains(&local.port))
    };
    sockets.lines().skip(1).filter_map(begins).any(|begins| begins)
}

/// `snmp`: `PassiveOpens` of TCP, by the line that names the columns. Of IPv4 and IPv6 together.
fn accepted(snmp: &str) -> Option<u64> {
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let column = tcp.next()?.split(' ').position(|name| name == "PassiveOpens")?;
    tcp.next()?.split(' ').nth(column)?.parse().ok()
}

/// `0700010A:0016`
fn hex_endpoint(text: &str) -> Option<Endpoint> {
    let (address, port) = text.rsplit_once(':')?;
    Some(Endpoint::new(hex_address(address)?, u16::from_str_radix(port, 16).ok()?))
}

fn nameservers(resolv_conf: &str) -> BTreeSet<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        // `fe80::1%eth0`
        words.next()?.split('%').next()?.parse().ok()
    };
    resolv_conf.lines().filter_map(server).collect()
}

/// The socket tables print addresses as 32-bit words in host order.
fn hex_address(hex: &str) -> Option<IpAddr> {
    let words: Vec<u32> =
        hex.as_bytes().chunks(8).map(|c| u32::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok()).collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(IpAddr::V4(Ipv4Addr::from(v4.to_ne_bytes()))),
        [_, _, _, _] => {
            let mut bytes = [0u8; 16];
            for (to, word) in bytes.chunks_mut(4).zip(words) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// The routing tables print addresses in network order.
fn hex_v6(hex: &str) -> Option<Ipv6Addr> {
    if hex.len() != 32 {
        return None;
    }
    u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn reads_what_the_kernel_prints() {
        let inet6 = "fe80000000000000a8bbccfffe000001 02 40 20 80 eth0\n";
        let tcp = "  sl local rem st\n 0: 0700010A:0016 0900010A:D431 01 0\n 1: 0700010A:0016 00000000:0000 0A 0\n 2: 0700010A:0BB9 0A00010A:0016 01 0\n";
        let tcp6 = "  sl local rem st\n 0: 0000000000000000FFFF00000700010A:0016 0000000000000000FFFF00000B00010A:D431 01 0\n";
        let resolv = "# none\nnameserver 10.1.0.53\nnameserver fe80::1%eth0\nsearch corp.example\nnameserver\n";
        let show = |t: &str| established(t, &[22]).iter().map(|s| format!("{}>{}", s.peer, s.local)).collect::<Vec<_>>().join(" ");
        let seen = format!(
            "own {:?}\nsessions {} {}\nresolvers {:?}",
            local_v6(inet6).collect::<Vec<_>>(),
            show(tcp),
            show(tcp6),
            nameservers(resolv),
        );
        expect![[r#"
            own [fe80::a8bb:ccff:fe00:1]
            sessions 10.1.0.9:54321>10.1.0.7:22 10.1.0.11:54321>10.1.0.7:22
            resolvers {10.1.0.53, fe80::1}"#]]
        .assert_eq(&seen);
    }

    #[test]
    fn garbage_says_nothing_and_does_not_panic() {
        for text in ["", "\u{fffd}\n|-- x", "a:b:c\nzz:zz 1 01\n é:é é:é 01", "0: 0:0016 é00000000:1 01"] {
            assert_eq!(local_v6(text).count(), 0);
            assert!(accepted(text).is_none() && established(text, &[22, 0]).is_empty() && nameservers(text).is_empty());
        }
    }

    #[test]
    fn a_new_session_is_seen_though_those_of_before_are_remembered() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let mut sessions = Sessions::default();
        let mut count = || Facts::gather(Ok(Routes::default()), &[to.port()], &mut sessions).ssh_sessions.len();
        assert_eq!(count(), 0);
        for n in 1..4 {
            let client = std::net::TcpStream::connect(to).unwrap();
            let _server = listener.accept().unwrap();
            assert_eq!((count(), count()), (1, 1), "connection {n}");
            drop(client);
            // Whoever asks while nobody connects may see it a while longer, never too few.
            assert!(count() <= 1);
        }
    }

    #[test]
    fn what_is_in_its_handshake_is_not_settled() {
        let begun = |state: &str| format!("  sl local rem st\n 0: 0700010A:0016 0900010A:D431 {state} 0\n");
        assert!(begins(&begun("03"), &[22]));
        assert!(!begins(&begun("03"), &[2222]) && !begins(&begun("01"), &[22]) && !begins(&begun("0A"), &[22]));
    }

    #[test]
    fn connections_accepted_are_found_by_their_name() {
        let snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoMin ActiveOpens PassiveOpens\nTcp: 200 5 17\nUdp: PassiveOpens\nUdp: 3\n";
        assert_eq!(accepted(snmp), Some(17));
        assert_eq!(accepted("Tcp: ActiveOpens\nTcp: 5\n"), None);
    }

    #[test]
    fn what_could_not_be_asked_is_unknown() {
        let facts = Facts::gather(Err(std::io::Error::other("asked nobody")), &[22], &mut Sessions::default());
        assert!(facts.blind && facts.unknown.contains(&"routes: asked nobody".to_owned()), "{facts:?}");
    }
}
