//! Which addresses a wildcard stands for on this host.
//!
//! `0.0.0.0:7413` is where a socket listens, never where a packet goes: protected endpoints are matched by real addresses.

use crate::store::{Outcome, Records, Setting};
use rules::endpoint::Endpoint;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The endpoints with each wildcard replaced by all addresses of this host, as they are now.
pub(crate) fn spelled_out(endpoints: &[Endpoint]) -> Result<Vec<Endpoint>, String> {
    if !endpoints.iter().any(|e| e.address.is_unspecified()) {
        return Ok(endpoints.to_vec());
    }
    Ok(spell_out(endpoints, &addresses()?))
}

/// An endpoint that was ours before this start and is not any more (the gateway got another port) was seen as a server all the time: it is
/// forgotten, and found anew when something answers there.
pub(crate) fn forget_former(records: &dyn Records, now: &[Endpoint]) -> Outcome<()> {
    let stored = records.setting(Setting::OwnEndpoints)?;
    let before: Vec<Endpoint> = stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    for former in before.iter().filter(|e| !now.contains(e)) {
        let forgotten = records.delete_servers_at(*former)?;
        tracing::info!(%former, forgotten, "no longer an address of ours");
    }
    // Endpoints always have a JSON text.
    records.set_setting(Setting::OwnEndpoints, &serde_json::to_string(now).unwrap_or_default())
}

/// `[::]` takes IPv4 too, as sockets do unless told otherwise.
fn spell_out(endpoints: &[Endpoint], host: &BTreeSet<IpAddr>) -> Vec<Endpoint> {
    let meant = |e: &Endpoint| -> Vec<Endpoint> {
        if !e.address.is_unspecified() {
            return vec![*e];
        }
        host.iter().filter(|a| e.address.is_ipv6() || a.is_ipv4()).map(|a| Endpoint::new(*a, e.port)).collect()
    };
    endpoints.iter().flat_map(meant).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of all interfaces, loopback in any case.
fn addresses() -> Result<BTreeSet<IpAddr>, String> {
    let found = nix::ifaddrs::getifaddrs().map_err(|why| {
        format!("this host's addresses cannot be read ({why}), and `protect` or an address to listen on is a wildcard; name the addresses instead")
    })?;
    let mut addresses = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    for storage in found.filter_map(|interface| interface.address) {
        addresses.extend(storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip())));
        addresses.extend(storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(endpoints: &[&str], host: &[&str]) -> Vec<String> {
        let endpoints: Vec<Endpoint> = endpoints.iter().map(|e| e.parse().unwrap()).collect();
        let host = host.iter().map(|a| a.parse().unwrap()).collect();
        spell_out(&endpoints, &host).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_is_every_address_of_its_family_and_the_sixth_takes_both() {
        let host = ["127.0.0.1", "10.0.0.7", "::1", "fd00::7"];
        assert_eq!(shown(&["0.0.0.0:7413", "10.9.9.9:80"], &host), ["10.0.0.7:7413", "10.9.9.9:80", "127.0.0.1:7413"]);
        assert_eq!(shown(&["[::]:7413"], &host), ["10.0.0.7:7413", "127.0.0.1:7413", "[::1]:7413", "[fd00::7]:7413"]);
    }

    #[test]
    fn this_host_has_loopback_and_no_wildcard() {
        let meant = spelled_out(&["[::]:1".parse().unwrap()]).unwrap();
        assert!(meant.contains(&"127.0.0.1:1".parse().unwrap()) && meant.contains(&"[::1]:1".parse().unwrap()), "{meant:?}");
        assert!(meant.iter().all(|e| !e.address.is_unspecified()), "{meant:?}");
    }
}
