//! Client certificates: which tool servers insist on them, joined with what the CA issued in a month.

use crate::{Timestamp, server::Testimony, wire::v1::ServerReport};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, str::FromStr};

/// What a probe learned about client certificates at one server; of several, the newest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// Serves callers without asking.
    NotAsked,
    /// Asks, and serves callers without one.
    Optional,
    /// Asks, and refuses callers without one.
    Required,
}

impl Asking {
    fn of_signature(signature: &str) -> Option<Asking> {
        match signature {
            "probe.context.certificate-not-asked" => Some(Asking::NotAsked),
            "probe.context.certificate-optional" => Some(Asking::Optional),
            "probe.context.certificate-required" => Some(Asking::Required),
            _ => None,
        }
    }

    /// The newest word, and how it was learned.
    pub fn newest(testimonies: &[Testimony]) -> Option<(Asking, &Testimony)> {
        let said = testimonies.iter().filter_map(|t| Asking::of_signature(&t.signature).map(|a| (a, t)));
        said.max_by_key(|(_, t)| t.last)
    }
}

/// One certificate a CA issued, as its log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub serial: String,
    /// Common name and alternative names, in lower case.
    pub names: BTreeSet<String>,
    pub at: Timestamp,
    pub expires: Option<Timestamp>,
}

/// A calendar month in UTC, `2026-11`: from its first moment to that of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    pub first: Timestamp,
    pub end: Timestamp,
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Month, String> {
        let wrong = || format!("`{}` is no month; write it as 2026-11", crate::printable::printable(text, 20));
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        let shaped = year.len() == 4 && month.len() == 2 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let (year, month) = match (shaped, year.parse::<u32>(), month.parse::<u32>()) {
            (true, Ok(year), Ok(month @ 1..=12)) => (year, month),
            _ => return Err(wrong()),
        };
        let start = |y: u32, m: u32| format!("{y:04}-{m:02}-01T00:00:00Z").parse::<Timestamp>().map_err(|_| wrong());
        let end = if month == 12 { start(year + 1, 1) } else { start(year, month + 1) };
        Ok(Month { first: start(year, month)?, end: end? })
    }
}

/// How one server stands in one month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The server's key.
    pub server: String,
    pub host: Option<String>,
    pub registered_as: Option<String>,
    /// `None`: no probe has said.
    pub asking: Option<Asking>,
    /// The question and the answer that showed it, and when last.
    pub shown_by: String,
    pub shown_at: Option<Timestamp>,
    /// Certificates valid in the month that name the server, and the last moment one of them holds.
    pub issued_to_it: u64,
    pub expires: Option<Timestamp>,
    /// Certificates valid in the month that name a client seen at it.
    pub issued_to_clients: u64,
    pub clients: u64,
    /// What is missing, in words for people.
    pub gaps: Vec<String>,
}

/// Joins the servers that were there in `month` with the certificates that were valid in it.
pub fn standings(month: Month, servers: &[ServerReport], issued: &[Issued]) -> Vec<Standing> {
    let valid: Vec<&Issued> = issued.iter().filter(|i| i.at < month.end && i.expires.is_none_or(|until| until >= month.first)).collect();
    let there = servers.iter().filter(|s| s.first_seen < month.end && s.last_seen >= month.first);
    there.map(|s| standing(month, s, &valid)).collect()
}

fn standing(month: Month, server: &ServerReport, valid: &[&Issued]) -> Standing {
    let said = server.evidence.iter().filter_map(|e| Asking::of_signature(&e.signature).map(|a| (a, e)));
    let newest = said.max_by_key(|(_, e)| e.last);
    let its: BTreeSet<String> = [server.host.clone(), Some(server.address.to_string()), server.registered_as.clone()]
        .into_iter()
        .flatten()
        .map(|n| n.to_lowercase())
        .collect();
    let theirs: BTreeSet<String> = server.clients.iter().map(ToString::to_string).collect();
    let to_it: Vec<&&Issued> = valid.iter().filter(|i| i.names.iter().any(|n| its.iter().any(|own| covers(n, own)))).collect();
    let to_clients = valid.iter().filter(|i| i.names.iter().any(|n| theirs.contains(n))).count();
    let expires = to_it.iter().filter_map(|i| i.expires).max();
    let mut standing = Standing {
        server: server.key.clone(),
        host: server.host.clone(),
        registered_as: server.registered_as.clone(),
        asking: newest.map(|(asking, _)| asking),
        shown_by: newest.map(|(_, e)| e.detail.clone()).unwrap_or_default(),
        shown_at: newest.map(|(_, e)| e.last),
        issued_to_it: to_it.len() as u64,
        expires,
        issued_to_clients: to_clients as u64,
        clients: server.clients.len() as u64,
        gaps: Vec::new(),
    };
    standing.gaps = gaps(&standing, server.tls, month);
    standing
}

fn gaps(s: &Standing, tls: Option<bool>, month: Month) -> Vec<String> {
    let mut gaps = Vec::new();
    match s.asking {
        None => gaps.push("no probe has asked it".to_owned()),
        Some(Asking::NotAsked) => gaps.push("asks no caller for a certificate".to_owned()),
        Some(Asking::Optional) => gaps.push("serves callers without a certificate".to_owned()),
        Some(Asking::Required) => {}
    }
    match (tls, s.issued_to_it, s.expires) {
        (Some(false), ..) => gaps.push("speaks without TLS".to_owned()),
        (_, 0, _) => gaps.push("no certificate in the log names it".to_owned()),
        (_, _, Some(until)) if until < month.end => gaps.push(format!("its last certificate ended at {until}")),
        _ => {}
    }
    if s.asking == Some(Asking::Required) && s.clients > 0 && s.issued_to_clients == 0 {
        gaps.push("no certificate in the log names a client seen at it".to_owned());
    }
    gaps
}

/// RFC 6125 §6.4.3: `*.corp.example` is any one label more.
fn covers(name: &str, own: &str) -> bool {
    let wild = name.strip_prefix("*.").zip(own.split_once('.')).is_some_and(|(domain, (_, rest))| domain == rest);
    name == own || wild
}

#[cfg(test)]
mod tests;
