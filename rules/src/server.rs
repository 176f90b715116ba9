//! One MCP server as the inventory knows it: the sum of what was said about it.

use crate::{
    Timestamp,
    confidence::{Heard, Judgement, judge},
    endpoint::Place,
    evidence::{Auth, Client, Evidence, Exposure, Implementation, Owner, Process, Source, Transport},
    pack::{Pack, Side},
    period::Period,
    policy::Policy,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// One kind of signature, by one source of one sensor: when first, when last, how often. Repetition adds no belief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    pub sensor: String,
    #[serde(rename = "witness", alias = "source")]
    pub source: Source,
    #[serde(rename = "mark", alias = "signature")]
    pub signature: String,
    /// The detail of the first time.
    pub detail: String,
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u64,
}

/// A client that was seen talking to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub software: Option<Implementation>,
    /// Names it looked the server up by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Caller {
    /// Never called itself anything but our probe: see [`Implementation::is_probe`].
    pub fn is_probe(&self) -> bool {
        self.software.as_ref().is_some_and(Implementation::is_probe)
    }
}

/// How a server speaks, and what it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub transports: BTreeSet<Transport>,
    /// Revisions of MCP by their dates, at most [`Server::MAX_SMALL`].
    pub revisions: BTreeSet<String>,
    /// `None`: not known.
    pub tls: Option<bool>,
    pub auth: Option<Auth>,
    pub server_info: Option<Implementation>,
    /// Names, at most [`Server::MAX_TOOLS`].
    pub tools: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub site: String,
    pub place: Place,
    #[serde(flatten)]
    pub profile: Profile,
    /// Names its address was looked up by, at most [`Server::MAX_SMALL`].
    #[serde(default)]
    pub names: BTreeSet<String>,
    pub clients: BTreeMap<IpAddr, Caller>,
    pub processes: Vec<Process>,
    pub owners: BTreeSet<Owner>,
    pub exposures: BTreeSet<Exposure>,
    pub testimonies: Vec<Testimony>,
    /// Other names and paths seen at the same endpoint that are not this server: a block would hit them too.
    pub shares_endpoint_with: BTreeSet<String>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// How often it was seen to be there. Zero: only hints point here. Unlike `last_seen`, no clock that was wrong for a
    /// while spoils this.
    #[serde(default)]
    pub sightings: u64,
    /// When a probe last found that nothing answers here.
    pub gone_at: Option<Timestamp>,
    /// What did not fit the bounds below, by what it was.
    pub dropped: BTreeMap<String, u64>,
}

impl Server {
    pub const MAX_CLIENTS: usize = 1024;
    pub const MAX_TOOLS: usize = 512;
    pub const MAX_TESTIMONIES: usize = 128;
    pub const MAX_SMALL: usize = 16;

    pub fn new(site: &str, place: Place, at: Timestamp) -> Server {
        Server {
            site: site.to_owned(),
            place,
            profile: Profile::default(),
            names: BTreeSet::new(),
            clients: BTreeMap::new(),
            processes: Vec::new(),
            owners: BTreeSet::new(),
            exposures: BTreeSet::new(),
            testimonies: Vec::new(),
            shares_endpoint_with: BTreeSet::new(),
            first_seen: at,
            last_seen: at,
            sightings: 0,
            gone_at: None,
            dropped: BTreeMap::new(),
        }
    }

    /// `site/10.0.0.5:3001/mcp`: stable as long as the place is.
    pub fn key(&self) -> String {
        format!("{}/{}", self.site, self.place)
    }

    /// Adds one piece of evidence. Commutative over evidence with distinct times but for `detail` and scalar facts,
    /// where the latest wins.
    pub fn absorb(&mut self, sensor: &str, evidence: &Evidence, pack: &Pack) {
        let at = evidence.at;
        self.first_seen = self.first_seen.min(at);
        if evidence.signature == "probe.context.gone" {
            self.gone_at = Some(self.gone_at.map_or(at, |g| g.max(at)));
        } else {
            // Only what came from the server, or a process that listens, shows that it lives; until there is such a
            // thing, a hint is the best there is.
            let alive = pack.weigh(&evidence.signature).1 == Side::Server || evidence.facts.process.is_some();
            if alive && self.sightings == 0 {
                self.last_seen = at;
            } else if alive || self.sightings == 0 {
                self.last_seen = self.last_seen.max(at);
            }
            self.sightings = self.sightings.saturating_add(u64::from(alive));
            if self.gone_at.is_some_and(|gone| alive && gone < at) {
                self.gone_at = None;
            }
        }
        self.absorb_testimony(sensor, evidence);
        self.absorb_facts(evidence);
    }

    fn absorb_testimony(&mut self, sensor: &str, evidence: &Evidence) {
        let full = self.testimonies.len() >= Server::MAX_TESTIMONIES;
        let known =
            self.testimonies.iter_mut().find(|t| t.sensor == sensor && t.source == evidence.source && t.signature == evidence.signature);
        match known {
            Some(t) => {
                t.first = t.first.min(evidence.at);
                t.last = t.last.max(evidence.at);
                t.count = t.count.saturating_add(1);
            }
            None if !full => self.testimonies.push(Testimony {
                sensor: sensor.to_owned(),
                source: evidence.source,
                signature: evidence.signature.clone(),
                detail: evidence.detail.clone(),
                first: evidence.at,
                last: evidence.at,
                count: 1,
            }),
            None => self.lost("testimonies"),
        }
    }

    fn absorb_facts(&mut self, evidence: &Evidence) {
        let f = &evidence.facts;
        if let Some(host) = &evidence.place.host {
            self.place.host.get_or_insert_with(|| host.clone());
        }
        self.profile.transports.extend(f.transport);
        self.insert_all(&f.revisions, "revisions", Server::MAX_SMALL, |s| &mut s.profile.revisions);
        self.insert_all(&f.tools, "tools", Server::MAX_TOOLS, |s| &mut s.profile.tools);
        self.insert_all(&f.names, "names", Server::MAX_SMALL, |s| &mut s.names);
        self.exposures.extend(f.exposures.iter().copied());
        self.profile.tls = f.tls.or(self.profile.tls);
        // A client that sends a token says more than one that was not asked for it.
        self.profile.auth = match (self.profile.auth, f.auth) {
            (Some(old), Some(Auth::None | Auth::Unknown)) => Some(old),
            (old, new) => new.or(old),
        };
        if f.server_info.is_some() {
            self.profile.server_info.clone_from(&f.server_info);
        }
        if let Some(Client { address, software }) = &f.client {
            self.absorb_client(*address, software.as_ref(), &f.names, evidence.at);
        }
        if let Some(process) = &f.process {
            self.processes.retain(|p| p.pid != process.pid);
            if self.processes.len() < Server::MAX_SMALL {
                self.processes.push(process.clone());
            } else {
                self.lost("processes");
            }
        }
        if let Some(owner) = &f.owner {
            if self.owners.len() < Server::MAX_SMALL {
                self.owners.insert(owner.clone());
            } else if !self.owners.contains(owner) {
                self.lost("owners");
            }
        }
    }

    fn absorb_client(&mut self, address: IpAddr, software: Option<&Implementation>, names: &BTreeSet<String>, at: Timestamp) {
        let full = self.clients.len() >= Server::MAX_CLIENTS;
        match self.clients.get_mut(&address) {
            Some(caller) => {
                let room = Server::MAX_SMALL.saturating_sub(caller.names.len());
                caller.names.extend(names.iter().take(room).cloned());
                caller.first = caller.first.min(at);
                caller.last = caller.last.max(at);
                // Who was once something else stays a client, whatever name it takes on.
                if let Some(software) = software.filter(|s| !s.is_probe() || caller.software.as_ref().is_none_or(|c| c.is_probe())) {
                    caller.software = Some(software.clone());
                }
            }
            None if !full => {
                let names = names.iter().take(Server::MAX_SMALL).cloned().collect();
                self.clients.insert(address, Caller { software: software.cloned(), names, first: at, last: at });
            }
            None => self.lost("clients"),
        }
    }

    fn insert_all(&mut self, new: &BTreeSet<String>, what: &str, max: usize, set: impl Fn(&mut Server) -> &mut BTreeSet<String>) {
        for item in new {
            let set = set(self);
            if set.len() < max {
                set.insert(item.clone());
            } else if !set.contains(item) {
                self.lost(what);
            }
        }
    }

    fn lost(&mut self, what: &str) {
        let n = self.dropped.entry(what.to_owned()).or_default();
        *n = n.saturating_add(1);
    }

    /// How sure we are that this is an MCP server, and why.
    pub fn judgement(&self, pack: &Pack) -> Judgement {
        judge(self.testimonies.iter().map(|t| Heard { source: t.source, signature: &t.signature, last: t.last }), pack)
    }

    /// How many sensors say something strong of the server itself.
    pub fn sensors(&self, pack: &Pack) -> u32 {
        use crate::pack::{Side, Strength};
        let strong = |t: &&Testimony| {
            matches!(pack.weigh(&t.signature), (Strength::Decisive, Side::Server) | (Strength::Strong, Side::Server | Side::Context))
        };
        let names: BTreeSet<&str> = self.testimonies.iter().filter(strong).map(|t| t.sensor.as_str()).collect();
        u32::try_from(names.len()).unwrap_or(u32::MAX)
    }

    /// Somebody asked here for MCP, and nothing that came from here, or is known of here, says more: no server to show to people.
    pub fn is_attempt(&self, pack: &Pack) -> bool {
        let of_client = |t: &Testimony| pack.weigh(&t.signature).1 == crate::pack::Side::Client;
        self.testimonies.iter().all(of_client) && self.judgement(pack).confidence == crate::confidence::Confidence::Candidate
    }

    pub fn sources(&self) -> BTreeSet<Source> {
        self.testimonies.iter().map(|t| t.source).collect()
    }

    /// A probe found nothing here, and nothing was seen since.
    pub fn is_missed(&self) -> bool {
        self.gone_at.is_some_and(|at| at >= self.last_seen)
    }

    /// Whether nothing answers here any more by the wall clock: not seen for `gone_after`, or missed for
    /// `gone_confirmed_after`. A case that is open counts for itself how long it listened, see [`crate::admission::Case::unseen`].
    pub fn is_gone(&self, policy: &Policy, now: Timestamp) -> bool {
        let silent_for = |period: Period| period.after(self.last_seen) <= now;
        silent_for(policy.presence.gone_after) || (self.is_missed() && silent_for(policy.presence.gone_confirmed_after))
    }

    /// The most believable owner.
    pub fn owner(&self) -> Option<&Owner> {
        self.owners.iter().min_by_key(|o| o.source)
    }
}

#[cfg(test)]
mod tests;
