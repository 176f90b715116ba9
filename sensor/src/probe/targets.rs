//! What may be asked: targets, ports, exclusions. Pure; refuses rather than guesses.

use ipnet::IpNet;
use rules::{endpoint::Endpoint, printable::printable};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub use rules::endpoint::USUAL_PORTS;

/// Ports of printers, industrial control and other things that break when talked to.
const FRAGILE_PORTS: [u16; 20] =
    [102, 502, 515, 631, 789, 1911, 2404, 4840, 5900, 9100, 9101, 9102, 9103, 9104, 9105, 9106, 9107, 20000, 44818, 47808];

/// MAC prefixes (OUI) of makers of printers, industrial control and cameras: Brother, Kyocera, Lexmark, Zebra, Canon, Ricoh, Epson,
/// Xerox, Siemens, Rockwell, Schneider, Beckhoff, WAGO, Phoenix Contact, Moxa, Omron, ABB, Axis.
pub const FRAGILE_VENDORS: [&str; 24] = [
    "00:80:77", "00:1b:a9", "00:c0:ee", "00:20:00", "00:21:b7", "00:07:4d", "00:00:85", "00:1e:8f", "00:00:74", "00:26:73", "00:00:48",
    "00:00:aa", "00:0e:8c", "00:1b:1b", "00:1c:06", "00:00:bc", "00:80:f4", "00:01:05", "00:30:de", "00:a0:45", "00:90:e8", "00:00:0a",
    "00:00:23", "00:40:8c",
];

/// Whether a port is left alone even when named.
pub fn is_fragile(port: u16) -> bool {
    FRAGILE_PORTS.contains(&port)
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("no target was named: a scan asks nobody by itself; name addresses, networks (CIDR), ranges or host names")]
    Empty,
    #[error("`{0}` is not an address, a network (CIDR), a range A-B or a host name")]
    Unreadable(String),
    #[error("`{0}` is a public address: asking strangers needs `allow_public` (--allow-public)")]
    Public(String),
    #[error("`{0}` is outside the ranges that may be asked (`allow`): name it there, or ask less")]
    Outside(String),
    #[error("`{0}` is not an address of one host (multicast, broadcast or unspecified)")]
    NotAHost(String),
    #[error("{0} addresses are more than the limit of {1}: name smaller networks or raise `max_addresses` (--max-addresses)")]
    TooLarge(u128, u64),
    #[error("no IPv6 neighbour is known here, and no other target was named")]
    NoNeighbour,
    #[error("no port is left to ask: all are excluded")]
    NoPort,
}

/// What one word on the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// First and last address.
    Block(IpAddr, IpAddr),
    /// To be resolved.
    Name(String),
}

pub fn parse(text: &str) -> Result<Target, TargetError> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Target::Block(address.to_canonical(), address.to_canonical()));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        let hosts_only = matches!(net, IpNet::V4(n) if n.prefix_len() < 31);
        let (first, last) = (net.network(), net.broadcast());
        return Ok(if hosts_only { Target::Block(step(first, 1), step_back(last)) } else { Target::Block(first, last) });
    }
    if let Some((a, b)) = text.split_once('-')
        && let (Ok(a), Ok(b)) = (a.trim().parse::<IpAddr>(), b.trim().parse::<IpAddr>())
        && a.is_ipv4() == b.is_ipv4()
        && a <= b
    {
        return Ok(Target::Block(a, b));
    }
    let plausible = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphabetic());
    if plausible { Ok(Target::Name(text.to_ascii_lowercase())) } else { Err(TargetError::Unreadable(printable(text, 80))) }
}

fn step(address: IpAddr, n: u128) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits().saturating_add(n as u32))),
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits().saturating_add(n))),
    }
}

fn step_back(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits().saturating_sub(1))),
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits().saturating_sub(1))),
    }
}

/// How many addresses a block has.
fn size(first: IpAddr, last: IpAddr) -> u128 {
    match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(b.to_bits().saturating_sub(a.to_bits())) + 1,
        (IpAddr::V6(a), IpAddr::V6(b)) => b.to_bits().saturating_sub(a.to_bits()).saturating_add(1),
        _ => 0,
    }
}

/// Private (RFC 1918, RFC 4193), loopback, link-local, shared (RFC 6598).
const PRIVATE: [IpNet; 9] = [
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([100, 64, 0, 0], 10),
    v6(Ipv6Addr::LOCALHOST, 128),
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

const fn v4(o: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(o[0], o[1], o[2], o[3]), bits))
}

const fn v6(address: Ipv6Addr, bits: u8) -> IpNet {
    IpNet::V6(ipnet::Ipv6Net::new_assert(address, bits))
}

/// In none of the ranges that are nobody's on the Internet.
pub fn is_public(address: IpAddr) -> bool {
    !PRIVATE.iter().any(|net| net.contains(&address))
}

/// Limits on a scan.
#[derive(Clone, Debug)]
pub struct Limits {
    pub allow_public: bool,
    /// Nothing outside is asked; empty: only `allow_public` decides.
    pub allow: Vec<IpNet>,
    pub max_addresses: u64,
    pub exclude: Vec<IpNet>,
    pub exclude_ports: BTreeSet<u16>,
}

/// Every (address, port) a scan may ask, by index. Disjoint, sorted, without what is excluded.
#[derive(Clone, Debug)]
pub struct Space {
    /// First address, and how many addresses come before it in the space.
    blocks: Vec<(IpAddr, u64)>,
    addresses: u64,
    excluded: u64,
    /// Sorted.
    ports: Vec<u16>,
}

impl Space {
    /// `blocks`: first and last addresses. What lies in several is asked once.
    pub fn new(blocks: &[(IpAddr, IpAddr)], ports: &[u16], limits: &Limits) -> Result<Space, TargetError> {
        if blocks.is_empty() {
            return Err(TargetError::Empty);
        }
        for &(first, last) in blocks {
            permitted(first, last, limits)?;
        }
        let named = merged(blocks);
        let total = named.iter().fold(0u128, |sum, (a, b)| sum.saturating_add(size(*a, *b)));
        if total > u128::from(limits.max_addresses) {
            return Err(TargetError::TooLarge(total, limits.max_addresses));
        }
        let usable = |p: &u16| *p != 0 && !is_fragile(*p) && !limits.exclude_ports.contains(p);
        let ports: Vec<u16> = ports.iter().copied().filter(usable).collect::<BTreeSet<_>>().into_iter().collect();
        if ports.is_empty() {
            return Err(TargetError::NoPort);
        }
        let spared: Vec<(IpAddr, IpAddr)> = limits.exclude.iter().map(|n| (n.network(), n.broadcast())).collect();
        let (mut blocks, mut addresses) = (Vec::new(), 0u64);
        for (first, last) in without(named, &merged(&spared)) {
            blocks.push((first, addresses));
            addresses = addresses.saturating_add(u64::try_from(size(first, last)).unwrap_or(u64::MAX));
        }
        let excluded = u64::try_from(total).unwrap_or(u64::MAX).saturating_sub(addresses);
        Ok(Space { blocks, addresses, excluded, ports })
    }

    pub fn addresses(&self) -> u64 {
        self.addresses
    }

    /// Addresses that were named and are left alone.
    pub fn excluded(&self) -> u64 {
        self.excluded
    }

    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    pub fn len(&self) -> u64 {
        self.addresses.saturating_mul(self.ports.len() as u64)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint at `index`; `None` when it is past the end.
    pub fn at(&self, index: u64) -> Option<Endpoint> {
        let ports = self.ports.len() as u64;
        let address = index.checked_div(ports).filter(|a| *a < self.addresses)?;
        let port = *self.ports.get(usize::try_from(index.checked_rem(ports)?).ok()?)?;
        let block = self.blocks.partition_point(|(_, before)| *before <= address).checked_sub(1)?;
        let (first, before) = self.blocks.get(block)?;
        Some(Endpoint::new(step(*first, u128::from(address - before)), port))
    }

    /// The index of an endpoint; `None` when it is not in the space.
    pub fn index_of(&self, endpoint: Endpoint) -> Option<u64> {
        let port = self.ports.binary_search(&endpoint.port).ok()? as u64;
        let block = self.blocks.partition_point(|(first, _)| *first <= endpoint.address).checked_sub(1)?;
        let (first, before) = *self.blocks.get(block)?;
        let end = self.blocks.get(block + 1).map_or(self.addresses, |(_, before)| *before);
        if first.is_ipv4() != endpoint.address.is_ipv4() {
            return None;
        }
        let offset = u64::try_from(size(first, endpoint.address) - 1).ok()?;
        (offset < end - before).then(|| (before + offset) * self.ports.len() as u64 + port)
    }

    /// Tells one space from another, across processes (FNV-1a): a place to go on from fits only where it was noted.
    pub fn fingerprint(&self) -> u64 {
        let blocks: Vec<String> = self.blocks.iter().map(|(first, before)| format!("({first}, {before})")).collect();
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        // The text of earlier versions: a position noted by one of them still fits.
        let text = format!("[{}] {} [{}]", blocks.join(", "), self.addresses, ports.join(", "));
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    }
}

fn permitted(first: IpAddr, last: IpAddr, limits: &Limits) -> Result<(), TargetError> {
    for end in [first, last] {
        if end.is_multicast() || end.is_unspecified() || end == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(TargetError::NotAHost(end.to_string()));
        }
        if !limits.allow_public && is_public(end) {
            return Err(TargetError::Public(end.to_string()));
        }
    }
    let allowed: Vec<(IpAddr, IpAddr)> = limits.allow.iter().map(|n| (n.network(), n.broadcast())).collect();
    let inside = limits.allow.is_empty() || without(vec![(first, last)], &merged(&allowed)).is_empty();
    if !inside {
        return Err(TargetError::Outside(if first == last { first.to_string() } else { format!("{first}-{last}") }));
    }
    // Both ends may be private and what lies between them not.
    if !limits.allow_public && first != last && !PRIVATE.iter().any(|net| net.contains(&first) && net.contains(&last)) {
        return Err(TargetError::Public(format!("{first}-{last}")));
    }
    Ok(())
}

/// Blocks sorted, those that overlap or touch made one.
fn merged(blocks: &[(IpAddr, IpAddr)]) -> Vec<(IpAddr, IpAddr)> {
    let mut sorted = blocks.to_vec();
    sorted.sort();
    let mut whole: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match whole.last_mut() {
            Some((_, end)) if end.is_ipv4() == first.is_ipv4() && (first <= *end || step(*end, 1) == first) => *end = (*end).max(last),
            _ => whole.push((first, last)),
        }
    }
    whole
}

/// `blocks` less `holes`; both sorted and disjoint.
fn without(blocks: Vec<(IpAddr, IpAddr)>, holes: &[(IpAddr, IpAddr)]) -> Vec<(IpAddr, IpAddr)> {
    let mut rest = Vec::new();
    for (mut first, last) in blocks {
        let mut open = true;
        let begin = holes.partition_point(|(_, b)| *b < first);
        for (a, b) in holes.iter().skip(begin).take_while(|(a, _)| *a <= last) {
            if *a > first {
                rest.push((first, step_back(*a)));
            }
            open = *b < last;
            if !open {
                break;
            }
            first = step(*b, 1);
        }
        if open {
            rest.push((first, last));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let exclude = vec!["10.0.0.4/31".parse().unwrap()];
        Limits { allow_public: false, allow: Vec::new(), max_addresses: 65_536, exclude, exclude_ports: [22].into() }
    }

    fn space(targets: &[&str], ports: &[u16]) -> Result<Space, TargetError> {
        let mut blocks = Vec::new();
        for target in targets {
            match parse(target)? {
                Target::Block(a, b) => blocks.push((a, b)),
                Target::Name(_) => {}
            }
        }
        Space::new(&blocks, ports, &limits())
    }

    #[test]
    fn every_address_of_a_network_but_the_excluded() {
        let space = space(&["10.0.0.0/29", "fd00::1"], &[22, 3001, 9100]).unwrap();
        let all: Vec<String> = (0..space.len()).filter_map(|i| space.at(i)).map(|e| e.to_string()).collect();
        assert_eq!(all, ["10.0.0.1:3001", "10.0.0.2:3001", "10.0.0.3:3001", "10.0.0.6:3001", "[fd00::1]:3001"]);
    }

    #[test]
    fn what_must_not_be_asked_is_refused_with_the_way_out() {
        assert_eq!(space(&[], &[80]).unwrap_err(), TargetError::Empty);
        assert!(matches!(space(&["8.8.8.8"], &[80]), Err(TargetError::Public(_))));
        assert!(matches!(space(&["2001:4860::/64"], &[80]), Err(TargetError::Public(_))));
        assert!(matches!(space(&["10.0.0.0/8"], &[80]), Err(TargetError::TooLarge(16_777_214, 65_536))));
        assert!(matches!(space(&["fd00::/64"], &[80]), Err(TargetError::TooLarge(..))));
        assert!(matches!(space(&["224.0.0.1"], &[80]), Err(TargetError::NotAHost(_))));
        assert!(matches!(parse("10.0.0.300"), Err(TargetError::Unreadable(_))));
        assert!(matches!(parse("a b"), Err(TargetError::Unreadable(_))));
        assert_eq!(space(&["10.0.0.1"], &[9100]).unwrap_err(), TargetError::NoPort);
    }

    #[test]
    fn every_index_has_its_endpoint_and_back_whatever_overlaps() {
        let space =
            space(&["10.0.0.0/28", "10.0.0.2-10.0.0.9", "10.0.1.1", "fd00::1-fd00::3", "10.0.0.15-10.0.0.17"], &[80, 3001]).unwrap();
        assert_eq!((space.addresses(), space.excluded(), space.len()), (19, 2, 38));
        for index in 0..space.len() {
            assert_eq!(space.at(index).and_then(|e| space.index_of(e)), Some(index));
        }
        for stranger in ["10.0.0.4:80", "10.0.0.18:80", "9.9.9.9:80", "10.0.0.1:81", "[fd00::4]:80", "[::1]:80"] {
            assert_eq!(space.index_of(stranger.parse().unwrap()), None, "{stranger}");
        }
    }

    #[test]
    fn outside_what_is_allowed_is_refused_as_is_what_lies_between_two_private_ends() {
        let ask = |a: &str, b: &str, allow: &str| {
            let limits =
                Limits { allow: allow.split_whitespace().map(|n| n.parse().unwrap()).collect(), max_addresses: u64::MAX, ..limits() };
            Space::new(&[(a.parse().unwrap(), b.parse().unwrap())], &[80], &limits)
        };
        assert!(ask("10.1.0.5", "10.2.0.5", "10.1.0.0/16 10.2.0.0/16").is_ok());
        assert!(matches!(ask("10.1.0.5", "10.3.0.5", "10.1.0.0/16 10.3.0.0/16"), Err(TargetError::Outside(_))));
        assert!(matches!(ask("10.0.0.1", "192.168.0.1", ""), Err(TargetError::Public(_))));
    }

    #[test]
    fn names_and_ranges() {
        assert_eq!(parse("Tools.Corp.example"), Ok(Target::Name("tools.corp.example".into())));
        assert_eq!(space(&["10.0.0.9-10.0.0.12"], &[80]).unwrap().len(), 4);
    }
}
