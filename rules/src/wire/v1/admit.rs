//! From the wire to a noun: what a peer said is checked and cut before anything believes it.
//!
//! What tells *which* thing is meant (sensor, sequence, place, signature) is refused when it is wrong. What merely describes it is
//! cut to its bound and made printable: a server with ten thousand tools must not make its sensor's word unacceptable.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::Record;
use crate::{
    Timestamp,
    endpoint::Place,
    evidence::{Evidence, Facts, Implementation, Source, Transport},
    observation::{Account, Applied, Coverage, Observation, PointStatus, Said},
    printable::{is_printable, printable},
    server::Server,
};
use std::collections::{BTreeMap, BTreeSet};

/// Why a record was not taken. The sender is wrong, not the network: sending it again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error("`{0}` is no name of a sensor: 1 to 64 of a-z, 0-9, dot, dash and underscore")]
    Sensor(String),
    #[error("record {seq}: the gap from {from} to {to} is none")]
    Gap { seq: u64, from: u64, to: u64 },
    #[error("record {seq}: `{signature}` is no mark of witness.side.name by the witness that says it")]
    Signature { seq: u64, signature: String },
    #[error("record {seq}: {what} of the place is not as it is written on the wire")]
    Place { seq: u64, what: &'static str },
}

/// 2020-01-01: what claims to be older was stamped by a clock that was never set.
const EARLIEST: i64 = 1_577_836_800;
const MAX_NAME: usize = 64;
const MAX_TEXT: usize = 256;
/// Networks in one report of coverage.
const MAX_NETWORKS: usize = 2048;
/// An escape takes up to ten characters in the place of one.
const ESCAPED: usize = 10;

impl Observation {
    /// One record of a batch. `now` is our clock: nothing is observed later than that.
    pub fn admit(sensor: &str, epoch: u64, record: Record, now: Timestamp) -> Result<Observation, Objection> {
        if !is_name(sensor) {
            return Err(Objection::Sensor(printable(sensor, 80)));
        }
        let Record { seq, at, said } = record;
        let at = plausible(at, now);
        let said = match said {
            Said::Evidence(e) => Said::Evidence(Box::new(evidence(*e, seq, now)?)),
            Said::Coverage(c) => Said::Coverage(coverage(c)),
            Said::Applied(a) => Said::Applied(applied(a)),
            Said::Probed(a) => {
                let targets = a.targets.iter().take(Account::MAX_TARGETS).map(|t| printable(t, MAX_TEXT)).collect();
                let (what, by) = (printable(&a.what, MAX_NAME), printable(&a.by, MAX_TEXT));
                Said::Probed(Box::new(Account { what, by, targets, ..*a }))
            }
            Said::Gap { from_seq, to_seq, .. } if from_seq > to_seq => return Err(Objection::Gap { seq, from: from_seq, to: to_seq }),
            Said::Gap { from_seq, to_seq, reason } => Said::Gap { from_seq, to_seq, reason: printable(&reason, MAX_TEXT) },
        };
        Ok(Observation { sensor: sensor.to_owned(), epoch, seq, at, said })
    }
}

fn applied(a: Applied) -> Applied {
    let cut = |texts: Vec<String>, most: usize, len: usize| texts.iter().take(most).map(|t| printable(t, len)).collect::<Vec<_>>();
    let short = |text: Option<String>| text.map(|t| printable(&t, MAX_TEXT));
    let mut s = a.status;
    s.labels = cut(s.labels.into_iter().collect(), PointStatus::MAX_LABELS, MAX_NAME).into_iter().collect();
    s.bypasses = cut(s.bypasses, PointStatus::MAX_BYPASSES, MAX_TEXT);
    (s.held_back, s.stopped) = (short(s.held_back), short(s.stopped));
    s.attempts.truncate(PointStatus::MAX_ATTEMPTS);
    s.acts.truncate(PointStatus::MAX_ACTS);
    s.acts.iter_mut().for_each(|a| a.what = printable(&a.what, MAX_TEXT));
    Applied { point: printable(&a.point, MAX_NAME), reason: printable(&a.reason, MAX_TEXT), status: s, ..a }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
}

fn plausible(at: Timestamp, now: Timestamp) -> Timestamp {
    if at > now || at.as_second() < EARLIEST { now } else { at }
}

fn evidence(e: Evidence, seq: u64, now: Timestamp) -> Result<Evidence, Objection> {
    let source = match e.source {
        Source::Wire => "wire",
        Source::Host => "host",
        Source::Probe => "probe",
    };
    let parts: Vec<&str> = e.signature.split('.').collect();
    let shaped = parts.len() == 3
        && e.signature.len() <= 80
        && parts.first() == Some(&source)
        && e.signature.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-');
    if !shaped {
        return Err(Objection::Signature { seq, signature: printable(&e.signature, 80) });
    }
    Ok(Evidence {
        place: place(e.place, e.facts.transport, seq)?,
        at: plausible(e.at, now),
        detail: cut(&e.detail, Evidence::MAX_DETAIL),
        facts: facts(e.facts),
        ..e
    })
}

fn place(p: Place, transport: Option<Transport>, seq: u64) -> Result<Place, Objection> {
    let wrong = |what| Err(Objection::Place { seq, what });
    if p.endpoint.port == 0 && transport != Some(Transport::Stdio) {
        return wrong("the port");
    }
    if p.endpoint.address.to_canonical() != p.endpoint.address {
        return wrong("the address");
    }
    if p.path.as_ref().is_some_and(|path| !path.starts_with('/') || path.len() > Place::MAX_PATH * ESCAPED || !is_printable(path)) {
        return wrong("the path");
    }
    if p.host.as_ref().is_some_and(|host| Place::new(p.endpoint).with_host(host).host.as_ref() != Some(host)) {
        return wrong("the host");
    }
    Ok(p)
}

fn facts(f: Facts) -> Facts {
    Facts {
        revisions: few(f.revisions, Server::MAX_SMALL, 32),
        tools: few(f.tools, Server::MAX_TOOLS, MAX_TEXT),
        names: few(f.names, Server::MAX_SMALL, Place::MAX_HOST),
        server_info: f.server_info.map(implementation),
        client: f.client.map(|mut c| {
            c.address = c.address.to_canonical();
            c.software = c.software.map(implementation);
            c
        }),
        process: f.process.map(|mut p| {
            for text in [&mut p.executable, &mut p.command, &mut p.user] {
                *text = cut(text, MAX_TEXT);
            }
            for text in [&mut p.unit, &mut p.container] {
                *text = text.take().map(|t| cut(&t, MAX_TEXT));
            }
            p
        }),
        owner: f.owner.map(|mut o| {
            o.name = cut(&o.name, MAX_TEXT);
            o
        }),
        ..f
    }
}

fn coverage(c: Coverage) -> Coverage {
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    for (why, n) in c.lost {
        // What does not fit is still counted.
        let why = if lost.len() < MAX_NAME - 1 { cut(&why, MAX_NAME) } else { "other".to_owned() };
        let sum = lost.entry(why).or_default();
        *sum = sum.saturating_add(n);
    }
    let heard = c.heard.into_iter().take(MAX_NETWORKS).map(|n| n.trunc()).collect();
    Coverage { interface: cut(&c.interface, MAX_NAME), frames: c.frames, lost, heard, shunted: c.shunted, resets: c.resets }
}

fn implementation(i: Implementation) -> Implementation {
    Implementation { name: cut(&i.name, MAX_TEXT), version: i.version.map(|v| cut(&v, MAX_NAME)) }
}

fn few(texts: BTreeSet<String>, count: usize, length: usize) -> BTreeSet<String> {
    texts.into_iter().take(count).map(|t| cut(&t, length)).collect()
}

/// Leaves alone what a sensor of ours has made printable and cut already: escaping again would double nothing, but cutting
/// at the same number again would cut escapes apart.
fn cut(text: &str, max: usize) -> String {
    if is_printable(text) && text.chars().count() <= max.saturating_mul(ESCAPED).saturating_add(1) {
        text.to_owned()
    } else {
        printable(text, max)
    }
}

#[cfg(test)]
mod tests;
