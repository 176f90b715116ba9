//! How often may a principal ask, and how much at once? Per principal and never per address.

use crate::config::Limit;
use rules::access::Principal;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// `burst` tokens, refilled at `per_second`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(burst: f64, now: Instant) -> Bucket {
        Bucket { tokens: burst, at: now }
    }

    /// Takes `cost` tokens, or says how long until they are there.
    pub(crate) fn draw(&mut self, cost: f64, per_second: f64, burst: f64, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * per_second).min(burst);
        self.at = now;
        if self.tokens >= cost {
            self.tokens -= cost;
            return Ok(());
        }
        Err(Duration::from_secs_f64(((cost - self.tokens) / per_second).min(3600.0)))
    }
}

/// The buckets of those who asked lately. Two generations: when the younger is half the bound, the older is forgotten and the
/// younger becomes the older, so a lookup never searches and whoever keeps asking is never forgotten.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: f64,
    burst: f64,
    half: usize,
    younger: HashMap<Principal, Bucket>,
    older: HashMap<Principal, Bucket>,
    /// Principals whose bucket was forgotten before it was full again: they start anew.
    pub(crate) forgotten: u64,
}

impl Limiter {
    pub(crate) fn new(limit: &Limit) -> Limiter {
        Limiter {
            per_second: f64::from(limit.per_minute) / 60.0,
            burst: f64::from(limit.burst.max(1)),
            half: (limit.principals / 2).max(1),
            younger: HashMap::new(),
            older: HashMap::new(),
            forgotten: 0,
        }
    }

    /// One token for each message of a request: a batch is no cheaper than its parts. A batch larger than the burst costs the burst.
    pub(crate) fn draw(&mut self, who: &Principal, messages: usize, now: Instant) -> Result<(), Duration> {
        let cost = (messages.max(1) as f64).min(self.burst);
        if self.per_second == 0.0 {
            return Ok(());
        }
        if let Some(bucket) = self.younger.get_mut(who) {
            return bucket.draw(cost, self.per_second, self.burst, now);
        }
        let mut bucket = self.older.remove(who).unwrap_or_else(|| Bucket::full(self.burst, now));
        let drawn = bucket.draw(cost, self.per_second, self.burst, now);
        if self.younger.len() >= self.half {
            let young = std::mem::take(&mut self.younger);
            let gone = std::mem::replace(&mut self.older, young);
            let refill = |b: &Bucket| b.tokens + now.saturating_duration_since(b.at).as_secs_f64() * self.per_second;
            self.forgotten += gone.values().filter(|b| refill(b) < self.burst).count() as u64;
        }
        self.younger.insert(who.clone(), bucket);
        drawn
    }
}

/// How many HTTP transactions each principal has open: one key cannot take all connections by opening streams. As large as what is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Openings(Arc<Mutex<HashMap<Principal, u32>>>);

/// One open HTTP transaction; dropped, it is over.
#[derive(Debug)]
pub(crate) struct Opening {
    all: Openings,
    who: Principal,
}

impl Openings {
    /// `None`: as many are open as may be. A bound of 0 is none.
    pub(crate) fn open(&self, who: &Principal, bound: u32) -> Option<Opening> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.entry(who.clone()).or_default();
        if bound > 0 && *open >= bound {
            return None;
        }
        *open += 1;
        Some(Opening { all: self.clone(), who: who.clone() })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&self.who) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: usize) -> Principal {
        Principal { tenant: "acme".into(), subject: n.to_string() }
    }

    fn limiter(principals: usize) -> Limiter {
        Limiter::new(&Limit { per_minute: 60, burst: 2, principals, ..Limit::default() })
    }

    #[test]
    fn a_burst_then_the_rate_and_the_wait_is_told() {
        let (mut limiter, start) = (limiter(10), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(limiter.draw(&who(1), 1, at(0)), Ok(()));
        assert_eq!(limiter.draw(&who(1), 1, at(0)), Ok(()));
        assert_eq!(limiter.draw(&who(1), 1, at(250)), Err(Duration::from_millis(750)));
        assert_eq!(limiter.draw(&who(2), 1, at(250)), Ok(()), "another principal is not affected");
        assert_eq!(limiter.draw(&who(1), 1, at(1000)), Ok(()));
        assert!(limiter.draw(&who(1), 1, at(1000)).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_who_keeps_asking_is_not_forgotten() {
        let (mut limiter, now) = (limiter(10), Instant::now());
        for n in 0..1000 {
            let _ = limiter.draw(&who(0), 1, now);
            let _ = limiter.draw(&who(n), 1, now);
            assert!(limiter.younger.len() + limiter.older.len() <= 10);
        }
        assert!(limiter.draw(&who(0), 1, now).is_err(), "still limited after a thousand others");
        assert!(limiter.forgotten > 900, "and the loss is counted: {}", limiter.forgotten);
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_over() {
        let openings = Openings::default();
        let held: Vec<_> = (0..2).map(|_| openings.open(&who(1), 2).unwrap()).collect();
        assert!(openings.open(&who(1), 2).is_none());
        assert!(openings.open(&who(2), 2).is_some(), "another principal has its own");
        drop(held);
        assert!(openings.open(&who(1), 2).is_some());
        assert!(openings.0.lock().unwrap().is_empty(), "nothing is remembered of what is over");
    }

    #[test]
    fn a_batch_costs_what_its_messages_cost() {
        let (mut limiter, now) = (limiter(10), Instant::now());
        assert_eq!(limiter.draw(&who(1), 2, now), Ok(()));
        assert!(limiter.draw(&who(1), 1, now).is_err());
        assert_eq!(limiter.draw(&who(2), 100, now), Ok(()), "what is larger than the burst can still be sent");
        assert!(limiter.draw(&who(2), 1, now).is_err());
    }

    #[test]
    fn zero_a_minute_is_no_limit() {
        let mut open = Limiter::new(&Limit { per_minute: 0, burst: 0, principals: 1, ..Limit::default() });
        for _ in 0..100 {
            assert_eq!(open.draw(&who(1), 1, Instant::now()), Ok(()));
        }
    }
}
