//! What a script may ask to see.

use super::stage::{Stage, subject};
use rules::{
    blast::{BlastRadius, RecentClient},
    explain::{Known, Subject, explain},
    wire::v1::{FindingReport, ServerReport},
};

pub(super) fn servers(stage: &Stage) -> Vec<String> {
    let line = |s: &&rules::server::Server| {
        let r = ServerReport::new(s, stage.pack()).registered(s, &stage.registry, stage.now);
        let clients: Vec<String> = r.clients.iter().map(ToString::to_string).collect();
        let registered = r.registered_as.map_or_else(|| "unregistered".to_owned(), |slug| format!("registered as {slug}"));
        let clients = if clients.is_empty() { String::new() } else { format!(", used by {}", clients.join(" ")) };
        format!("{} {}, {registered}, {} marks{clients}", s.place, r.confidence.as_str(), r.evidence.len())
    };
    or_none(stage.servers().iter().map(line).collect())
}

pub(super) fn findings(stage: &Stage) -> Vec<String> {
    let line = |m: &rules::site::Matter| {
        let r = FindingReport::new(&m.finding, &m.case, &stage.policy, stage.site().soft_phase_start, stage.now);
        let about = subject(m.finding.place.as_ref(), m.finding.slug.as_deref(), m.finding.kind.as_str());
        format!("{about} is {}: {}", r.escalation.as_str(), r.status)
    };
    or_none(stage.matters.values().map(line).collect())
}

pub(super) fn plan(stage: &Stage) -> Vec<String> {
    let Some(set) = &stage.set else { return or_none(Vec::new()) };
    let mut lines = Vec::new();
    for decision in &set.decisions {
        let here = stage.servers().into_iter().filter(|s| s.place.endpoint == decision.endpoint);
        let b = BlastRadius::of(here, &set.agents, stage.now);
        let addresses = |clients: &[RecentClient]| {
            let all: Vec<String> = clients.iter().map(|c| c.address.to_string()).collect();
            if all.is_empty() { "nobody".to_owned() } else { all.join(" ") }
        };
        let what = serde_json::to_value(decision.action).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        lines.push(format!(
            "{what} {}: {}; breaks {}, spares {}",
            decision.endpoint,
            decision.reason,
            addresses(&b.breaks),
            addresses(&b.spares)
        ));
    }
    lines.extend(stage.held.iter().map(|h| format!("held {}: {}", h.endpoint, h.reason)));
    let protected: Vec<String> = set.protected_endpoints.iter().map(ToString::to_string).collect();
    if !protected.is_empty() {
        lines.push(format!("protected: {}", protected.join(" ")));
    }
    or_none(lines)
}

pub(super) fn why(stage: &Stage, subject: &Subject) -> Vec<String> {
    let servers = stage.servers();
    let known = Known { site: stage.site(), servers: &servers, matters: &stage.matters, set: stage.set.as_ref(), held: &stage.held };
    explain(subject, &known, stage.now)
}

fn or_none(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}
