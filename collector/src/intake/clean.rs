//! What a sensor says, made printable and cut to size: a sensor may be old, broken or taken over.

use rules::{
    Timestamp,
    endpoint::{Endpoint, Place},
    evidence::{Client, Evidence, Facts, Implementation, Owner, Process},
    observation::{Applied, Coverage, Said},
    printable::printable,
    server::Server,
    wire::v1::Record,
};
use std::collections::BTreeSet;

/// 1 to 63 characters of a-z, 0-9, `.` and `-`, beginning with a letter or digit.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

/// Nothing is seen in the future: a clock that is ahead must not keep a server alive.
pub(super) fn record(record: &Record, now: Timestamp) -> Record {
    let said = match &record.said {
        Said::Evidence(e) => Said::Evidence(Box::new(evidence(e, now))),
        Said::Coverage(c) => Said::Coverage(coverage(c)),
        Said::Applied(a) => Said::Applied(applied(a)),
        Said::Gap { from_seq, to_seq, reason } => Said::Gap { from_seq: *from_seq, to_seq: *to_seq, reason: printable(reason, 200) },
    };
    Record { seq: record.seq, at: record.at.min(now), said }
}

fn evidence(e: &Evidence, now: Timestamp) -> Evidence {
    let mut place = Place::new(Endpoint::new(e.place.endpoint.address, e.place.endpoint.port));
    if let Some(path) = &e.place.path {
        place = place.with_target(path);
    }
    if let Some(host) = &e.place.host {
        place = place.with_host(host);
    }
    let mut kept = Evidence::new(place, e.witness, &printable(&e.mark, 64), e.at.min(now)).detail(&e.detail);
    kept.facts = facts(&e.facts);
    kept
}

fn facts(f: &Facts) -> Facts {
    Facts {
        transport: f.transport,
        revisions: texts(&f.revisions, Server::MAX_SMALL, 32),
        auth: f.auth,
        tls: f.tls,
        server_info: f.server_info.as_ref().map(implementation),
        tools: texts(&f.tools, Server::MAX_TOOLS, 128),
        client: f.client.as_ref().map(|c| Client { address: c.address.to_canonical(), software: c.software.as_ref().map(implementation) }),
        process: f.process.as_ref().map(|p| Process {
            pid: p.pid,
            executable: printable(&p.executable, 256),
            command: printable(&p.command, 200),
            user: printable(&p.user, 64),
            unit: p.unit.as_deref().map(|u| printable(u, 128)),
            container: p.container.as_deref().map(|c| printable(c, 128)),
            bound: p.bound,
        }),
        owner: f.owner.as_ref().map(|o| Owner { name: printable(&o.name, 200), source: o.source }),
        exposures: f.exposures.clone(),
    }
}

fn implementation(i: &Implementation) -> Implementation {
    Implementation { name: printable(&i.name, 128), version: i.version.as_deref().map(|v| printable(v, 64)) }
}

fn texts(all: &BTreeSet<String>, max: usize, length: usize) -> BTreeSet<String> {
    all.iter().take(max).map(|t| printable(t, length)).collect()
}

fn coverage(c: &Coverage) -> Coverage {
    Coverage {
        interface: printable(&c.interface, 64),
        frames: c.frames,
        lost: c.lost.iter().take(32).map(|(why, n)| (printable(why, 64), *n)).collect(),
    }
}

fn applied(a: &Applied) -> Applied {
    Applied { point: printable(&a.point, 120), reason: printable(&a.reason, 400), ..a.clone() }
}
