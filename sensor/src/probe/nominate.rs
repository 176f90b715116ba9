//! What the other sources name is asked soon, what is known is asked again, and only what was allowed is asked. Pure.

use super::{
    config::{ScanConfig, TargetHint},
    identify::Hint,
    question::safe_target,
    targets::{Target, is_fragile, parse},
};
use ipnet::IpNet;
use rules::{
    endpoint::Endpoint,
    evidence::{Evidence, Implementation, Source},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

/// The same place is not asked for the same reason within this time.
const AGAIN: Duration = Duration::from_secs(3600);
const MAX_WAITING: usize = 256;
const MAX_KNOWN: usize = 4096;
const MAX_PATHS: usize = 8;
/// A known server that was missed so often in a row is forgotten.
const MAX_MISSES: u8 = 72;

/// Addresses that were named by the operator, less those excluded. Names are not resolved here: they allow nothing.
#[derive(Clone, Debug, Default)]
struct Allowed {
    blocks: Vec<(IpAddr, IpAddr)>,
    exclude: Vec<IpNet>,
    exclude_ports: Vec<u16>,
}

impl Allowed {
    fn contains(&self, endpoint: Endpoint) -> bool {
        let named =
            self.blocks.iter().any(|(a, b)| a.is_ipv4() == endpoint.address.is_ipv4() && *a <= endpoint.address && endpoint.address <= *b);
        let excluded = self.exclude.iter().any(|n| n.contains(&endpoint.address)) || self.exclude_ports.contains(&endpoint.port);
        named && !excluded && endpoint.port != 0 && !is_fragile(endpoint.port)
    }
}

#[derive(Debug)]
pub(super) struct Nominations {
    allowed: Allowed,
    asked: BTreeMap<(Endpoint, Option<String>), Instant>,
    waiting: VecDeque<(Endpoint, Hint)>,
    /// Where a server is or was, and how to ask for it.
    known: BTreeMap<Endpoint, Hint>,
    /// How often in a row a probe found nothing there.
    misses: BTreeMap<Endpoint, u8>,
    /// Known ones whose turn it is to be asked again.
    due: VecDeque<Endpoint>,
    /// Nominations and places that did not fit.
    pub(super) lost: u64,
}

impl Nominations {
    pub(super) fn new(config: &ScanConfig) -> Nominations {
        let block = |text: &String| match parse(text) {
            Ok(Target::Block(a, b)) => Some((a, b)),
            _ => None,
        };
        let allowed = Allowed {
            blocks: config.targets.iter().filter_map(block).collect(),
            exclude: config.exclude.clone(),
            exclude_ports: config.exclude_ports.clone(),
        };
        Nominations {
            allowed,
            asked: BTreeMap::new(),
            waiting: VecDeque::new(),
            known: BTreeMap::new(),
            misses: BTreeMap::new(),
            due: VecDeque::new(),
            lost: 0,
        }
    }

    /// Somebody said something about a place.
    pub(super) fn hear(&mut self, evidence: &Evidence, now: Instant) {
        let place = &evidence.place;
        // Another process or sensor of ours asked there: its business. What is answered to it is everybody's.
        let probe = evidence.facts.client.as_ref().and_then(|c| c.software.as_ref()).is_some_and(Implementation::is_probe);
        if probe && evidence.signature.starts_with("wire.client.") {
            return;
        }
        if !self.allowed.contains(place.endpoint) {
            return;
        }
        if evidence.signature == "probe.context.gone" {
            return self.miss(place.endpoint);
        }
        self.misses.remove(&place.endpoint);
        let path = place.path.as_deref().and_then(safe_target);
        self.remember(place.endpoint, path.as_deref(), evidence);
        if evidence.source == Source::Probe {
            return;
        }
        self.asked.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        let key = (place.endpoint, path.clone());
        if self.asked.contains_key(&key) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING || self.asked.len() >= MAX_KNOWN {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.asked.insert(key, now);
        let hint = Hint { host: place.host.clone(), paths: path.into_iter().collect(), tls: evidence.facts.tls, nominated: true };
        self.waiting.push_back((place.endpoint, hint));
    }

    fn remember(&mut self, endpoint: Endpoint, path: Option<&str>, evidence: &Evidence) {
        if !self.known.contains_key(&endpoint) && self.known.len() >= MAX_KNOWN {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let hint = self.known.entry(endpoint).or_insert_with(|| Hint { nominated: true, ..Hint::default() });
        if let Some(path) = path
            && !hint.paths.iter().any(|p| p == path)
            && hint.paths.len() < MAX_PATHS
        {
            hint.paths.push(path.to_owned());
        }
        hint.host = evidence.place.host.clone().or_else(|| hint.host.take());
        hint.tls = evidence.facts.tls.or(hint.tls);
    }

    /// A server that is gone is asked for some time yet: it may be back tomorrow.
    fn miss(&mut self, endpoint: Endpoint) {
        if !self.known.contains_key(&endpoint) {
            return;
        }
        let misses = self.misses.entry(endpoint).or_default();
        *misses = misses.saturating_add(1);
        if *misses >= MAX_MISSES {
            self.misses.remove(&endpoint);
            self.known.remove(&endpoint);
        }
    }

    /// The next endpoint to ask: nominated ones first, then known ones whose turn it is.
    pub(super) fn next(&mut self) -> Option<(Endpoint, Hint)> {
        if let Some(nominated) = self.waiting.pop_front() {
            return Some(nominated);
        }
        loop {
            let endpoint = self.due.pop_front()?;
            if let Some(hint) = self.known.get(&endpoint) {
                return Some((endpoint, hint.clone()));
            }
        }
    }

    /// Every known server is to be asked again, unless the last turn is not over.
    pub(super) fn recheck(&mut self) {
        if self.due.is_empty() {
            self.due = self.known.keys().copied().collect();
        }
    }

    /// What was known when this sensor last ran, as far as it may still be asked.
    pub(super) fn recall(&mut self, hints: &[TargetHint]) {
        for hint in hints.iter().take(MAX_KNOWN) {
            let endpoint = hint.address.parse().ok().zip(hint.port).map(|(address, port)| Endpoint::new(address, port));
            if let Some(endpoint) = endpoint.filter(|e| self.allowed.contains(*e)) {
                let paths = hint.paths.iter().filter_map(|p| safe_target(p)).take(MAX_PATHS).collect();
                self.known.insert(endpoint, Hint { paths, ..hint.hint() });
            }
        }
    }

    /// What the next sweep should know: a known server that does not answer there any more is then said to be gone.
    pub(super) fn hints(&self) -> Vec<TargetHint> {
        let hint = |(endpoint, hint): (&Endpoint, &Hint)| TargetHint {
            address: endpoint.address.to_string(),
            port: Some(endpoint.port),
            host: hint.host.clone(),
            paths: hint.paths.clone(),
            tls: hint.tls,
        };
        self.known.iter().map(hint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{Timestamp, endpoint::Place};

    fn heard(place: &str, path: &str, source: Source) -> Evidence {
        Evidence::new(Place::new(place.parse().unwrap()).with_target(path), source, "wire.server.session-header", Timestamp::UNIX_EPOCH)
    }

    fn nominations() -> Nominations {
        let config = ScanConfig {
            targets: vec!["10.0.0.0/24".into(), "tools.corp".into()],
            exclude: vec!["10.0.0.9/32".parse().unwrap()],
            ..ScanConfig::default()
        };
        Nominations::new(&config)
    }

    #[test]
    fn only_what_was_named_is_asked_and_once_an_hour() {
        let mut n = nominations();
        let start = Instant::now();
        for second in [0, 10, 4000] {
            for place in ["10.0.0.5:6274", "10.0.0.9:6274", "10.0.1.5:6274", "10.0.0.5:9100", "8.8.8.8:80", "10.0.0.5:0"] {
                n.hear(&heard(place, "/finance/mcp", Source::Wire), start + Duration::from_secs(second));
            }
        }
        let asked: Vec<_> = std::iter::from_fn(|| n.next()).map(|(e, h)| (e.to_string(), h.paths)).collect();
        assert_eq!(asked, vec![("10.0.0.5:6274".to_owned(), vec!["/finance/mcp".to_owned()]); 2]);
    }

    #[test]
    fn what_a_probe_found_is_known_and_not_asked_at_once() {
        let mut n = nominations();
        n.hear(&heard("10.0.0.5:3001", "/mcp", Source::Probe), Instant::now());
        assert!(n.next().is_none());
        assert_eq!(n.hints().iter().map(|h| (h.port, h.paths.len())).collect::<Vec<_>>(), [(Some(3001), 1)]);
    }

    #[test]
    fn another_probe_starts_nothing_and_what_it_is_answered_does() {
        let mut n = nominations();
        let mut evidence = heard("10.0.0.5:6274", "/mcp", Source::Wire);
        let software = Some(Implementation { name: Implementation::PROBE.into(), version: None });
        evidence.facts.client = Some(rules::evidence::Client { address: "10.0.0.77".parse().unwrap(), software });
        n.hear(&Evidence { signature: "wire.client.initialize".into(), ..evidence.clone() }, Instant::now());
        assert!(n.next().is_none() && n.hints().is_empty());
        n.hear(&evidence, Instant::now());
        assert!(n.next().is_some());
    }

    #[test]
    fn known_servers_are_asked_again_and_over_a_restart_and_forgotten_when_they_stay_away() {
        let mut n = nominations();
        n.hear(&heard("10.0.0.5:3001", "/mcp", Source::Probe), Instant::now());
        let mut later = nominations();
        later.recall(&n.hints());
        later.recall(&[TargetHint { address: "10.0.1.5".into(), port: Some(80), ..TargetHint::default() }]);
        let gone = Evidence { signature: "probe.context.gone".into(), ..heard("10.0.0.5:3001", "/mcp", Source::Probe) };
        for _ in 0..MAX_MISSES {
            later.recheck();
            assert_eq!(std::iter::from_fn(|| later.next()).map(|(e, h)| (e.port, h.paths.len())).collect::<Vec<_>>(), [(3001, 1)]);
            later.hear(&gone, Instant::now());
        }
        later.recheck();
        assert!(later.next().is_none());
    }

    #[test]
    fn a_flood_of_places_is_bounded_and_counted() {
        let mut n = nominations();
        for port in 1..10_000u16 {
            n.hear(&heard(&format!("10.0.0.5:{port}"), "/mcp", Source::Wire), Instant::now());
        }
        assert!(n.waiting.len() <= MAX_WAITING && n.known.len() <= MAX_KNOWN && n.lost > 0);
    }
}
