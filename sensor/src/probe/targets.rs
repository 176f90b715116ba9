//! What may be asked: targets, ports, exclusions. Pure; refuses rather than guesses.

use ipnet::IpNet;
use rules::{endpoint::Endpoint, printable::printable};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Ports MCP servers are found on: SDK and product defaults, the lists of other scanners.
pub const USUAL_PORTS: [u16; 24] = [
    3000, 3001, 8000, 8080, 80, 443, 3002, 3232, 5000, 5001, 5678, 6274, 6277, 7071, 8001, 8081, 8085, 8443, 8787, 8811, 8888, 8931, 9000,
    10443,
];

/// Ports of printers, industrial control and other things that break when talked to.
const FRAGILE_PORTS: [u16; 19] =
    [102, 502, 515, 631, 789, 1911, 2404, 4840, 5900, 9100, 9101, 9102, 9103, 9104, 9105, 9106, 9107, 20000, 44818];

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
    #[error("`{0}` is not an address of one host (multicast, broadcast or unspecified)")]
    NotAHost(String),
    #[error("{0} addresses are more than the limit of {1}: name smaller networks or raise `max_addresses` (--max-addresses)")]
    TooLarge(u128, u64),
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

/// Not private (RFC 1918, RFC 4193), not loopback, link-local or shared (RFC 6598).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let shared = a.octets().starts_with(&[100]) && (64..128).contains(&a.octets().get(1).copied().unwrap_or(0));
            !(a.is_private() || a.is_loopback() || a.is_link_local() || shared)
        }
        IpAddr::V6(a) => !(a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local()),
    }
}

/// Limits on a scan.
#[derive(Clone, Debug)]
pub struct Limits {
    pub allow_public: bool,
    pub max_addresses: u64,
    pub exclude: Vec<IpNet>,
    pub exclude_ports: BTreeSet<u16>,
}

/// Every (address, port) a scan may ask, by index.
#[derive(Clone, Debug)]
pub struct Space {
    blocks: Vec<(IpAddr, u64)>,
    addresses: u64,
    ports: Vec<u16>,
    exclude: Vec<IpNet>,
}

impl Space {
    /// `blocks`: first and last addresses; overlaps are asked once only when they are equal.
    pub fn new(blocks: &[(IpAddr, IpAddr)], ports: &[u16], limits: &Limits) -> Result<Space, TargetError> {
        if blocks.is_empty() {
            return Err(TargetError::Empty);
        }
        let mut total = 0u128;
        for &(first, last) in blocks {
            for end in [first, last] {
                if end.is_multicast() || end.is_unspecified() || end == IpAddr::V4(Ipv4Addr::BROADCAST) {
                    return Err(TargetError::NotAHost(end.to_string()));
                }
                if !limits.allow_public && is_public(end) {
                    return Err(TargetError::Public(end.to_string()));
                }
            }
            total = total.saturating_add(size(first, last));
        }
        if total > u128::from(limits.max_addresses) {
            return Err(TargetError::TooLarge(total, limits.max_addresses));
        }
        let mut seen = BTreeSet::new();
        let ports: Vec<u16> =
            ports.iter().copied().filter(|p| *p != 0 && !is_fragile(*p) && !limits.exclude_ports.contains(p) && seen.insert(*p)).collect();
        if ports.is_empty() {
            return Err(TargetError::NoPort);
        }
        let unique: BTreeSet<(IpAddr, IpAddr)> = blocks.iter().copied().collect();
        let blocks: Vec<(IpAddr, u64)> = unique.into_iter().map(|(a, b)| (a, u64::try_from(size(a, b)).unwrap_or(u64::MAX))).collect();
        let addresses = blocks.iter().map(|(_, n)| n).sum();
        Ok(Space { blocks, addresses, ports, exclude: limits.exclude.clone() })
    }

    pub fn addresses(&self) -> u64 {
        self.addresses
    }

    pub fn len(&self) -> u64 {
        self.addresses.saturating_mul(self.ports.len() as u64)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint at `index`; `None` when it is past the end or excluded.
    pub fn at(&self, index: u64) -> Option<Endpoint> {
        let ports = self.ports.len() as u64;
        let mut address = index.checked_div(ports)?;
        let port = *self.ports.get(usize::try_from(index.checked_rem(ports)?).ok()?)?;
        for (first, count) in &self.blocks {
            if address < *count {
                let found = step(*first, u128::from(address));
                return (!self.exclude.iter().any(|net| net.contains(&found))).then(|| Endpoint::new(found, port));
            }
            address -= count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { allow_public: false, max_addresses: 65_536, exclude: vec!["10.0.0.4/31".parse().unwrap()], exclude_ports: [22].into() }
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
    fn names_and_ranges() {
        assert_eq!(parse("Tools.Corp.example"), Ok(Target::Name("tools.corp.example".into())));
        assert_eq!(space(&["10.0.0.9-10.0.0.12"], &[80]).unwrap().len(), 4);
    }
}
