//! To which addresses may a connection go?
//!
//! A registration pins what its name resolved to; then nothing is resolved here. Without pins the name is resolved for each
//! new connection, and the very address that was judged is connected to, so there is no moment for it to change in between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Written down in the registration, by somebody who may register servers.
    Registered,
    /// What the resolver says just now.
    Resolved,
}

/// Why not, if not. Servers of the house live at private addresses, so those are fine; never fine is what belongs to the
/// machine or the cloud around it (metadata services) or to no single host.
pub(crate) fn objection(address: IpAddr, source: Source) -> Option<&'static str> {
    match address {
        IpAddr::V4(a) => objection_v4(a, source),
        IpAddr::V6(a) => objection_v6(a, source),
    }
}

fn objection_v4(a: Ipv4Addr, source: Source) -> Option<&'static str> {
    let [first, ..] = a.octets();
    match () {
        () if first == 0 => Some("it is not the address of a host"),
        () if a.is_link_local() => Some("it is link-local, where cloud metadata services answer"),
        () if a.is_multicast() || first >= 240 => Some("it is a multicast, broadcast or reserved address"),
        () if a.is_loopback() && source == Source::Resolved => Some("a name resolved to loopback"),
        () => None,
    }
}

fn objection_v6(a: Ipv6Addr, source: Source) -> Option<&'static str> {
    if let Some(inner) = a.to_ipv4_mapped() {
        return objection_v4(inner, source);
    }
    let s = a.segments();
    let low = |hi: u16, lo: u16| Ipv4Addr::from((u32::from(hi) << 16) | u32::from(lo));
    match s {
        _ if a.is_unspecified() => Some("it is not the address of a host"),
        _ if a.is_loopback() => (source == Source::Resolved).then_some("a name resolved to loopback"),
        _ if a.is_multicast() => Some("it is a multicast address"),
        [0xfe80..=0xfebf, ..] => Some("it is link-local"),
        [0xfec0..=0xfeff, ..] => Some("it is site-local, a range nobody may use any more"),
        // Instance metadata over IPv6.
        [0xfd00, 0x0ec2, ..] if a == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) => Some("a cloud metadata service answers there"),
        // Addresses that carry an IPv4 address: a translator would bring us there.
        [0x2002, hi, lo, ..] => embedded(low(hi, lo), source),
        [0x0064, 0xff9b, 0, 0, 0, 0, hi, lo] => embedded(low(hi, lo), source),
        [0x0064, 0xff9b, 1, ..] => Some("it is a local translation prefix"),
        [0x2001, 0, ..] => Some("it is a Teredo address"),
        [0, 0, 0, 0, 0, 0, _, _] => Some("it is an IPv4-compatible address, a form nobody may use any more"),
        _ => None,
    }
}

fn embedded(inner: Ipv4Addr, source: Source) -> Option<&'static str> {
    if inner.is_loopback() || inner.is_private() || objection_v4(inner, source).is_some() {
        return Some("it hides an IPv4 address that must not be reached this way");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(address: &str, source: Source) -> bool {
        objection(address.parse().unwrap(), source).is_none()
    }

    #[test]
    fn servers_of_the_house_are_reachable() {
        for a in ["10.0.0.5", "192.168.1.9", "172.16.3.4", "100.64.1.1", "203.0.113.9", "fd12::5", "2001:db8::1", "::ffff:10.0.0.5"] {
            assert!(ok(a, Source::Registered) && ok(a, Source::Resolved), "{a}");
        }
        assert!(ok("127.0.0.1", Source::Registered) && ok("::1", Source::Registered));
    }

    #[test]
    fn what_a_request_forger_would_name_is_not() {
        for a in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fec0::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "ff02::1",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2001:0:1::1",
            "::127.0.0.1",
            "::10.0.0.1",
            "fd00:ec2::254",
        ] {
            assert!(!ok(a, Source::Registered) && !ok(a, Source::Resolved), "{a}");
        }
        for a in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(!ok(a, Source::Resolved), "{a}: a name must not lead to this machine");
        }
    }
}
