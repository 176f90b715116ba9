//! Next hops of the default routes, by rtnetlink(7).
//!
//! `/proc/net/route` has the main table alone, and of a route over several gateways the first: a block that fell on one of the others
//! would cut off the host.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::wire::{Attributes, Socket};
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
const GATEWAY: u16 = 5;
const MULTIPATH: u16 = 9;
const VIA: u16 = 18;
/// `struct rtmsg`, `struct rtnexthop`.
const ROUTE: usize = 12;
const HOP: usize = 8;

/// Of every routing table. Halves of all addresses (`0.0.0.0/1` and `128.0.0.0/1`, as VPNs add them) are a default route as well. The next
/// hop of any other route may be a host like others, also one with a server.
pub fn default_gateways() -> io::Result<BTreeSet<IpAddr>> {
    let socket = Socket::for_routes()?;
    let mut gateways = BTreeSet::new();
    for family in [INET, INET6] {
        socket.dump_of(GETROUTE, family, &[0; ROUTE - 4], |message| gateways.extend(hops(message.body())))?;
    }
    gateways.retain(|address| !address.is_unspecified());
    Ok(gateways)
}

/// The gateways of one route, where it is a default route.
fn hops(route: &[u8]) -> BTreeSet<IpAddr> {
    let (Some(&family), Some(&length), Some(&kind)) = (route.first(), route.get(1), route.get(7)) else { return BTreeSet::new() };
    if length > 1 || kind != UNICAST || !matches!(family, INET | INET6) {
        return BTreeSet::new();
    }
    let attributes = Attributes(route.get(ROUTE..).unwrap_or_default());
    let mut found = BTreeSet::from_iter(gateway(attributes));
    let mut rest = attributes.get(MULTIPATH).unwrap_or_default();
    // Each hop is a header that begins with the length of it all, and attributes.
    while let Some(hop) = rest.get(..2).and_then(|b| b.try_into().ok()).and_then(|b| rest.get(HOP..usize::from(u16::from_ne_bytes(b)))) {
        found.extend(gateway(Attributes(hop)));
        rest = rest.get((HOP + hop.len()).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `RTA_GATEWAY`, or of the other family `RTA_VIA`, whose address follows two bytes of family.
fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    let bytes = attributes.get(GATEWAY).or_else(|| attributes.get(VIA)?.get(2..))?;
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
        let said = |route: Vec<u8>| hops(&route).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(said(route(INET, 0, UNICAST, &[attribute(GATEWAY, &one)])), "10.0.0.1");
        assert_eq!(said(route(INET, 0, UNICAST, std::slice::from_ref(&several))), "10.0.0.1 10.0.0.2 fe80::1");
        assert_eq!(said(route(INET6, 1, UNICAST, &[attribute(GATEWAY, &six.octets())])), "fe80::1");
        assert_eq!(said(route(INET, 24, UNICAST, &[attribute(GATEWAY, &one)])), "");
        // Unreachable, and of another family than IP.
        assert_eq!(said(route(INET, 0, 7, std::slice::from_ref(&several))), "");
        assert_eq!(said(route(28, 0, UNICAST, std::slice::from_ref(&several))), "");
        // Whatever is cut off, what is there is read and nothing else.
        let whole = route(INET, 0, UNICAST, &[several]);
        for length in 0..whole.len() {
            hops(whole.get(..length).unwrap());
        }
        for length in [0u8, 1, 7, 200] {
            let mut lies = whole.clone();
            *lies.get_mut(ROUTE + 4).unwrap() = length;
            hops(&lies);
        }
    }
}
