//! Evidence in, servers out. Pure and bounded; no clock: time comes with the evidence.
//!
//! # What is one server
//! One server per (site, address, port, path):
//! - Evidence without a path (joined mid-stream, inside TLS, a listening socket) joins the endpoint's only server. When there is
//!   none yet, or more than one, it makes a record of the endpoint itself, which is absorbed by the first path that is learned.
//! - The message path of HTTP+SSE (`/messages`, `/message`) belongs to the server of the stream; `/mcp` and `/mcp/` are one path
//!   (see [`rules::endpoint::Place`]).
//! - `Host` is not part of the key: it is a caller's word. Two names at one endpoint are aliases when one is the other's short
//!   form or the same `serverInfo` answered to both.
//!
//! What else *answers* at the endpoint (another path, another name, another protocol) and is not the same program fills
//! `shares_endpoint_with`: a block would hit it too; so does another site that a probe was shown under another name. What a client merely
//! tried does not count, neither a `Host` nor a name in a TLS hello: whoever could say so could keep a server from being blocked.

mod merge;
mod record;
#[cfg(test)]
mod tests;

pub use record::EndpointRecord;
use rpds::RedBlackTreeMapSync;
use rules::{
    confidence::Confidence,
    endpoint::Endpoint,
    evidence::Evidence,
    pack::{Pack, Strength},
    server::Server,
};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// All servers of one site. A clone shares what neither of the two has changed since, so it costs next to nothing.
#[derive(Clone, Debug)]
pub struct Inventory {
    site: Arc<str>,
    records: RedBlackTreeMapSync<Endpoint, Arc<EndpointRecord>>,
    servers: usize,
    /// How many servers each sensor was the first to speak of.
    by_sensor: RedBlackTreeMapSync<String, usize>,
    limits: Limits,
    /// Records that did not fit.
    lost: BTreeMap<Lost, u64>,
    /// Where the last search for something to evict ended.
    cursor: Option<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub servers: usize,
    pub servers_per_sensor: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { servers: 20_000, servers_per_sensor: 5_000 }
    }
}

/// What one piece of evidence changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Keys (`site/10.0.0.5:3001/mcp`) that are no more, and the keys that stand for them now: whatever hangs on the old one moves.
    pub renamed: Vec<(String, String)>,
    /// False when the evidence did not fit and was only counted.
    pub kept: bool,
    /// What had to go to make room: nothing is known of this endpoint any more.
    pub evicted: Option<Endpoint>,
}

/// Why a record was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    SiteFull,
    SensorFull,
    EndpointFull,
    Evicted,
}

impl Lost {
    pub fn as_str(self) -> &'static str {
        match self {
            Lost::SiteFull => "site-full",
            Lost::SensorFull => "sensor-full",
            Lost::EndpointFull => "endpoint-full",
            Lost::Evicted => "evicted",
        }
    }
}

/// Whether there is place for one more record.
enum Room {
    Free,
    /// All that was known of this endpoint was given up for it.
    Made(Endpoint),
    None,
}

/// The sensor that spoke of it first: its share of the records counts it.
fn first_witness(server: &Server) -> &str {
    server.testimonies.first().map_or("", |t| t.sensor.as_str())
}

impl Inventory {
    pub fn new(site: &str) -> Inventory {
        Inventory::with_limits(site, Limits::default())
    }

    pub fn with_limits(site: &str, limits: Limits) -> Inventory {
        Inventory {
            site: site.into(),
            records: RedBlackTreeMapSync::new_sync(),
            servers: 0,
            by_sensor: RedBlackTreeMapSync::new_sync(),
            limits,
            lost: BTreeMap::new(),
            cursor: None,
        }
    }

    /// Takes back what [`Inventory::record`] gave before a restart.
    pub fn restore(&mut self, endpoint: Endpoint, record: EndpointRecord) {
        self.forget(endpoint);
        self.records.insert_mut(endpoint, Arc::new(record));
        self.count(endpoint, true);
    }

    pub fn observe(&mut self, sensor: &str, evidence: &Evidence, pack: &Pack) -> Observed {
        let endpoint = evidence.place.endpoint;
        let known = self.records.get(&endpoint);
        let mut evicted = None;
        if known.is_none_or(|d| d.would_add(evidence)) {
            match self.make_room(sensor, evidence, pack) {
                Room::Free => {}
                Room::Made(gone) => evicted = Some(gone),
                Room::None => return Observed::default(),
            }
        }
        self.count(endpoint, false);
        let observed = match self.records.get_mut(&endpoint) {
            Some(record) => Arc::make_mut(record).observe(&self.site, sensor, evidence, pack),
            None => {
                let mut record = EndpointRecord::default();
                let observed = record.observe(&self.site, sensor, evidence, pack);
                if !record.is_empty() {
                    self.records.insert_mut(endpoint, Arc::new(record));
                }
                observed
            }
        };
        if !observed.kept {
            self.lose(Lost::EndpointFull);
        }
        self.count(endpoint, true);
        Observed { evicted, ..observed }
    }

    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.records.values().flat_map(|record| record.servers())
    }

    pub fn record(&self, endpoint: Endpoint) -> Option<&EndpointRecord> {
        self.records.get(&endpoint).map(Arc::as_ref)
    }

    /// The server with this [`Server::key`].
    pub fn find(&self, key: &str) -> Option<&Server> {
        let place = key.strip_prefix(&*self.site)?.strip_prefix('/')?;
        let (endpoint, path) = match place.find('/') {
            Some(at) => (place.get(..at)?, place.get(at..)),
            None => (place, None),
        };
        self.records.get(&endpoint.parse().ok()?)?.server(path)
    }

    pub fn site(&self) -> &str {
        &self.site
    }

    pub fn len(&self) -> usize {
        self.servers
    }

    pub fn is_empty(&self) -> bool {
        self.servers == 0
    }

    /// Losses by reason, since the start of this process.
    pub fn lost(&self) -> &BTreeMap<Lost, u64> {
        &self.lost
    }

    /// Drops what was never more than Probable and was last seen before `before`. Gives the endpoints that changed, each with
    /// the keys that are no more and those that stand for them (as in [`Observed::renamed`]).
    pub fn expire(&mut self, before: rules::Timestamp, pack: &Pack) -> BTreeMap<Endpoint, Vec<(String, String)>> {
        let mut changed = BTreeMap::new();
        let old = self.records.iter().filter(|(_, record)| record.has_expired(before, pack)).map(|(endpoint, _)| *endpoint);
        for endpoint in old.collect::<Vec<_>>() {
            self.count(endpoint, false);
            let Some(record) = self.records.get_mut(&endpoint).map(Arc::make_mut) else { continue };
            changed.insert(endpoint, record.expire(before, pack));
            if record.is_empty() {
                self.records.remove_mut(&endpoint);
            }
            self.count(endpoint, true);
        }
        changed
    }

    /// Whether one more record may be made on this sensor's word. A full site, and a sensor that has its share, give up a
    /// Candidate for evidence that says more; a sensor only one of its own.
    fn make_room(&mut self, sensor: &str, evidence: &Evidence, pack: &Pack) -> Room {
        let own_share = self.by_sensor.get(sensor).copied().unwrap_or(0) >= self.limits.servers_per_sensor;
        if !own_share && self.servers < self.limits.servers {
            return Room::Free;
        }
        if pack.weigh(&evidence.signature).0 != Strength::Weak
            && let Some(victim) = self.oldest_candidate(own_share.then_some(sensor), evidence.place.endpoint, pack)
        {
            self.forget(victim);
            self.lose(Lost::Evicted);
            return Room::Made(victim);
        }
        self.lose(if own_share { Lost::SensorFull } else { Lost::SiteFull });
        Room::None
    }

    /// Judges a bounded number of endpoints, going round, and gives the one of them that holds nothing but Candidates (of this
    /// sensor, when one is named) and was seen least lately.
    fn oldest_candidate(&mut self, of: Option<&str>, but: Endpoint, pack: &Pack) -> Option<Endpoint> {
        const LOOKED_AT: usize = 256;
        let from = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let round = self.records.range((from, Bound::Unbounded)).chain(self.records.iter()).take(self.records.size());
        let own = |d: &EndpointRecord| of.is_none_or(|name| d.servers().all(|s| first_witness(s) == name));
        let (mut last, mut oldest) = (None, None);
        for (endpoint, record) in round.filter(|(endpoint, record)| **endpoint != but && own(record)).take(LOOKED_AT) {
            last = Some(*endpoint);
            if record.servers().all(|s| s.judgement(pack).confidence == Confidence::Candidate) {
                let seen = (record.servers().map(|s| s.last_seen).max(), *endpoint);
                oldest = Some(oldest.map_or(seen, |o| seen.min(o)));
            }
        }
        self.cursor = last;
        oldest.map(|(_, endpoint)| endpoint)
    }

    fn forget(&mut self, endpoint: Endpoint) {
        self.count(endpoint, false);
        self.records.remove_mut(&endpoint);
    }

    /// Adds the servers of an endpoint to the sums, or takes them out.
    fn count(&mut self, endpoint: Endpoint, add: bool) {
        let Some(record) = self.records.get(&endpoint).cloned() else { return };
        for server in record.servers() {
            let sensor = first_witness(server);
            let known = self.by_sensor.get(sensor).copied().unwrap_or(0);
            let n = if add { known.saturating_add(1) } else { known.saturating_sub(1) };
            if n == 0 {
                self.by_sensor.remove_mut(sensor);
            } else {
                self.by_sensor.insert_mut(sensor.to_owned(), n);
            }
            self.servers = if add { self.servers.saturating_add(1) } else { self.servers.saturating_sub(1) };
        }
    }

    fn lose(&mut self, lost: Lost) {
        let n = self.lost.entry(lost).or_default();
        *n = n.saturating_add(1);
    }
}
