//! What the conversations of one capture point share: who was asked what, which stream belongs to which session, what was said
//! already, and what was lost.

use super::{ledger::Ledger, progress::Progress, series::Series};
use crate::{
    dissect::{body::Budget, digest, jsonrpc::Id, names::Names, recent::Recent},
    moment::Moment,
};
use rules::{
    endpoint::{Endpoint, Place},
    evidence::{Evidence, Implementation},
    printable::printable,
};
use std::{collections::BTreeMap, net::IpAddr};

/// Bytes of bodies kept at a time, over all conversations.
const BODIES: usize = 24 << 20;

/// An event stream of the HTTP+SSE transport, found again by its session.
#[derive(Clone, Debug)]
pub struct Stream {
    pub place: Place,
    /// Signatures of messages that were taken, until the stream shows what the server makes of them; and who sent them.
    pub waiting: Vec<(&'static str, String)>,
    pub software: Option<Implementation>,
}

/// A question that is answered on another connection.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// The name of the tool that was called.
    pub tool: Option<String>,
}

#[derive(Debug)]
pub struct World {
    pub ledger: Ledger,
    pub budget: Budget,
    pub names: Names,
    /// Names are learnt here and told by another, who hears the same ones.
    pub names_told_elsewhere: bool,
    streams: Recent<Stream>,
    asked: Recent<Asked>,
    progress: Recent<Progress>,
    /// Servers that say to questions what Streamable HTTP says to notifications.
    sinks: Recent<()>,
    series: Recent<Series>,
    /// Things given up on, by reason.
    lost: BTreeMap<&'static str, u64>,
}

impl Default for World {
    fn default() -> World {
        World {
            ledger: Ledger::default(),
            budget: Budget::new(BODIES),
            names: Names::default(),
            names_told_elsewhere: false,
            streams: Recent::new(4096),
            asked: Recent::new(16_384),
            progress: Recent::new(4096),
            sinks: Recent::new(4096),
            series: Recent::new(4096),
            lost: BTreeMap::new(),
        }
    }
}

impl World {
    /// Evidence since the last call, with the names its address is known by.
    pub fn told(&mut self) -> impl Iterator<Item = Evidence> + '_ {
        let World { ledger, names, .. } = self;
        ledger.out.drain(..).map(|mut evidence| {
            let (address, at) = (evidence.place.endpoint.address, Moment::from(evidence.at));
            let named = &mut evidence.facts.names;
            if let Some(client) = &evidence.facts.client {
                named.extend(names.asked(client.address, address, at).map(|n| printable(n, Place::MAX_HOST)));
            }
            if named.is_empty() {
                named.extend(names.known(address, at).map(|n| printable(n, Place::MAX_HOST)));
            }
            evidence
        })
    }

    pub fn lose(&mut self, reason: &'static str) {
        *self.lost.entry(reason).or_default() += 1;
    }

    pub fn lost(&self) -> &BTreeMap<&'static str, u64> {
        &self.lost
    }

    pub fn stream_opened(&mut self, server: Endpoint, session: u64, stream: Stream) {
        self.streams.insert(key(server, None, session), stream);
    }

    pub fn stream(&self, server: Endpoint, session: u64) -> Option<&Stream> {
        self.streams.get(key(server, None, session))
    }

    /// What was waiting on a stream, once.
    pub fn take_waiting(&mut self, server: Endpoint, session: u64) -> Option<Stream> {
        let stream = self.stream(server, session)?.clone();
        if !stream.waiting.is_empty() {
            self.stream_opened(server, session, Stream { waiting: Vec::new(), ..stream.clone() });
        }
        Some(stream)
    }

    /// Notes a question whose answer may come elsewhere: under its session if it has one, and under its client.
    pub fn ask(&mut self, server: Endpoint, client: IpAddr, session: Option<u64>, id: Id, asked: &Asked) {
        for who in [session.map(|s| key(server, None, s)), Some(key(server, Some(client), 0))].into_iter().flatten() {
            self.asked.insert(who ^ id.alike.rotate_left(17), asked.clone());
        }
    }

    /// The question `id` answers.
    pub fn asked(&self, server: Endpoint, client: IpAddr, session: Option<u64>, id: Id) -> Option<&Asked> {
        let who = session.map_or_else(|| key(server, Some(client), 0), |s| key(server, None, s));
        self.asked.get(who ^ id.alike.rotate_left(17))
    }

    pub fn takes_anything(&mut self, server: Endpoint) {
        self.sinks.insert(key(server, None, 0), ());
    }

    pub fn is_sink(&self, server: Endpoint) -> bool {
        self.sinks.get(key(server, None, 0)).is_some()
    }

    pub(super) fn progress(&mut self, place: &Place, client: IpAddr) -> Progress {
        self.progress.get(door(place, client)).copied().unwrap_or_default()
    }

    pub(super) fn progressed(&mut self, place: &Place, client: IpAddr, progress: Progress) {
        self.progress.insert(door(place, client), progress);
    }

    /// What the server gives the client without its questions in the capture, after one thing more.
    pub(super) fn gives(&mut self, server: Endpoint, client: IpAddr, what: impl FnOnce(&mut Series)) -> Series {
        let key = key(server, Some(client), SERIES);
        let mut series = self.series.get(key).copied().unwrap_or_default();
        what(&mut series);
        self.series.insert(key, series);
        series
    }
}

/// A key of its own among those of one server and client.
const SERIES: u64 = 1;

/// Whoever is refused at one path may be let in at another.
fn door(place: &Place, client: IpAddr) -> u64 {
    key(place.endpoint, Some(client), digest(place.path.as_deref().unwrap_or_default().as_bytes()))
}

fn key(server: Endpoint, client: Option<IpAddr>, session: u64) -> u64 {
    let mut bytes = Vec::with_capacity(48);
    let mut address = |address: IpAddr| match address {
        IpAddr::V4(a) => bytes.extend(a.octets()),
        IpAddr::V6(a) => bytes.extend(a.octets()),
    };
    address(server.address);
    if let Some(client) = client {
        address(client);
    }
    bytes.extend(server.port.to_be_bytes());
    bytes.extend(session.to_be_bytes());
    digest(&bytes)
}
