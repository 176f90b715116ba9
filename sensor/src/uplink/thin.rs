//! What is repeated is said once, and again only every so often: a busy server must not flood the spool. Pure, bounded.

use rules::evidence::Evidence;
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

/// Remembers what was said lately, in two generations: when the young one is full it becomes the old one, and the old one
/// is forgotten. At most `capacity` statements are remembered.
#[derive(Debug)]
pub(super) struct Thinning {
    every: Duration,
    half: usize,
    young: HashMap<u64, Instant>,
    old: HashMap<u64, Instant>,
    /// Not passed on, because it had just been said.
    pub(super) held_back: u64,
    /// Forgotten for want of room: said again sooner than necessary.
    pub(super) forgotten: u64,
}

impl Thinning {
    pub(super) fn new(every: Duration, capacity: usize) -> Thinning {
        Thinning { every, half: (capacity / 2).max(1), young: HashMap::new(), old: HashMap::new(), held_back: 0, forgotten: 0 }
    }

    /// Whether to pass `evidence` on. Another client, tool, revision or process makes another statement.
    pub(super) fn passes(&mut self, evidence: &Evidence, now: Instant) -> bool {
        let key = statement(evidence);
        let last = self.young.get(&key).or_else(|| self.old.get(&key));
        if last.is_some_and(|at| now.saturating_duration_since(*at) < self.every) {
            self.held_back = self.held_back.saturating_add(1);
            return false;
        }
        if self.young.len() >= self.half {
            self.forgotten = self.forgotten.saturating_add(self.old.len() as u64);
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, now);
        true
    }
}

fn statement(evidence: &Evidence) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&evidence.place, evidence.source, &evidence.signature).hash(&mut hasher);
    serde_json::to_string(&evidence.facts).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{Timestamp, endpoint::Place, evidence::Source};

    fn evidence(port: u16) -> Evidence {
        let place = Place::new(format!("10.0.0.1:{port}").parse().unwrap());
        Evidence::new(place, Source::Wire, "wire.server.session-header", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn repetition_passes_once_per_period_and_news_at_once() {
        let mut thin = Thinning::new(Duration::from_secs(600), 100);
        let start = Instant::now();
        let passed: Vec<u64> = (0..1500).filter(|s| thin.passes(&evidence(1), start + Duration::from_secs(*s))).collect();
        assert_eq!(passed, [0, 600, 1200]);
        let mut other = evidence(1);
        other.facts.tools.insert("echo".into());
        assert!(thin.passes(&other, start));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_counted() {
        let mut thin = Thinning::new(Duration::from_secs(600), 100);
        let now = Instant::now();
        for port in 1..5000 {
            assert!(thin.passes(&evidence(port), now));
            assert!(thin.young.len() + thin.old.len() <= 100);
        }
        assert!(thin.forgotten > 4000);
    }
}
