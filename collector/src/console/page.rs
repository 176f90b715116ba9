//! The status page as HTML. The template escapes every text; [`text`] makes it printable and bounded as well.

use super::{
    tables::{enforcement, findings, recent, sensors, servers},
    text::text,
};
use crate::{
    api::{sensors::SensorReport, status::Status},
    journal,
};
use maud::{DOCTYPE, Markup, html};
use rules::wire::v1::{FindingReport, ServerReport};

pub(super) struct View {
    pub(super) status: Status,
    pub(super) findings: Vec<FindingReport>,
    pub(super) all_findings: usize,
    pub(super) servers: Vec<ServerReport>,
    pub(super) all_servers: usize,
    pub(super) sensors: Vec<SensorReport>,
    pub(super) all_sensors: usize,
    pub(super) journal: Vec<journal::Row>,
}

pub(super) fn render(view: &View) -> Markup {
    let (status, now) = (&view.status, view.status.now);
    let refresh = html! { meta http-equiv="refresh" content="15"; };
    let newest = status.journal.hash.get(..16).unwrap_or_default();
    let body = html! {
        (tiles(view))
        (enforcement(status))
        (findings(&view.findings, view.all_findings, now))
        (servers(&view.servers, view.all_servers, now))
        (sensors(&view.sensors, view.all_sensors, now))
        (recent(&view.journal, now))
        footer {
            "gnomon " (status.version) " · " (status.journal.id) " journal rows, newest " code { (text(newest)) }
            " · key " code { (text(&status.verifying_key.key_id)) } " · " (now)
        }
    };
    document(&refresh, &body)
}

/// For whoever has no cookie.
pub(super) fn closed(token_file: &str, wrong: bool) -> Markup {
    let why = if wrong { "That is not this collector's token." } else { "This page needs the admin token." };
    let body = html! {
        section.login {
            h2 { (why) }
            p {
                "Open the address that " code { "gnomon up" } " printed, or add " code { "/?token=…" }
                " to this one, with the token in " code { (text(token_file)) } "."
            }
        }
    };
    document(&Markup::default(), &body)
}

fn document(head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Gnomon" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                (head)
                link rel="stylesheet" href="/style.css";
            }
            body {
                header {
                    svg viewBox="0 0 24 24" aria-hidden="true" {
                        path d="M2 20h20M5 20L13 4v16" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round"
                            stroke-linecap="round" {}
                    }
                    h1 { "Gnomon" }
                    p { "every MCP server on the network, and what follows" }
                }
                main { (body) }
            }
        }
    }
}

fn tiles(view: &View) -> Markup {
    let sites = || view.status.sites.values();
    let sum = |of: &str| sites().filter_map(|s| s.servers.get(of)).sum::<usize>();
    let kind = |of: &str| sites().filter_map(|s| s.findings.get(of)).sum::<usize>();
    let tile = |n: usize, label: &str, class: &str| {
        let class = if n == 0 { "quiet" } else { class };
        html! { div class={ "tile " (class) } { b { (n) } span { (label) } } }
    };
    html! {
        section.tiles {
            (tile(sum("confirmed"), "confirmed servers", ""))
            (tile(view.status.registrations, "registered", "good"))
            (tile(kind("shadow"), "shadow servers", "warn"))
            (tile(sites().map(|s| s.blocks).sum(), "blocked", "bad"))
            (tile(kind("blind"), "blind sensors", "warn"))
            (tile(sum("probable") + sum("candidate"), "to be looked into", ""))
        }
    }
}
