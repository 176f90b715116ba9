//! How fast, and to whom: a rate in all and a rate per host. Pure.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Gives out slots so that no second ever sees more than the rate. Timers are coarse: up to a fiftieth of a second may be made
/// up for at once, and the slots are a fiftieth longer in return.
#[derive(Debug)]
pub struct Pace {
    slot: Duration,
    host_slot: Duration,
    next: Option<Instant>,
    hosts: HashMap<IpAddr, Instant>,
}

const MAKE_UP: Duration = Duration::from_millis(20);
/// Hosts remembered before those past their slot are forgotten.
const TIDY_AT: usize = 4096;

impl Pace {
    /// Questions per second, in all and per host; zero counts as one.
    pub fn new(rate: u32, per_host: u32) -> Pace {
        let slot = |rate: u32| Duration::from_secs(1) / rate.max(1);
        Pace { slot: slot(rate) + slot(rate) / 49, host_slot: slot(per_host), next: None, hosts: HashMap::new() }
    }

    /// When anybody may be asked again.
    pub fn free_at(&self, now: Instant) -> Instant {
        self.next.unwrap_or(now).max(now)
    }

    /// When `host` may be asked again.
    pub fn host_free_at(&self, host: IpAddr, now: Instant) -> Instant {
        self.hosts.get(&host).copied().unwrap_or(now).max(now)
    }

    /// A question to `host` leaves now.
    pub fn take(&mut self, host: IpAddr, now: Instant) {
        if self.hosts.len() >= TIDY_AT {
            self.hosts.retain(|_, at| *at > now);
        }
        let late = now.checked_sub(MAKE_UP).unwrap_or(now);
        self.next = Some(self.next.map_or(now, |next| next.max(late)) + self.slot);
        self.hosts.insert(host, now + self.host_slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_rate_nor_a_host_more_than_its_own() {
        let mut now = Instant::now();
        let mut pace = Pace::new(200, 5);
        let mut sent: Vec<(Instant, IpAddr)> = Vec::new();
        for step in 0..20_000u32 {
            now += Duration::from_micros(u64::from(step % 7) * 100);
            let host = IpAddr::from([10, 0, 0, (step % 230) as u8]);
            if pace.free_at(now) <= now && pace.host_free_at(host, now) <= now {
                pace.take(host, now);
                sent.push((now, host));
            }
        }
        assert!(sent.len() > 300);
        for (i, (at, host)) in sent.iter().enumerate() {
            let second = || sent[i..].iter().take_while(|(t, _)| *t < *at + Duration::from_secs(1));
            assert!(second().count() <= 200);
            assert!(second().filter(|(_, h)| h == host).count() <= 5);
        }
    }
}
