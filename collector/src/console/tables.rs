//! The tables of the status page.

use super::text::{text, when};
use crate::{
    api::{
        sensors::SensorReport,
        status::{SiteStatus, Status},
    },
    journal,
};
use maud::{Markup, html};
use rules::{
    Timestamp,
    endpoint::Endpoint,
    evidence::Source,
    observation::Coverage,
    policy::Mode,
    wire::v1::{FindingReport, ServerReport},
};

/// Title, what the table is about, the heads of its columns.
struct Table {
    title: &'static str,
    about: &'static str,
    heads: &'static [&'static str],
}

impl Table {
    /// With its rows, and how many more there are than are shown.
    fn of(&self, rows: &[Markup], more: usize) -> Markup {
        html! {
            section {
                h2 { (self.title) }
                p.about { (self.about) }
                @if rows.is_empty() {
                    p.none { "none" }
                } @else {
                    div.scroll {
                        table {
                            thead { tr { @for head in self.heads { th { (head) } } } }
                            tbody { @for row in rows { tr { (row) } } }
                        }
                    }
                    @if more > 0 { p.about { "and " (more) " more" } }
                }
            }
        }
    }
}

fn unknown() -> Markup {
    html! { i { "unknown" } }
}

pub(super) fn enforcement(status: &Status) -> Markup {
    let rows: Vec<Markup> = status.sites.iter().map(|(name, site)| site_row(name, site, status.now)).collect();
    let table = Table {
        title: "Enforcement",
        about: "what the enforcement points are told",
        heads: &["Site", "Mode", "Decisions", "Set", "Soft phase"],
    };
    table.of(&rows, 0)
}

fn site_row(name: &str, site: &SiteStatus, now: Timestamp) -> Markup {
    let (mode, class) = match site.mode {
        Mode::Observe => ("observe: nobody is told", ""),
        Mode::Soft => ("soft: owners are told, nothing is blocked", "good"),
        Mode::Hard => ("hard: what is due is blocked", "bad"),
    };
    html! {
        td { b { (text(name)) } }
        td {
            span class={ "tag " (class) } { (mode) }
            @if let Some(why) = &site.waits_for_approval { p.warn { (text(why)) } }
        }
        td { (site.blocks) " blocked, " (site.shadows) " counted only, " (site.held) " held" }
        td {
            @match (site.generation, site.not_after) {
                (Some(generation), Some(until)) => { "generation " (generation) ", valid " (when(until, now)) }
                _ => { "no set issued yet" }
            }
        }
        td { (if site.hard_from <= now { "over since " } else { "no block before its end, " }) (when(site.hard_from, now)) }
    }
}

pub(super) fn findings(findings: &[FindingReport], all: usize, now: Timestamp) -> Markup {
    let row = |f: &FindingReport| {
        let place = match (f.address, f.port) {
            (Some(a), Some(p)) => format!("{}{}", Endpoint::new(a, p), f.path.as_deref().unwrap_or("")),
            _ => f.slug.clone().unwrap_or_default(),
        };
        let class = if f.blocked_at.is_some() { "bad" } else { "warn" };
        html! {
            td { code title=(f.id) { (f.id.short()) } }
            td { span class={ "tag " (class) } { (f.kind) } }
            td { b { (text(&place)) } p { (text(f.reasons.first().map_or("", String::as_str))) } }
            td { @match &f.owner { Some(owner) => { (text(&owner.name)) } None => { (unknown()) } } }
            td { (f.escalation.as_str()) }
            td { @match f.deadline { Some(deadline) => { (when(deadline, now)) } None => { i { "no clock" } } } }
            td { (text(&f.status)) }
        }
    };
    let table = Table {
        title: "Findings",
        about: "what is wrong, most urgent first",
        heads: &["Id", "Kind", "Where", "Owner", "Escalation", "Deadline", "Status"],
    };
    table.of(&findings.iter().map(row).collect::<Vec<_>>(), all.saturating_sub(findings.len()))
}

pub(super) fn servers(servers: &[ServerReport], all: usize, now: Timestamp) -> Markup {
    let row = |s: &ServerReport| {
        let place = format!("{}{}", Endpoint::new(s.address, s.port), s.path.as_deref().unwrap_or(""));
        let sources: Vec<&str> = s.sources.iter().map(|source| source_word(*source)).collect();
        html! {
            td {
                b { (text(&place)) }
                @if let Some(info) = &s.server_info { p { (text(&named(&info.name, info.version.as_deref()))) } }
            }
            td { (s.confidence.as_str()) }
            td { (sources.join(" + ")) }
            td {
                @match &s.registered_as {
                    Some(slug) => { span.tag.good { (text(slug)) } }
                    None => { span.tag { "no" } }
                }
            }
            td { (s.clients.len()) }
            td { @match &s.owner { Some(owner) => { (text(&owner.name)) } None => { (unknown()) } } }
            td { (when(s.last_seen, now)) }
        }
    };
    let table = Table {
        title: "Servers",
        about: "what was seen",
        heads: &["Server", "Confidence", "Sources", "Registered", "Clients", "Owner", "Last seen"],
    };
    table.of(&servers.iter().map(row).collect::<Vec<_>>(), all.saturating_sub(servers.len()))
}

fn named(name: &str, version: Option<&str>) -> String {
    version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
}

fn source_word(source: Source) -> &'static str {
    match source {
        Source::Wire => "wire",
        Source::Host => "host",
        Source::Probe => "probe",
    }
}

pub(super) fn sensors(sensors: &[SensorReport], all: usize, now: Timestamp) -> Markup {
    let row = |s: &SensorReport| {
        let frames: u64 = s.coverage.iter().fold(0, |n, c| n.saturating_add(c.frames));
        let lost: u64 = s.coverage.iter().flat_map(|c| c.lost.values()).fold(0, |n, l| n.saturating_add(*l));
        let interfaces: Vec<String> = s.coverage.iter().map(interface).collect();
        html! {
            td { b { (text(&s.name)) } }
            td { @if s.revoked.is_some() { span.tag.bad { "revoked" } } @else { span.tag { (s.role) } } }
            td { @match s.heard_at { Some(at) => { (when(at, now)) } None => { "never" } } }
            td { @if interfaces.is_empty() { i { "none reported" } } @else { (interfaces.join(", ")) } }
            td { (frames) }
            td { (lost) }
            td { (s.gaps) }
        }
    };
    let table = Table {
        title: "Sensors",
        about: "who sees, and what they missed",
        heads: &["Name", "Role", "Heard", "Interfaces", "Frames seen", "Lost", "Reports lost"],
    };
    table.of(&sensors.iter().map(row).collect::<Vec<_>>(), all.saturating_sub(sensors.len()))
}

fn interface(c: &Coverage) -> String {
    let resets = c.resets.map(|r| format!(" (resets, best effort: {} sent, {} suppressed)", r.sent, r.suppressed()));
    text(&c.interface) + &resets.unwrap_or_default()
}

pub(super) fn recent(journal: &[journal::Row], now: Timestamp) -> Markup {
    let row = |r: &journal::Row| {
        html! {
            td { (when(r.at, now)) }
            td { (text(&r.actor.to_string())) }
            td { (text(r.verb.as_str())) }
            td { (text(&r.subject)) }
            td { (text(&r.reason)) }
        }
    };
    let table = Table {
        title: "Journal",
        about: "the newest rows; the admin API has all, at /v1/journal",
        heads: &["When", "Actor", "Act", "Subject", "Reason"],
    };
    table.of(&journal.iter().map(row).collect::<Vec<_>>(), 0)
}
