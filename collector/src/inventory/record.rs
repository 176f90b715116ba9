//! Everything known at one address and port.

use super::{Observed, merge::merge};
use rules::{
    Timestamp,
    confidence::Confidence,
    endpoint::Place,
    evidence::{Evidence, Implementation, Source, Transport},
    pack::{Pack, Side, Strength},
    period::Period,
    server::Server,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The signature of a front that keeps sites apart by name.
const OTHER_SITE: &str = "probe.context.other-site";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRecord {
    /// At most one record without a path: the endpoint itself.
    servers: Vec<Server>,
    /// Names that something here answered to, and its own name for itself then.
    names: BTreeMap<String, Option<Implementation>>,
}

impl EndpointRecord {
    pub const MAX_SERVERS: usize = 32;
    pub const MAX_NAMES: usize = 16;

    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    pub fn server(&self, path: Option<&str>) -> Option<&Server> {
        self.servers.iter().find(|s| s.place.path.as_deref() == path)
    }

    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Whether this evidence would make one more record.
    pub(super) fn would_add(&self, evidence: &Evidence) -> bool {
        let path = self.canonical(evidence);
        match &path {
            None => self.home(None).is_none(),
            Some(p) => self.server(Some(p)).is_none() && !(self.servers.len() == 1 && self.server(None).is_some()),
        }
    }

    pub(super) fn observe(&mut self, site: &str, sensor: &str, evidence: &Evidence, pack: &Pack) -> Observed {
        self.learn_name(evidence, pack);
        let path = self.canonical(evidence);
        if self.home(path.as_deref()).is_none() {
            if self.servers.len() >= EndpointRecord::MAX_SERVERS {
                return Observed::default();
            }
            let place = Place { path, ..Place::new(evidence.place.endpoint) };
            self.servers.push(Server::new(site, place, evidence.at));
        }
        let home = self.home(self.canonical(evidence).as_deref());
        if let Some(server) = home.and_then(|at| self.servers.get_mut(at)) {
            match pack.weigh(&evidence.signature).1 {
                // A name that only a caller used is not the server's.
                Side::Client => {
                    let mut nameless = evidence.clone();
                    nameless.place.host = None;
                    server.absorb(sensor, &nameless, pack);
                }
                Side::Server | Side::Context => server.absorb(sensor, evidence, pack),
            }
        }
        let renamed = self.settle(pack);
        Observed { renamed, kept: true, evicted: None }
    }

    /// Whether [`EndpointRecord::expire`] would drop something.
    pub(super) fn has_expired(&self, before: Timestamp, pack: &Pack) -> bool {
        self.servers.iter().any(|s| is_expired(s, before, pack))
    }

    /// Drops servers that were not seen since `before` and are not Confirmed.
    pub(super) fn expire(&mut self, before: Timestamp, pack: &Pack) -> Vec<(String, String)> {
        self.servers.retain(|s| !is_expired(s, before, pack));
        self.settle(pack)
    }

    /// The record that evidence at `path` belongs to now.
    fn home(&self, path: Option<&str>) -> Option<usize> {
        let position = |path: Option<&str>| self.servers.iter().position(|s| s.place.path.as_deref() == path);
        match path {
            None if self.servers.len() == 1 => Some(0),
            path => position(path),
        }
    }

    /// The path of the server that a path belongs to: for a message path of HTTP+SSE, that of its stream.
    fn canonical(&self, evidence: &Evidence) -> Option<String> {
        let path = evidence.place.path.as_deref()?;
        let other = |s: &&Server| s.place.path.as_deref().is_some_and(|p| p != path) && streams(s);
        if is_message_path(path) && evidence.facts.transport.is_none_or(|t| t == Transport::HttpSse) {
            let stream = self.servers.iter().filter(other).max_by_key(|s| common_prefix(path, s.place.path.as_deref().unwrap_or("")));
            if let Some(stream) = stream {
                return stream.place.path.clone();
            }
        }
        Some(path.to_owned())
    }

    /// Folds records that turned out to be one, and says again what shares the endpoint.
    fn settle(&mut self, pack: &Pack) -> Vec<(String, String)> {
        let mut renamed = Vec::new();
        self.absorb_endpoint_record(&mut renamed);
        self.absorb_message_paths(&mut renamed);
        self.note_sharing(pack);
        renamed
    }

    /// The record without a path becomes part of the only one that has a path.
    fn absorb_endpoint_record(&mut self, renamed: &mut Vec<(String, String)>) {
        if self.servers.len() != 2 {
            return;
        }
        if let Some(at) = self.home(None) {
            let from = self.servers.swap_remove(at);
            self.fold(from, 0, renamed);
        }
    }

    fn absorb_message_paths(&mut self, renamed: &mut Vec<(String, String)>) {
        let mut at = 0;
        while let Some(server) = self.servers.get(at) {
            let into = message_stream(server, &self.servers);
            match into {
                Some(path) => {
                    let from = self.servers.swap_remove(at);
                    if let Some(into) = self.home(Some(&path)) {
                        self.fold(from, into, renamed);
                    }
                    at = 0;
                }
                None => at += 1,
            }
        }
    }

    fn fold(&mut self, from: Server, into: usize, renamed: &mut Vec<(String, String)>) {
        if let Some(into) = self.servers.get_mut(into) {
            let old = from.key();
            merge(into, from);
            renamed.push((old, into.key()));
        }
    }

    fn learn_name(&mut self, evidence: &Evidence, pack: &Pack) {
        let Some(host) = evidence.place.host.as_deref().filter(|h| *h != "localhost") else { return };
        let (strength, side) = pack.weigh(&evidence.signature);
        if side != Side::Server || matches!(strength, Strength::Weak | Strength::Control) {
            return;
        }
        let info = evidence.facts.server_info.as_ref();
        let full = self.names.len() >= EndpointRecord::MAX_NAMES;
        match self.names.get_mut(host) {
            Some(known) => *known = info.cloned().or(known.take()),
            None if !full => drop(self.names.insert(host.to_owned(), info.cloned())),
            None => {}
        }
    }

    /// A probe found another site behind this endpoint, and for a week since then no probe has found otherwise: a site that is down for a
    /// day is no reason to cut it.
    fn is_front(&self, pack: &Pack) -> bool {
        let said = || self.servers.iter().flat_map(|s| &s.testimonies).filter(|t| t.source == Source::Probe);
        let asked = said().filter(|t| pack.weigh(&t.signature).1 == Side::Server).map(|t| t.last).max();
        let found = said().filter(|t| t.signature == OTHER_SITE).map(|t| t.last).max();
        found.is_some_and(|found| asked.is_none_or(|asked| asked < Period::days(7).after(found)))
    }

    fn note_sharing(&mut self, pack: &Pack) {
        let front = self.is_front(pack);
        let answering: Vec<(usize, Option<String>, Option<Implementation>)> = self
            .servers
            .iter()
            .enumerate()
            .filter(|(_, s)| answers(s, pack))
            .map(|(at, s)| (at, s.place.path.clone(), s.profile.server_info.clone()))
            .collect();
        for (at, server) in self.servers.iter_mut().enumerate() {
            let mine = server.profile.server_info.as_ref();
            let same = |other: Option<&Implementation>| other.is_some() && other == mine;
            let mut shares = BTreeSet::new();
            for (other, path, info) in &answering {
                if let Some(path) = path.as_ref().filter(|_| *other != at && !same(info.as_ref())) {
                    shares.insert(path.clone());
                }
            }
            // The answer to the server's own name, if there was one: the last answer may have been another server's.
            let named = server.place.host.as_ref().and_then(|h| self.names.get(h)).and_then(Option::as_ref).or(mine);
            for (name, info) in &self.names {
                // `Host` is the caller's word. It is another server's name only where another server answered to it: one request
                // with an invented name must not lift a block.
                let own = server.place.host.as_deref().is_some_and(|h| is_alias(h, name));
                if !own && info.is_some() && info.as_ref() != named {
                    shares.insert(name.clone());
                }
            }
            if front {
                shares.insert("another site, by its name".to_owned());
            }
            server.shares_endpoint_with = shares;
        }
    }
}

fn is_expired(server: &Server, before: Timestamp, pack: &Pack) -> bool {
    server.last_seen < before && server.judgement(pack).confidence != Confidence::Confirmed
}

/// Whether something answered here, be it MCP or another protocol: more than a client that tried.
fn answers(server: &Server, pack: &Pack) -> bool {
    server.testimonies.iter().any(|t| {
        let (strength, side) = pack.weigh(&t.signature);
        side == Side::Server && matches!(strength, Strength::Strong | Strength::Decisive | Strength::Against)
    })
}

fn streams(server: &Server) -> bool {
    server.profile.transports.contains(&Transport::HttpSse)
        || server.testimonies.iter().any(|t| t.signature.ends_with(".endpoint-event"))
        || server.place.path.as_deref().is_some_and(|p| p.ends_with("/sse"))
}

/// The path of the stream that `server` is only the message path of.
fn message_stream(server: &Server, all: &[Server]) -> Option<String> {
    let path = server.place.path.as_deref().filter(|p| is_message_path(p))?;
    if server.profile.transports.iter().any(|t| *t != Transport::HttpSse) {
        return None;
    }
    all.iter()
        .filter(|s| s.place.path.as_deref().is_some_and(|p| p != path && !is_message_path(p)) && streams(s))
        .filter_map(|s| s.place.path.clone())
        .max_by_key(|p| common_prefix(path, p))
}

/// The last part as the Python (`/messages`) and TypeScript (`/message`) SDKs name it, or a session below it.
fn is_message_path(path: &str) -> bool {
    path.rsplit('/').take(2).any(|part| part == "messages" || part == "message")
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

/// `dev1` and `dev1.corp.example`.
fn is_alias(a: &str, b: &str) -> bool {
    let short_of = |short: &str, long: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    short_of(a, b) || short_of(b, a)
}
