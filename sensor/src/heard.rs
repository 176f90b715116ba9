//! Which networks something came from, so that one that is silent can be told from one nobody listens to.

use crate::moment::Moment;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// A network is told of again after so long, while something comes from it.
const AGAIN: Duration = Duration::from_secs(300);
/// Networks of one such time: inside the site, and everywhere else. Whoever faces the Internet hears more than anybody asks for.
const INTERNAL: usize = 1024;
const PUBLIC: usize = 512;
/// Networks of which it is known without a search that they were noted; a power of two.
const QUICK: usize = 64;

#[derive(Debug)]
pub(crate) struct Networks {
    fresh: BTreeSet<IpNet>,
    told: BTreeSet<IpNet>,
    internal: usize,
    public: usize,
    quick: [Option<IpNet>; QUICK],
    since: Moment,
}

impl Default for Networks {
    fn default() -> Networks {
        Networks { fresh: BTreeSet::new(), told: BTreeSet::new(), internal: 0, public: 0, quick: [None; QUICK], since: Moment::default() }
    }
}

impl Networks {
    /// Something came from `source`. Cheap enough for every packet.
    pub(crate) fn hear(&mut self, source: IpAddr) {
        let (net, slot) = network(source);
        let Some(quick) = self.quick.get_mut(slot % QUICK) else { return };
        if *quick == Some(net) || self.told.contains(&net) {
            return;
        }
        let (count, limit) = if is_internal(source) { (&mut self.internal, INTERNAL) } else { (&mut self.public, PUBLIC) };
        if *count < limit && self.fresh.insert(net) {
            *count += 1;
        }
        *quick = Some(net);
    }

    /// Networks heard that were not told of lately.
    pub(crate) fn tell(&mut self, now: Moment) -> BTreeSet<IpNet> {
        if now.since(self.since) >= AGAIN {
            let fresh = std::mem::take(&mut self.fresh);
            *self = Networks { since: now, ..Networks::default() };
            return fresh;
        }
        let fresh = std::mem::take(&mut self.fresh);
        self.told.extend(&fresh);
        fresh
    }
}

/// The network, and a number that neighbours do not share.
fn network(address: IpAddr) -> (IpNet, usize) {
    match address {
        IpAddr::V4(a) => {
            let bits = u32::from(a) >> 8;
            (IpNet::V4(Ipv4Net::new_assert((bits << 8).into(), 24)), bits as usize)
        }
        IpAddr::V6(a) => {
            let bits = (u128::from(a) >> 64) as u64;
            (IpNet::V6(Ipv6Net::new_assert((u128::from(bits) << 64).into(), 64)), (bits ^ bits >> 16 ^ bits >> 32) as usize)
        }
    }
}

fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private() || a.is_loopback() || a.is_link_local(),
        IpAddr::V6(a) => a.is_unique_local() || a.is_loopback() || a.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_told_once_and_again_later() {
        let mut networks = Networks::default();
        let at = |seconds: i64| Moment::new(1_700_000_000 + seconds, 0);
        let mut told = |seconds: i64, sources: &[&str]| {
            sources.iter().for_each(|s| networks.hear(s.parse().unwrap()));
            networks.tell(at(seconds)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(0, &["10.0.0.5", "10.0.0.9", "fd00::7"]), "10.0.0.0/24 fd00::/64");
        assert_eq!(told(10, &["10.0.0.5", "10.0.1.5"]), "10.0.0.0/24 10.0.1.0/24", "the first report begins a time of its own");
        assert_eq!(told(20, &["10.0.0.5", "10.0.1.5"]), "");
        assert_eq!(told(310, &["10.0.0.5"]), "", "told within this time");
        assert_eq!(told(320, &["10.0.0.5"]), "10.0.0.0/24");
    }

    #[test]
    fn strangers_of_the_internet_do_not_push_out_the_site() {
        let mut networks = Networks::default();
        for n in 0..1_000_000u32 {
            networks.hear(IpAddr::V4((0x0800_0000 + (n << 8)).into()));
        }
        networks.hear("10.0.0.5".parse().unwrap());
        let told = networks.tell(Moment::new(1_700_000_000, 0));
        assert!(told.contains(&"10.0.0.0/24".parse().unwrap()));
        assert!(told.len() <= INTERNAL + PUBLIC);
    }
}
