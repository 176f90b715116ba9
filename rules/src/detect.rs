//! Servers and registry in, findings out.

use crate::{
    Timestamp,
    admission::Closure,
    certificates::Asking,
    confidence::{Confidence, Judgement},
    evidence::{Exposure, Owner, OwnerSource},
    finding::{Finding, FindingId, FindingKind, Severity},
    pack::Pack,
    policy::Policy,
    registry::{Registration, Registry},
    server::Server,
};

mod coverage;
mod silence;

pub use coverage::unenforced;
pub use silence::{Sight, blind, dead, unheard};

/// All findings about one server. Only a Confirmed server has any. Whether it is still there is for the case to say, which
/// knows how much of the silence somebody listened to.
pub fn detect(server: &Server, registry: &Registry, policy: &Policy, pack: &Pack, now: Timestamp) -> Vec<Finding> {
    let judgement = server.judgement(pack);
    if judgement.confidence < Confidence::Confirmed {
        return Vec::new();
    }
    let about = About { server, judgement, registry, pack, now };
    let registration = registry.find(&server.place, now);
    let mut findings = match registration {
        None => about.unregistered(),
        Some(r) => about.registered(r),
    };
    findings.extend(about.exposed(registration));
    findings.extend(about.uncertified(registration).filter(|_| policy.client_certificates));
    findings
}

/// Why a finding that was there is there no more.
pub fn closure(finding: &Finding, server: Option<&Server>, registry: &Registry, now: Timestamp) -> Closure {
    let registered = finding.place.as_ref().and_then(|place| registry.find(place, now)).is_some();
    if registered && matches!(finding.kind, FindingKind::Shadow | FindingKind::Lookalike) {
        Closure::Registered
    } else if finding.place.is_some() && server.is_none() {
        Closure::Gone
    } else {
        Closure::NotDetected
    }
}

struct About<'a> {
    server: &'a Server,
    judgement: Judgement,
    registry: &'a Registry,
    pack: &'a Pack,
    now: Timestamp,
}

impl About<'_> {
    fn unregistered(&self) -> Vec<Finding> {
        let why = "answers as an MCP server and is not registered".to_owned();
        let mut findings = vec![self.finding(FindingKind::Shadow, Severity::High, None, why)];
        let name = self.server.profile.server_info.as_ref().map(|i| i.name.as_str());
        if let Some(r) = self.registry.registrations.values().find(|r| Some(r.name.as_str()) == name) {
            let why = format!("calls itself like the registered server `{}`, at another place", r.slug);
            findings.push(self.finding(FindingKind::Lookalike, Severity::High, Some(r), why));
        }
        findings
    }

    fn registered(&self, r: &Registration) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(at) = r.retired_at(self.now).filter(|at| self.server.last_seen > *at) {
            let why = format!("`{}` was retired at {at} and still answers", r.slug);
            findings.push(self.finding(FindingKind::Retired, Severity::Medium, Some(r), why));
        }
        let new: Vec<&str> = self.server.profile.tools.difference(&r.tools).map(String::as_str).collect();
        if !r.tools.is_empty() && !new.is_empty() {
            let why = format!("`{}` has tools that were not registered: {}", r.slug, new.join(", "));
            findings.push(self.finding(FindingKind::Drifted, Severity::High, Some(r), why));
        }
        findings
    }

    fn exposed(&self, registration: Option<&Registration>) -> Option<Finding> {
        let seen = |e| self.server.exposures.contains(&e);
        let why = match (seen(Exposure::NoAuth), seen(Exposure::WildcardBind), seen(Exposure::ForeignHostAccepted)) {
            (true, true, _) => "asks nobody who they are, and is bound to every interface",
            (true, _, true) => "asks nobody who they are, and takes requests for any Host, as DNS rebinding needs",
            _ => return None,
        };
        Some(self.finding(FindingKind::Exposed, Severity::Medium, registration, why.to_owned()))
    }

    /// Only a server that a probe saw serve somebody without a certificate; not one nobody asked.
    fn uncertified(&self, registration: Option<&Registration>) -> Option<Finding> {
        let (asking, shown) = Asking::newest(&self.server.testimonies)?;
        let why = match asking {
            Asking::NotAsked => "serves callers without asking for a certificate",
            Asking::Optional => "asks for a certificate and serves callers without one",
            Asking::Required => return None,
        };
        Some(self.finding(FindingKind::NoClientCertificate, Severity::Medium, registration, format!("{why}: {}", shown.detail)))
    }

    fn finding(&self, kind: FindingKind, severity: Severity, registration: Option<&Registration>, why: String) -> Finding {
        let server = self.server;
        let mut shared_with: Vec<String> = server.shares_endpoint_with.iter().cloned().collect();
        let neighbour = self.registry.at_endpoint(server.place.endpoint, self.now);
        shared_with.extend(neighbour.map(|r| format!("the registered server `{}`", r.slug)));
        Finding {
            id: FindingId::derive(kind, &server.key()),
            kind,
            severity,
            site: server.site.clone(),
            place: Some(server.place.clone()),
            slug: registration.map(|r| r.slug.clone()),
            owner: owner(server, registration),
            reasons: std::iter::once(why).chain(self.judgement.reasons.iter().cloned()).collect(),
            corroborated: self.judgement.corroborated,
            sensors: server.sensors(self.pack),
            shared_with,
            last_seen: server.last_seen,
        }
    }
}

fn owner(server: &Server, registration: Option<&Registration>) -> Option<Owner> {
    match registration {
        Some(r) => Some(Owner { name: r.contact.clone(), source: OwnerSource::Registry }),
        None => server.owner().cloned(),
    }
}

#[cfg(test)]
mod tests;
