//! Our own questions, heard on the wire: they make no client, no second source and no nomination.
//!
//! Told apart by where and when we asked and from which address, not by what a request says of itself: anybody can say that.

use rules::{
    endpoint::Endpoint,
    evidence::{Evidence, Source},
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long after a question the wire may still speak of it.
const LINGER: Duration = Duration::from_secs(15);
const MAX: usize = 16_384;

#[derive(Debug, Default)]
pub struct Echoes {
    asked: Mutex<HashMap<Endpoint, (Instant, IpAddr)>>,
}

impl Echoes {
    /// A question to `endpoint` from our address `from`, begun or ended at `now`.
    pub fn note(&self, endpoint: Endpoint, from: IpAddr, now: Instant) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MAX {
            asked.retain(|_, (at, _)| now.saturating_duration_since(*at) < LINGER);
        }
        if asked.len() < MAX || asked.contains_key(&endpoint) {
            asked.insert(endpoint, (now, from.to_canonical()));
        }
    }

    /// Whether the wire speaks of us: about a place we asked just now, and of no other client than ourselves.
    pub fn is_ours(&self, evidence: &Evidence, now: Instant) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let client = evidence.facts.client.as_ref().map(|c| c.address.to_canonical());
        evidence.source == Source::Wire
            && asked
                .get(&evidence.place.endpoint)
                .is_some_and(|(at, from)| now.saturating_duration_since(*at) < LINGER && client.is_none_or(|c| c == *from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{
        Timestamp,
        endpoint::Place,
        evidence::{Client, Facts},
    };

    #[test]
    fn only_what_we_asked_just_now_from_here_is_ours() {
        let endpoint: Endpoint = "10.0.0.5:3001".parse().unwrap();
        let heard = |from: Option<&str>, endpoint| {
            let client = from.map(|a| Client { address: a.parse().unwrap(), software: None });
            let facts = Facts { client, ..Facts::default() };
            Evidence::new(Place::new(endpoint), Source::Wire, "wire.client.initialize", Timestamp::UNIX_EPOCH).facts(facts)
        };
        let (echoes, now) = (Echoes::default(), Instant::now());
        echoes.note(endpoint, "10.0.0.9".parse().unwrap(), now);
        assert!(echoes.is_ours(&heard(Some("10.0.0.9"), endpoint), now));
        assert!(echoes.is_ours(&heard(None, endpoint), now));
        assert!(!echoes.is_ours(&heard(Some("10.0.0.7"), endpoint), now), "another client is a client");
        assert!(!echoes.is_ours(&heard(None, "10.0.0.5:3002".parse().unwrap()), now));
        assert!(!echoes.is_ours(&heard(None, endpoint), now + LINGER));
    }
}
