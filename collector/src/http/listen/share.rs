//! The share of connections that one address may hold without a certificate.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    held: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: IpAddr,
    shares: Arc<Shares>,
}

impl Shares {
    pub(super) fn new(most: usize) -> Arc<Shares> {
        Arc::new(Shares { most: most.max(1), held: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Shares>, address: IpAddr) -> Option<Share> {
        let of = network(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(of).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { of, shares: self.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.of);
            }
        }
    }
}

/// In IPv6 one machine has a whole /64 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let shares = Shares::new(2);
        let take = |a: &str| shares.take(a.parse().unwrap());
        let (first, second) = (take("10.0.0.1").unwrap(), take("::ffff:10.0.0.1").unwrap());
        assert!(take("10.0.0.1").is_none());
        let (_others, _too) = (take("10.0.0.2").unwrap(), take("2001:db8::1").unwrap());
        drop(first);
        assert!(take("10.0.0.1").is_some());
        drop(second);
        assert_eq!(shares.held.lock().unwrap().len(), 2, "who holds nothing is forgotten");
    }

    #[test]
    fn an_ipv6_network_is_one_machine() {
        let shares = Shares::new(1);
        let _held = shares.take("2001:db8:1:2::1".parse().unwrap()).unwrap();
        assert!(shares.take("2001:db8:1:2:ffff::9".parse().unwrap()).is_none());
        assert!(shares.take("2001:db8:1:3::1".parse().unwrap()).is_some());
    }
}
