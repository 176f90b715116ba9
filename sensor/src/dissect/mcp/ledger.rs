//! What was said already: the same thing about the same server and client is not said again for a while.

use crate::{dissect::recent::Recent, moment::Moment};
use rules::{
    endpoint::Place,
    evidence::{Evidence, Facts, Source},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Saying it again shows that the server still lives.
const AGAIN: Duration = Duration::from_secs(60);
/// Places and signatures remembered.
const REMEMBERED: usize = 32_768;

/// Signatures of the server's side that do not show that it speaks MCP.
const UNPROVEN: [&str; 8] = [
    "wire.server.unasked-result",
    "wire.server.unasked-series",
    "wire.server.cors-header",
    "wire.server.endpoint-offer",
    "wire.server.auth-gate",
    "wire.server.auth-challenge",
    "wire.server.websocket",
    "wire.server.against-jsonrpc",
];

#[derive(Debug)]
pub struct Ledger {
    pub(super) out: Vec<Evidence>,
    said: Recent<(Moment, u64)>,
    /// Places with a signature of the server's own side, and their addresses.
    proven: Recent<()>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { out: Vec::new(), said: Recent::new(REMEMBERED), proven: Recent::new(REMEMBERED) }
    }
}

impl Ledger {
    /// Says it, unless it was said within the last minute with nothing new in `facts`.
    pub fn say(&mut self, place: &Place, signature: &'static str, detail: &str, at: Moment, facts: Facts) {
        let key = digest(&(place, signature, facts.client.as_ref().map(|c| c.address)));
        let content =
            digest(&(&facts.revisions, &facts.tools, &facts.server_info, &facts.client, &facts.names, facts.auth, facts.transport));
        if self.said.get(key).is_some_and(|(last, old)| *old == content && at.since(*last) < AGAIN) {
            return;
        }
        self.said.insert(key, (at, content));
        if signature.starts_with("wire.server.") && !UNPROVEN.contains(&signature) {
            self.proven.insert(digest(place), ());
            self.proven.insert(digest(&place.endpoint.address), ());
        }
        self.out.push(Evidence::new(place.clone(), Source::Wire, signature, at.timestamp()).detail(detail).facts(facts));
    }

    /// Whether a server at this address was heard to speak MCP, on whatever port.
    pub(in crate::dissect) fn proven_address(&self, address: std::net::IpAddr) -> bool {
        self.proven.get(digest(&address)).is_some()
    }

    /// Whether a server was heard to speak MCP here.
    pub(super) fn proven(&self, place: &Place) -> bool {
        self.proven.get(digest(place)).is_some()
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
