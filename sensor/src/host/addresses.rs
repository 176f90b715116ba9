//! Where a wildcard listener is found: one address per family, not one per interface.
//!
//! A socket bound to every address is one server. It is reported at the primary address of each family it serves: the one on
//! the interface of the default route, else the first that is not loopback, link-local or a container bridge; on a host
//! without any, at loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    pub(super) interface: String,
    pub(super) address: IpAddr,
}

/// Interfaces made for containers and virtual machines.
const BRIDGES: [&str; 7] = ["docker", "br-", "veth", "virbr", "cni", "flannel", "podman"];

impl Addresses {
    /// The addresses of this host, and the interface of its default route if it has one.
    pub(super) fn primary(held: &[InterfaceAddress], default: Option<&str>) -> Addresses {
        let usable = |h: &&InterfaceAddress| {
            let local = match h.address {
                IpAddr::V4(a) => a.is_link_local(),
                IpAddr::V6(a) => a.is_unicast_link_local(),
            };
            !h.address.is_loopback() && !local
        };
        let bridge = |h: &InterfaceAddress| BRIDGES.iter().any(|b| h.interface.starts_with(b));
        let mut ranked: Vec<&InterfaceAddress> = held.iter().filter(usable).collect();
        ranked.sort_by_key(|h| (Some(h.interface.as_str()) != default, bridge(h)));
        Addresses {
            v4: ranked.iter().find_map(|h| if let IpAddr::V4(a) = h.address { Some(a) } else { None }),
            v6: ranked.iter().find_map(|h| if let IpAddr::V6(a) = h.address { Some(a) } else { None }),
        }
    }

    /// Where a listener bound to `bound` is reported.
    pub(super) fn places(&self, bound: IpAddr) -> Vec<IpAddr> {
        let v4 = || IpAddr::V4(self.v4.unwrap_or(Ipv4Addr::LOCALHOST));
        match bound {
            IpAddr::V4(a) if a.is_unspecified() => vec![v4()],
            // Both families answer on `::` by default.
            IpAddr::V6(a) if a.is_unspecified() => match (self.v4, self.v6) {
                (None, None) => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                (v4, v6) => v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect(),
            },
            other => vec![other],
        }
    }
}

/// Addresses of this network namespace.
pub(super) fn held() -> Vec<InterfaceAddress> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |a: &nix::ifaddrs::InterfaceAddress| {
        let storage = a.address.as_ref()?;
        let v4 = storage.as_sockaddr_in().map(|s| IpAddr::V4(s.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|s| IpAddr::V6(s.ip())))
    };
    all.take(4096).filter_map(|a| Some(InterfaceAddress { address: address(&a)?, interface: a.interface_name.clone() })).collect()
}

/// The interface of the IPv4 default route, from `/proc/net/route`.
pub(super) fn default_interface(table: &str) -> Option<String> {
    let row = table.lines().skip(1).map(|l| l.split_whitespace()).find(|f| f.clone().nth(1) == Some("00000000"));
    row?.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> Vec<InterfaceAddress> {
        text.split(' ')
            .filter_map(|t| t.split_once('='))
            .map(|(i, a)| InterfaceAddress { interface: i.into(), address: a.parse().unwrap() })
            .collect()
    }

    #[test]
    fn a_wildcard_is_one_place_per_family() {
        let held = held("lo=127.0.0.1 docker0=172.17.0.1 eth1=10.9.0.1 eth0=10.0.0.5 eth0=fe80::1 eth0=fd00::5");
        let addresses = Addresses::primary(&held, Some("eth0"));
        let shown = |bound: &str| addresses.places(bound.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown("0.0.0.0"), ["10.0.0.5"]);
        assert_eq!(shown("::"), ["10.0.0.5", "fd00::5"]);
        assert_eq!(shown("127.0.0.1"), ["127.0.0.1"]);
        assert_eq!(Addresses::primary(&held, None).v4.unwrap().to_string(), "10.9.0.1", "a bridge is the last choice");
        assert_eq!(Addresses::default().places("::".parse().unwrap()), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_default_route_names_its_interface() {
        let table = "Iface\tDestination\tGateway\neth1\t0000000A\t0\neth0\t00000000\t0100000A\n";
        assert_eq!(default_interface(table).as_deref(), Some("eth0"));
        assert_eq!(default_interface("Iface\n"), None);
    }
}
