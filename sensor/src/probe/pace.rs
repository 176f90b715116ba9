//! How fast, and to whom: a rate in all, and the least time between two packets to one host or one subnet. Pure.

use rules::endpoint::Endpoint;
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

/// Gives out slots so that no second ever sees more than the rate. Timers and threads are late now and then: up to 20 ms may be
/// made up for at once, and slots are a twenty-fourth longer in return, which leaves as much again for what leaves late.
#[derive(Debug)]
pub struct Pace {
    rate: u32,
    next: Option<Instant>,
}

const MAKE_UP: Duration = Duration::from_millis(20);

impl Pace {
    /// Packets or questions per second; zero counts as one.
    pub fn new(rate: u32) -> Pace {
        Pace { rate: rate.max(1), next: None }
    }

    fn slots(&self, count: u32) -> Duration {
        let nanos = 1_000_000_000u64 * 25 / 24 * u64::from(count) / u64::from(self.rate);
        Duration::from_nanos(nanos)
    }

    /// When anybody may be asked again.
    pub fn free_at(&self, now: Instant) -> Instant {
        self.next.unwrap_or(now).max(now)
    }

    /// How many may leave now.
    pub fn free(&self, now: Instant) -> u32 {
        let Some(next) = self.next else { return 1 };
        if next > now {
            return 0;
        }
        let late = now.saturating_duration_since(next).min(MAKE_UP).as_nanos();
        let slot = self.slots(1).as_nanos().max(1);
        u32::try_from(late / slot).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// `count` leave now.
    pub fn take(&mut self, count: u32, now: Instant) {
        let late = now.checked_sub(MAKE_UP).unwrap_or(now);
        self.next = Some(self.next.map_or(now, |next| next.max(late)) + self.slots(count));
    }
}

/// When each host (or subnet) may be asked again, in constant memory: those that share a place in the table wait for each other,
/// so that a full table makes for more politeness, never for less.
#[derive(Debug)]
pub struct Spacing {
    slot: Duration,
    keys: RandomState,
    epoch: Instant,
    /// Microseconds after `epoch`.
    free: Box<[u64]>,
}

const PLACES: usize = 1 << 16;

impl Spacing {
    /// Packets per second to one of them; zero counts as one.
    pub fn new(rate: u32, epoch: Instant) -> Spacing {
        Spacing { slot: Duration::from_secs(1) / rate.max(1), keys: RandomState::new(), epoch, free: vec![0; PLACES].into() }
    }

    fn place(&self, key: u128) -> usize {
        self.keys.hash_one(key) as usize % PLACES
    }

    pub fn free_at(&self, key: u128, now: Instant) -> Instant {
        let at = self.free.get(self.place(key)).copied().unwrap_or(0);
        (self.epoch + Duration::from_micros(at)).max(now)
    }

    pub fn take(&mut self, key: u128, now: Instant) {
        let until = (now + self.slot).saturating_duration_since(self.epoch).as_micros();
        let place = self.place(key);
        if let Some(free) = self.free.get_mut(place) {
            *free = u64::try_from(until).unwrap_or(u64::MAX);
        }
    }
}

/// The spacing of hosts and of their subnets (/24, /64) together.
#[derive(Debug)]
pub struct Courtesy {
    hosts: Spacing,
    subnets: Spacing,
}

impl Courtesy {
    pub fn new(per_host: u32, per_subnet: u32, epoch: Instant) -> Courtesy {
        Courtesy { hosts: Spacing::new(per_host, epoch), subnets: Spacing::new(per_subnet, epoch) }
    }

    pub fn free_at(&self, endpoint: Endpoint, now: Instant) -> Instant {
        let (host, subnet) = keys(endpoint.address);
        self.hosts.free_at(host, now).max(self.subnets.free_at(subnet, now))
    }

    pub fn take(&mut self, endpoint: Endpoint, now: Instant) {
        let (host, subnet) = keys(endpoint.address);
        self.hosts.take(host, now);
        self.subnets.take(subnet, now);
    }
}

fn keys(address: IpAddr) -> (u128, u128) {
    match address {
        IpAddr::V4(a) => (u128::from(a.to_bits()), u128::from(a.to_bits() >> 8)),
        IpAddr::V6(a) => (a.to_bits(), a.to_bits() >> 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_rate_nor_a_host_or_subnet_more_than_its_own() {
        let start = Instant::now();
        let (mut now, mut pace, mut courtesy) = (start, Pace::new(200), Courtesy::new(5, 90, start));
        let mut sent: Vec<(Instant, Endpoint)> = Vec::new();
        for step in 0..20_000u32 {
            now += Duration::from_micros(u64::from(step % 7) * 100);
            let to = Endpoint::new(IpAddr::from([10, 0, (step % 3) as u8, (step % 230) as u8]), 80);
            if pace.free(now) > 0 && courtesy.free_at(to, now) <= now {
                pace.take(1, now);
                courtesy.take(to, now);
                sent.push((now, to));
            }
        }
        assert!(sent.len() > 300);
        for (i, (at, to)) in sent.iter().enumerate() {
            let second = || sent[i..].iter().take_while(|(t, _)| *t < *at + Duration::from_secs(1));
            assert!(second().count() <= 200);
            assert!(second().filter(|(_, e)| e == to).count() <= 5);
            assert!(second().filter(|(_, e)| keys(e.address).1 == keys(to.address).1).count() <= 90);
        }
    }

    #[test]
    fn a_late_sender_makes_up_a_fiftieth_of_a_second_and_no_more() {
        let mut now = Instant::now();
        let mut pace = Pace::new(1000);
        pace.take(1, now);
        now += Duration::from_secs(60);
        assert_eq!(pace.free(now), 20);
        pace.take(20, now);
        assert_eq!(pace.free(now), 0);
    }
}
