//! Servers and registry in, findings out.

use crate::{
    Timestamp,
    confidence::Confidence,
    evidence::{Exposure, Owner, OwnerSource},
    finding::{Finding, FindingId, FindingKind, Severity},
    pack::Pack,
    registry::{Lifecycle, Registration, Registry},
    server::Server,
};

/// All findings about one server. Only a Confirmed server has any.
pub fn detect(server: &Server, registry: &Registry, pack: &Pack, now: Timestamp) -> Vec<Finding> {
    let judgement = server.judgement(pack);
    if judgement.confidence < Confidence::Confirmed {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut add = |kind, severity, registration: Option<&Registration>, mut reasons: Vec<String>| {
        reasons.extend(judgement.reasons.iter().cloned());
        findings.push(Finding {
            id: FindingId::derive(kind, &server.key()),
            kind,
            severity,
            site: server.site.clone(),
            place: Some(server.place.clone()),
            slug: registration.map(|r| r.slug.clone()),
            owner: owner(server, registration),
            reasons,
            corroborated: judgement.actively_confirmed || server.witnesses().len() >= 2,
            shared_with: server.shares_endpoint_with.iter().cloned().collect(),
            last_seen: server.last_seen,
        });
    };

    match registry.find(&server.place) {
        None => {
            let namesake = server.server_info.as_ref().and_then(|i| registry.registrations.values().find(|r| r.name == i.name));
            add(FindingKind::Shadow, Severity::High, None, vec!["answers as an MCP server and is not registered".to_owned()]);
            if let Some(r) = namesake {
                let why = format!("calls itself like the registered server `{}`, at another place", r.slug);
                add(FindingKind::Lookalike, Severity::High, Some(r), vec![why]);
            }
        }
        Some(r) => {
            let sunset = match &r.lifecycle {
                Lifecycle::Sunset { since } => Some(*since),
                Lifecycle::Deprecated { sunset: Some(at), .. } if *at <= now => Some(*at),
                _ => None,
            };
            if let Some(at) = sunset.filter(|at| server.last_seen > *at) {
                add(FindingKind::Retired, Severity::Medium, Some(r), vec![format!("`{}` was retired at {at} and still answers", r.slug)]);
            }
            if !r.tools.is_empty() {
                let new: Vec<&str> = server.tools.difference(&r.tools).map(String::as_str).collect();
                if !new.is_empty() {
                    let why = format!("`{}` has tools that were not registered: {}", r.slug, new.join(", "));
                    add(FindingKind::Drifted, Severity::High, Some(r), vec![why]);
                }
            }
        }
    }
    if server.exposures.contains(&Exposure::NoAuth) && server.exposures.contains(&Exposure::WildcardBind) {
        let why = "asks nobody who they are, and is bound to every interface".to_owned();
        add(FindingKind::Exposed, Severity::Medium, registry.find(&server.place), vec![why]);
    }
    findings
}

fn owner(server: &Server, registration: Option<&Registration>) -> Option<Owner> {
    match registration {
        Some(r) => Some(Owner { name: r.contact.clone(), source: OwnerSource::Registry }),
        None => server.owner().cloned(),
    }
}
