//! What people and their scripts read: one JSON object per server, one per finding. The same from `watch`, `scan`,
//! `inventory`, `servers`, `findings` and the API.

use crate::{
    Timestamp,
    admission::{Case, Closure, Escalation, Exemption, status},
    confidence::Confidence,
    evidence::{Auth, Exposure, Implementation, Owner, Process, Source, Transport},
    finding::{Finding, FindingId, FindingKind, Severity},
    nomination::unsanctioned_lookups,
    pack::Pack,
    policy::Policy,
    registry::Registry,
    server::Server,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// One server. Unknown values are `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// `site/address:port/path`.
    pub key: String,
    pub site: String,
    pub address: IpAddr,
    pub port: u16,
    pub path: Option<String>,
    pub host: Option<String>,
    pub confidence: Confidence,
    /// A probe asked, was answered decisively, and its negative control was refused.
    pub actively_confirmed: bool,
    #[serde(rename = "witnesses", alias = "sources")]
    pub sources: Vec<Source>,
    pub transports: Vec<Transport>,
    pub revisions: Vec<String>,
    pub tls: Option<bool>,
    pub auth: Option<Auth>,
    pub server_info: Option<Implementation>,
    pub tools: Vec<String>,
    /// Names its address was looked up by.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whom a block would break; not those that call themselves our probe.
    pub clients: Vec<IpAddr>,
    pub owner: Option<Owner>,
    /// Slug of the registration that covers it; `null` also where no registry was at hand.
    pub registered_as: Option<String>,
    pub exposures: Vec<Exposure>,
    pub processes: Vec<Process>,
    /// Other names and paths at the same address and port.
    pub shares_endpoint_with: Vec<String>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub gone_at: Option<Timestamp>,
    /// Why the confidence is what it is, in words for people.
    pub reasons: Vec<String>,
    pub evidence: Vec<EvidenceReport>,
    /// What was seen and not kept because a bound was reached, counted.
    pub dropped: BTreeMap<String, u64>,
}

/// One kind of signature, by one source of one sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceReport {
    #[serde(rename = "witness", alias = "source")]
    pub source: Source,
    #[serde(rename = "mark", alias = "signature")]
    pub signature: String,
    pub detail: String,
    /// The first time.
    pub at: Timestamp,
    pub last: Timestamp,
    pub count: u64,
    pub sensor: String,
}

impl ServerReport {
    pub fn new(server: &Server, pack: &Pack) -> ServerReport {
        let judgement = server.judgement(pack);
        let mut evidence: Vec<EvidenceReport> = server
            .testimonies
            .iter()
            .map(|t| EvidenceReport {
                source: t.source,
                signature: t.signature.clone(),
                detail: t.detail.clone(),
                at: t.first,
                last: t.last,
                count: t.count,
                sensor: t.sensor.clone(),
            })
            .collect();
        evidence.sort_by(|a, b| (a.at, &a.signature, &a.sensor).cmp(&(b.at, &b.signature, &b.sensor)));
        ServerReport {
            key: server.key(),
            site: server.site.clone(),
            address: server.place.endpoint.address,
            port: server.place.endpoint.port,
            path: server.place.path.clone(),
            host: server.place.host.clone(),
            confidence: judgement.confidence,
            actively_confirmed: judgement.actively_confirmed,
            sources: server.sources().into_iter().collect(),
            transports: server.profile.transports.iter().copied().collect(),
            revisions: server.profile.revisions.iter().cloned().collect(),
            tls: server.profile.tls,
            auth: server.profile.auth,
            server_info: server.profile.server_info.clone(),
            tools: server.profile.tools.iter().cloned().collect(),
            names: server.names.iter().cloned().collect(),
            clients: server.clients.iter().filter(|(_, caller)| !caller.is_probe()).map(|(address, _)| *address).collect(),
            owner: server.owner().cloned(),
            registered_as: None,
            exposures: server.exposures.iter().copied().collect(),
            processes: server.processes.clone(),
            shares_endpoint_with: server.shares_endpoint_with.iter().cloned().collect(),
            first_seen: server.first_seen,
            last_seen: server.last_seen,
            gone_at: server.gone_at,
            reasons: judgement.reasons,
            evidence,
            dropped: server.dropped.clone(),
        }
    }

    /// Names the registration that covers `server`, if any.
    pub fn registered(mut self, server: &Server, registry: &Registry, now: Timestamp) -> ServerReport {
        self.registered_as = registry.find(&server.place, now).map(|r| r.slug.clone());
        self
    }

    /// Says why agents' lookups nominate this place, unless it is registered.
    pub fn named(mut self, server: &Server, policy: &Policy) -> ServerReport {
        if self.registered_as.is_none() {
            self.reasons.extend(unsanctioned_lookups(server, policy).map(|s| s.to_string()));
        }
        self
    }
}

impl From<(&Server, &Pack)> for ServerReport {
    fn from((server, pack): (&Server, &Pack)) -> ServerReport {
        ServerReport::new(server, pack)
    }
}

/// One finding, its case, and what happens next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingReport {
    pub id: FindingId,
    pub kind: FindingKind,
    pub severity: Severity,
    pub site: String,
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub path: Option<String>,
    pub host: Option<String>,
    /// The registration it is about.
    pub slug: Option<String>,
    pub owner: Option<Owner>,
    pub last_seen: Timestamp,
    pub corroborated: bool,
    pub shared_with: Vec<String>,
    #[serde(rename = "rung", alias = "escalation")]
    pub escalation: Escalation,
    pub opened_at: Timestamp,
    /// Proof of delivery of the first notice; `null`: no clock runs.
    pub notified_at: Option<Timestamp>,
    /// When the block falls due; `null`: no clock runs, or this kind never ends in a block.
    pub deadline: Option<Timestamp>,
    pub blocked_at: Option<Timestamp>,
    pub exemption: Option<Exemption>,
    pub snoozed_until: Option<Timestamp>,
    pub closed: Option<Closure>,
    pub closed_at: Option<Timestamp>,
    /// What it waits for, or why nothing more happens.
    #[serde(rename = "standing", alias = "status")]
    pub status: String,
    /// Why it is a finding.
    pub reasons: Vec<String>,
}

impl FindingReport {
    pub fn new(finding: &Finding, case: &Case, policy: &Policy, soft_phase_start: Timestamp, now: Timestamp) -> FindingReport {
        let place = finding.place.as_ref();
        let deadline = if finding.kind.enforceable() { case.block_at(policy, soft_phase_start) } else { None };
        FindingReport {
            id: finding.id.clone(),
            kind: finding.kind,
            severity: finding.severity,
            site: finding.site.clone(),
            address: place.map(|p| p.endpoint.address),
            port: place.map(|p| p.endpoint.port),
            path: place.and_then(|p| p.path.clone()),
            host: place.and_then(|p| p.host.clone()),
            slug: finding.slug.clone(),
            owner: finding.owner.clone(),
            last_seen: finding.last_seen,
            corroborated: finding.corroborated,
            shared_with: finding.shared_with.clone(),
            escalation: case.escalation,
            opened_at: case.opened_at,
            notified_at: case.notified_at,
            deadline,
            blocked_at: case.blocked_at,
            exemption: case.exemption.clone(),
            snoozed_until: case.snoozed_until,
            closed: case.end.closed,
            closed_at: case.end.closed_at,
            status: status(case, finding, policy, soft_phase_start, now),
            reasons: finding.reasons.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
