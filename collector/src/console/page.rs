//! From what is known to HTML. Every text that came from anywhere goes through [`text`].

use crate::{
    api::{sensors::Report, status::Status},
    journal,
};
use rules::{
    Timestamp,
    policy::Mode,
    printable::printable,
    wire::v1::{FindingReport, ServerReport},
};

pub(super) struct View {
    pub(super) status: Status,
    pub(super) findings: Vec<FindingReport>,
    pub(super) all_findings: usize,
    pub(super) servers: Vec<ServerReport>,
    pub(super) all_servers: usize,
    pub(super) sensors: Vec<Report>,
    pub(super) all_sensors: usize,
    pub(super) journal: Vec<journal::Row>,
}

/// Safe between tags and in double-quoted attributes, and on the eyes.
pub(super) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in printable(raw, 300).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn render(view: &View) -> String {
    let now = view.status.now;
    let body = [
        tiles(view),
        enforcement(&view.status),
        findings(view, now),
        servers(view, now),
        sensors(view, now),
        recent(&view.journal, now),
        format!(
            "<footer>gnomon {} · {} journal rows, newest <code>{}</code> · key <code>{}</code> · {}</footer>",
            view.status.version,
            view.status.journal.id,
            text(view.status.journal.hash.get(..16).unwrap_or_default()),
            text(&view.status.verifying_key.key_id),
            text(&now.to_string()),
        ),
    ];
    document("Gnomon", "<meta http-equiv=\"refresh\" content=\"15\">", &body.concat())
}

/// For whoever has no cookie.
pub(super) fn closed(token_file: &str, wrong: bool) -> String {
    let why = if wrong { "That is not this collector's token." } else { "This page needs the admin token." };
    let file = text(token_file);
    let body = format!(
        "<section class=\"door\"><h2>{why}</h2><p>Open the address that <code>gnomon up</code> printed, or add \
         <code>/?token=…</code> to this one, with the token in <code>{file}</code>.</p></section>"
    );
    document("Gnomon", "", &body)
}

fn document(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{head}\
         <link rel=\"stylesheet\" href=\"/style.css\"></head><body><header><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
         <path d=\"M2 20h20M5 20L13 4v16\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\" stroke-linejoin=\"round\" \
         stroke-linecap=\"round\"/></svg><h1>Gnomon</h1><p>every MCP server on the network, and what follows</p></header>\
         <main>{body}</main></body></html>"
    )
}

fn tiles(view: &View) -> String {
    let sum = |of: &str| view.status.sites.values().filter_map(|s| s.servers.get(of)).sum::<usize>();
    let kind = |of: &str| view.status.sites.values().filter_map(|s| s.findings.get(of)).sum::<usize>();
    let blocks: usize = view.status.sites.values().map(|s| s.blocks).sum();
    let tile = |n: usize, what: &str, class: &str| {
        let class = if n == 0 { "quiet" } else { class };
        format!("<div class=\"tile {class}\"><b>{n}</b><span>{what}</span></div>")
    };
    [
        "<section class=\"tiles\">".to_owned(),
        tile(sum("confirmed"), "confirmed servers", ""),
        tile(view.status.registrations, "registered", "good"),
        tile(kind("shadow"), "shadow servers", "warn"),
        tile(blocks, "blocked", "bad"),
        tile(kind("blind"), "blind sensors", "warn"),
        tile(sum("probable") + sum("candidate"), "to be looked into", ""),
        "</section>".to_owned(),
    ]
    .concat()
}

fn enforcement(status: &Status) -> String {
    let mut rows = String::new();
    for (name, site) in &status.sites {
        let (mode, class) = match site.mode {
            Mode::Observe => ("observe: nobody is told", ""),
            Mode::Soft => ("soft: owners are told, nothing is blocked", "good"),
            Mode::Hard => ("hard: what is due is blocked", "bad"),
        };
        let set = match (site.generation, site.not_after) {
            (Some(g), Some(until)) => format!("generation {g}, valid {}", when(until, status.now)),
            _ => "no set issued yet".to_owned(),
        };
        let hold = site.waits_for_approval.as_deref().map_or_else(String::new, |why| format!("<p class=\"warn\">{}</p>", text(why)));
        let soft = if site.hard_from <= status.now { "over since" } else { "no block before its end," };
        rows.push_str(&format!(
            "<tr><td><b>{}</b></td><td><span class=\"tag {class}\">{mode}</span>{hold}</td><td>{} blocked, {} counted only, {} held</td>\
             <td>{set}</td><td>{soft} {}</td></tr>",
            text(name),
            site.blocks,
            site.shadows,
            site.held,
            when(site.hard_from, status.now),
        ));
    }
    table("Enforcement", "what the enforcement points are told", "<th>Site<th>Mode<th>Decisions<th>Set<th>Soft phase", &rows, 0)
}

fn findings(view: &View, now: Timestamp) -> String {
    let mut rows = String::new();
    for f in &view.findings {
        let place = match (f.address, f.port) {
            (Some(a), Some(p)) => format!("{}{}", rules::endpoint::Endpoint::new(a, p), f.path.as_deref().unwrap_or("")),
            _ => f.slug.clone().unwrap_or_default(),
        };
        let class = if f.blocked_at.is_some() { "bad" } else { "warn" };
        let deadline = f.deadline.map_or_else(|| "<i>no clock</i>".to_owned(), |d| when(d, now));
        let owner = f.owner.as_ref().map_or_else(|| "<i>unknown</i>".to_owned(), |o| text(&o.name));
        rows.push_str(&format!(
            "<tr><td><code title=\"{}\">{}</code></td><td><span class=\"tag {class}\">{}</span></td><td><b>{}</b><p>{}</p></td><td>{owner}</td>\
             <td>{}</td><td>{deadline}</td><td>{}</td></tr>",
            f.id,
            f.id.short(),
            f.kind,
            text(&place),
            text(f.reasons.first().map_or("", String::as_str)),
            f.escalation.as_str(),
            text(&f.status),
        ));
    }
    let more = view.all_findings.saturating_sub(view.findings.len());
    table("Findings", "what is wrong, most urgent first", "<th>Id<th>Kind<th>Where<th>Owner<th>Rung<th>Deadline<th>Standing", &rows, more)
}

fn servers(view: &View, now: Timestamp) -> String {
    let mut rows = String::new();
    for s in &view.servers {
        let endpoint = rules::endpoint::Endpoint::new(s.address, s.port);
        let name = s.server_info.as_ref().map_or_else(String::new, |i| {
            let version = i.version.as_deref().map_or_else(String::new, |v| format!(" {v}"));
            format!("<p>{}</p>", text(&format!("{}{version}", i.name)))
        });
        let registered = match &s.registered_as {
            Some(slug) => format!("<span class=\"tag good\">{}</span>", text(slug)),
            None => "<span class=\"tag\">no</span>".to_owned(),
        };
        let sources: Vec<String> = s.sources.iter().map(|w| format!("{w:?}").to_lowercase()).collect();
        rows.push_str(&format!(
            "<tr><td><b>{}</b>{name}</td><td>{}</td><td>{}</td><td>{registered}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text(&format!("{endpoint}{}", s.path.as_deref().unwrap_or(""))),
            s.confidence.as_str(),
            sources.join(" + "),
            s.clients.len(),
            s.owner.as_ref().map_or_else(|| "<i>unknown</i>".to_owned(), |o| text(&o.name)),
            when(s.last_seen, now),
        ));
    }
    let more = view.all_servers.saturating_sub(view.servers.len());
    let heads = "<th>Server<th>Confidence<th>Witnesses<th>Registered<th>Clients<th>Owner<th>Last seen";
    table("Servers", "what was seen", heads, &rows, more)
}

fn sensors(view: &View, now: Timestamp) -> String {
    let mut rows = String::new();
    for s in &view.sensors {
        let frames: u64 = s.coverage.iter().fold(0, |n, c| n.saturating_add(c.frames));
        let lost: u64 = s.coverage.iter().flat_map(|c| c.lost.values()).fold(0, |n, l| n.saturating_add(*l));
        let resets = |c: &rules::observation::Coverage| {
            c.resets.map_or_else(String::new, |r| format!(" (resets, best effort: {} sent, {} suppressed)", r.sent, r.suppressed()))
        };
        let interfaces: Vec<String> = s.coverage.iter().map(|c| text(&c.interface) + &resets(c)).collect();
        let class = if s.revoked.is_some() { "bad" } else { "" };
        rows.push_str(&format!(
            "<tr><td><b>{}</b></td><td><span class=\"tag {class}\">{}</span></td><td>{}</td><td>{}</td><td>{frames}</td><td>{lost}</td>\
             <td>{}</td></tr>",
            text(&s.name),
            if s.revoked.is_some() { "revoked".to_owned() } else { format!("{:?}", s.role).to_lowercase() },
            s.heard_at.map_or_else(|| "never".to_owned(), |at| when(at, now)),
            if interfaces.is_empty() { "<i>none reported</i>".to_owned() } else { interfaces.join(", ") },
            s.gaps,
        ));
    }
    let more = view.all_sensors.saturating_sub(view.sensors.len());
    let heads = "<th>Name<th>Role<th>Heard<th>Interfaces<th>Frames seen<th>Lost<th>Reports lost";
    table("Sensors", "who sees, and what they missed", heads, &rows, more)
}

fn recent(journal: &[journal::Row], now: Timestamp) -> String {
    let row = |r: &journal::Row| {
        let (actor, verb, subject) = (text(&r.actor), text(&r.verb), text(&r.subject));
        format!("<tr><td>{}</td><td>{actor}</td><td>{verb}</td><td>{subject}</td><td>{}</td></tr>", when(r.at, now), text(&r.reason))
    };
    let rows: String = journal.iter().map(row).collect();
    table("Journal", "the newest rows; the admin API has all, at /v1/journal", "<th>When<th>Who<th>What<th>About<th>Why", &rows, 0)
}

fn table(title: &str, about: &str, heads: &str, rows: &str, more: usize) -> String {
    if rows.is_empty() {
        return format!("<section><h2>{title}</h2><p class=\"about\">{about}</p><p class=\"none\">none</p></section>");
    }
    let more = if more > 0 { format!("<p class=\"about\">and {more} more</p>") } else { String::new() };
    format!(
        "<section><h2>{title}</h2><p class=\"about\">{about}</p><div class=\"scroll\"><table><thead><tr>{heads}</thead>\
         <tbody>{rows}</tbody></table></div>{more}</section>"
    )
}

/// `in 3 d 4 h`, `5 min ago`, with the exact time on hovering.
fn when(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    let n = seconds.unsigned_abs();
    let (d, h, m) = (n / 86_400, n / 3600 % 24, n / 60 % 60);
    let length = match (d, h, m) {
        (0, 0, 0) => format!("{n} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, 0, _) => format!("{d} d"),
        (d, h, _) => format!("{d} d {h} h"),
    };
    let words = match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {length}"),
        _ => format!("{length} ago"),
    };
    format!("<time title=\"{at}\">{words}</time>")
}
