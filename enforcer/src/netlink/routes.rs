//! This host's own addresses and the next hops of its default routes, by rtnetlink(7).
//!
//! `/proc/net/route` has the main table alone, and of a route over several gateways the first; `fib_trie` takes
//! seconds where there are some 100,000 routes.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::wire::{Attributes, Socket};
use crate::facts::Routes;
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const INET: u8 = 2;
const INET6: u8 = 10;
/// `RTM_GETROUTE`, `RTN_UNICAST`, and the attributes (linux/rtnetlink.h).
const GETROUTE: u16 = 26;
const UNICAST: u8 = 1;
const LOCAL: u8 = 2;
const DESTINATION: u16 = 1;
/// `RTA_OIF`: a route without a gateway names its device.
const DEVICE: u16 = 4;
const GATEWAY: u16 = 5;
const MULTIPATH: u16 = 9;
const VIA: u16 = 18;
const NEXTHOP_ID: u16 = 30;
/// `struct rtmsg`, `struct rtnexthop`.
const ROUTE: usize = 12;
const HOP: usize = 8;

/// Of every routing table. Halves of all addresses (`0.0.0.0/1` and `128.0.0.0/1`, as VPNs add them) are a default route as well. The next
/// hop of any other route may be a host like others, also one with a server.
pub fn routes() -> io::Result<Routes> {
    let socket = Socket::for_routes()?;
    let (mut routes, mut hidden) = (Routes::default(), false);
    for family in [INET, INET6] {
        socket.dump_of(GETROUTE, family, &[0; ROUTE - 4], |message| {
            let route = message.body();
            routes.own.extend(own(route));
            let hops = hops(route);
            hidden |= hops.is_none();
            routes.gateways.extend(hops.unwrap_or_default());
        })?;
    }
    if hidden {
        return Err(io::Error::other("a default route names its next hops by a nexthop object alone (nexthop_compat_mode is 0)"));
    }
    routes.gateways.retain(|address| !address.is_unspecified());
    Ok(routes)
}

/// Family, length of the destination, type.
fn kind(route: &[u8]) -> Option<(u8, u8, u8)> {
    Some((*route.first()?, *route.get(1)?, *route.get(7)?)).filter(|(family, ..)| matches!(*family, INET | INET6))
}

/// The address of a route to this host itself. A whole network that is local (`ip route add local 10.0.0.0/24 dev lo`) is none.
fn own(route: &[u8]) -> Option<IpAddr> {
    let attributes = Attributes(route.get(ROUTE..)?);
    match kind(route)? {
        (INET, 32, LOCAL) | (INET6, 128, LOCAL) => address(attributes.get(DESTINATION)?),
        _ => None,
    }
}

/// The gateways of one route, where it is a default route (of all global IPv6 addresses, 2000::/3, as well). `None`: it does not say.
fn hops(route: &[u8]) -> Option<BTreeSet<IpAddr>> {
    let attributes = Attributes(route.get(ROUTE..).unwrap_or_default());
    match kind(route) {
        Some((INET, 0..=1, UNICAST) | (INET6, 0..=3, UNICAST)) => {}
        _ => return Some(BTreeSet::new()),
    }
    let mut found = BTreeSet::from_iter(gateway(attributes));
    let mut rest = attributes.get(MULTIPATH).unwrap_or_default();
    // Each hop is a header that begins with the length of it all, and attributes.
    while let Some(hop) = rest.get(..2).and_then(|b| b.try_into().ok()).and_then(|b| rest.get(HOP..usize::from(u16::from_ne_bytes(b)))) {
        found.extend(gateway(Attributes(hop)));
        rest = rest.get((HOP + hop.len()).next_multiple_of(4)..).unwrap_or_default();
    }
    let hidden = attributes.get(NEXTHOP_ID).is_some() && attributes.get(MULTIPATH).is_none() && attributes.get(DEVICE).is_none();
    (!hidden || !found.is_empty()).then_some(found)
}

/// `RTA_GATEWAY`, or of the other family `RTA_VIA`, whose address follows two bytes of family.
fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    address(attributes.get(GATEWAY).or_else(|| attributes.get(VIA)?.get(2..))?)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)));
    v4().or_else(|| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::wire::attribute, *};

    fn route(family: u8, length: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![family, length, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
        bytes.extend(attributes.concat());
        bytes
    }

    fn hop(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(HOP + attributes.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend([0; HOP - 2]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn all_hops_of_default_routes_and_of_no_others() {
        let [one, two] = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let six = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let via = [vec![10, 0], six.octets().to_vec()].concat();
        let several = attribute(
            MULTIPATH,
            &[hop(&attribute(GATEWAY, &one)), hop(&[]), hop(&attribute(VIA, &via)), hop(&attribute(GATEWAY, &two))].concat(),
        );
        let said = |route: Vec<u8>| hops(&route).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(said(route(INET, 0, UNICAST, &[attribute(GATEWAY, &one)])), "10.0.0.1");
        assert_eq!(said(route(INET, 0, UNICAST, std::slice::from_ref(&several))), "10.0.0.1 10.0.0.2 fe80::1");
        assert_eq!(said(route(INET6, 1, UNICAST, &[attribute(GATEWAY, &six.octets())])), "fe80::1");
        assert_eq!(said(route(INET, 24, UNICAST, &[attribute(GATEWAY, &one)])), "");
        // Unreachable, and of another family than IP.
        assert_eq!(said(route(INET, 0, 7, std::slice::from_ref(&several))), "");
        assert_eq!(said(route(28, 0, UNICAST, std::slice::from_ref(&several))), "");
        assert_eq!(said(route(INET6, 3, UNICAST, &[attribute(GATEWAY, &six.octets())])), "fe80::1");
        assert_eq!(said(route(INET, 3, UNICAST, &[attribute(GATEWAY, &one)])), "");
        // By a nexthop object: told beside it, or not.
        let object = attribute(NEXTHOP_ID, &[10, 0, 0, 0]);
        assert_eq!(said(route(INET, 0, UNICAST, &[attribute(GATEWAY, &one), object.clone()])), "10.0.0.1");
        assert_eq!(hops(&route(INET, 0, UNICAST, std::slice::from_ref(&object))), None);
        assert_eq!(said(route(INET, 24, UNICAST, &[object])), "");
        let local = |length, kind| own(&route(INET, length, kind, &[attribute(DESTINATION, &one)]));
        assert_eq!((local(32, LOCAL), local(24, LOCAL), local(32, UNICAST)), (Some(one.into()), None, None));
        // Whatever is cut off, what is there is read and nothing else.
        let whole = route(INET, 0, UNICAST, &[several]);
        for length in 0..whole.len() {
            let cut = whole.get(..length).unwrap();
            hops(cut);
            own(cut);
        }
        for length in [0u8, 1, 7, 200] {
            let mut lies = whole.clone();
            *lies.get_mut(ROUTE + 4).unwrap() = length;
            hops(&lies);
        }
    }

    #[test]
    fn this_host_has_a_loopback() {
        assert!(routes().unwrap().own.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
