//! Why: the chain from the bytes that were seen to the nftables element, as lines for people.
//!
//! Every line is printable, whatever it quotes.

use crate::{
    Timestamp,
    admission::{Escalation, status},
    compose::WithheldBlock,
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
    evidence::Source,
    finding::{FindingId, FindingPrefix},
    printable::printable,
    server::Server,
    site::{Matter, Matters, Site},
};
use std::{net::IpAddr, str::FromStr};

/// What somebody wants explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Address(IpAddr),
    Endpoint(Endpoint),
    Finding(FindingPrefix),
}

impl FromStr for Subject {
    type Err = String;

    /// `10.0.0.5`, `10.0.0.5:3001`, `[2001:db8::1]:3001` or `F-1a2b3c4d`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        FindingPrefix::parse(text)
            .map(Subject::Finding)
            .or_else(|| text.parse::<IpAddr>().ok().map(|a| Subject::Address(a.to_canonical())))
            .or_else(|| text.parse().ok().map(Subject::Endpoint))
            .ok_or_else(|| format!("`{}` is no address, no ADDRESS:PORT and no finding such as F-1a2b3c4d", printable(text, 80)))
    }
}

/// What is known at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub site: Site<'a>,
    pub servers: &'a [&'a Server],
    pub matters: &'a Matters,
    pub set: Option<&'a DecisionSet>,
    pub held: &'a [WithheldBlock],
}

/// The whole chain about a subject, or one line that says that nothing is known of it.
pub fn explain(subject: &Subject, known: &Known<'_>, now: Timestamp) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    let about = |endpoint: Endpoint, id: Option<&FindingId>| match subject {
        Subject::Address(a) => endpoint.address == *a,
        Subject::Endpoint(e) => endpoint == *e,
        Subject::Finding(f) => id.is_some_and(|id| f.is_of(id)),
    };
    let named = |m: &Matter| matches!(subject, Subject::Finding(f) if f.is_of(&m.finding.id));
    let places: Vec<_> = known.matters.values().filter(|m| named(m)).filter_map(|m| m.finding.place.as_ref()).collect();
    for server in known.servers.iter().filter(|s| about(s.place.endpoint, None) || places.contains(&&s.place)) {
        lines.server(server, &known.site, now);
    }
    let is_about = |m: &Matter| m.finding.place.as_ref().is_some_and(|p| about(p.endpoint, None)) || named(m);
    for matter in known.matters.values().filter(|m| is_about(m)) {
        lines.matter(matter, &known.site, now);
        lines.decision(matter, known.set, known.held);
        lines.enforcement(matter, known, now);
    }
    if lines.0.is_empty() {
        lines.say(0, "nothing is known of it: no sensor saw anything there, or what it saw was no sign of MCP");
    }
    lines.0
}

struct Lines(Vec<String>);

impl Lines {
    fn say(&mut self, depth: usize, line: impl AsRef<str>) {
        self.0.push(format!("{}{}", "  ".repeat(depth), printable(line.as_ref(), 400)));
    }

    fn server(&mut self, server: &Server, site: &Site<'_>, now: Timestamp) {
        let judgement = server.judgement(site.pack);
        self.say(0, format!("server {} is {}", server.place, judgement.confidence.as_str()));
        for t in &server.testimonies {
            let source = match t.source {
                Source::Wire => "wire",
                Source::Host => "host",
                Source::Probe => "probe",
            };
            let what = if t.detail.is_empty() { String::new() } else { format!(" ({})", t.detail) };
            let times = if t.count == 1 { String::new() } else { format!(", {} times until {}", t.count, t.last) };
            self.say(1, format!("{source} of sensor {}: {}{what} at {}{times}", t.sensor, t.signature, t.first));
        }
        for reason in &judgement.reasons {
            self.say(1, format!("because: {reason}"));
        }
        match site.registry.find(&server.place, now) {
            Some(r) => self.say(1, format!("registered as `{}` by {}", r.slug, r.registered_by)),
            None => self.say(1, "not registered"),
        }
        if let Some(owner) = server.owner() {
            self.say(1, format!("owner {} ({})", owner.name, owner.source.as_str()));
        }
        for (what, n) in &server.dropped {
            self.say(1, format!("{n} {what} were seen and not kept"));
        }
        if server.is_gone(site.policy, now) {
            self.say(1, format!("gone: last seen {}", server.last_seen));
        }
    }

    fn matter(&mut self, matter: &Matter, site: &Site<'_>, now: Timestamp) {
        let Matter { finding, case } = matter;
        self.say(0, format!("finding {} {} is {}", finding.id, finding.kind, case.escalation.as_str()));
        for reason in &finding.reasons {
            self.say(1, format!("because: {reason}"));
        }
        self.say(1, format!("opened {}", case.opened_at));
        if let Some(at) = case.notified_at {
            self.say(1, format!("a notice was delivered {at}"));
        }
        for other in &finding.shared_with {
            self.say(1, format!("shares its address and port with {other}"));
        }
        if case.escalation != Escalation::Closed && !finding.corroborated {
            self.say(1, "only one witness says so");
        }
        self.say(1, status(case, finding, site.policy, site.soft_phase_start, now));
    }

    /// Whether what was decided is so, and whom it stopped.
    fn enforcement(&mut self, matter: &Matter, known: &Known<'_>, now: Timestamp) {
        let fleet = &known.site.fleet;
        let Some(decision) = known.set.and_then(|s| s.decisions.iter().find(|d| d.finding == matter.finding.id)) else { return };
        if let Some(wave) = fleet.wave.filter(|w| w.blocks.contains(&decision.endpoint)) {
            let why = wave.held.as_ref().map(|why| format!(", and stands still: {why}")).unwrap_or_default();
            self.say(1, format!("its wave has reached {} enforcement points{why}", wave.points.len()));
        }
        let c = fleet.coverage(known.site.policy, now);
        if c.points > 0 {
            self.say(
                1,
                format!(
                    "{} of {} enforcement points were heard lately; they hold {} of {} blocks",
                    c.heard, c.points, c.enforced, c.desired
                ),
            );
        }
        let (tried, more) = fleet.tried(&decision.finding, 8);
        for t in tried {
            let did = if t.action == Action::Block { "was stopped" } else { "would have been stopped" };
            self.say(1, format!("{} {did}, {} times until {}", t.client, t.count, t.last));
        }
        if more > 0 {
            self.say(1, format!("and {more} more clients"));
        }
    }

    fn decision(&mut self, matter: &Matter, set: Option<&DecisionSet>, held: &[WithheldBlock]) {
        for h in held.iter().filter(|h| h.finding == matter.finding.id) {
            self.say(1, format!("held back: {}", h.reason));
        }
        let Some(set) = set else { return self.say(0, "no decision set was issued") };
        match set.decisions.iter().find(|d| d.finding == matter.finding.id) {
            Some(d) if d.action == Action::Block => {
                let agents: Vec<String> = set.agents.iter().map(ToString::to_string).collect();
                self.say(
                    0,
                    format!(
                        "decision: block {} for {}, since {}, in generation {}",
                        d.endpoint,
                        agents.join(", "),
                        d.since,
                        set.generation
                    ),
                );
            }
            Some(d) => self.say(0, format!("decision: count what a block of {} would stop, in generation {}", d.endpoint, set.generation)),
            None => self.say(0, format!("decision: none in generation {}", set.generation)),
        }
    }
}

#[cfg(test)]
mod tests;
