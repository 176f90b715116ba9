//! Two records that turned out to be one server.

use rules::{
    evidence::Auth,
    server::{Caller, Server, Testimony},
};
use std::collections::BTreeSet;

/// Adds all that was said about `from` to `into`, within the same bounds; the rest is counted.
pub(super) fn merge(into: &mut Server, from: Server) {
    let newer = from.last_seen > into.last_seen;
    into.first_seen = into.first_seen.min(from.first_seen);
    into.last_seen = into.last_seen.max(from.last_seen);
    into.sightings = into.sightings.saturating_add(from.sightings);
    into.gone_at = into.gone_at.max(from.gone_at).filter(|gone| *gone >= into.last_seen);
    if into.place.host.is_none() {
        into.place.host = from.place.host;
    }
    into.profile.tls = if newer { from.profile.tls.or(into.profile.tls) } else { into.profile.tls.or(from.profile.tls) };
    into.profile.auth = match (into.profile.auth, from.profile.auth) {
        (Some(Auth::None | Auth::Unknown) | None, other @ Some(_)) => other,
        (mine, _) => mine,
    };
    if into.profile.server_info.is_none() || (newer && from.profile.server_info.is_some()) {
        into.profile.server_info = from.profile.server_info;
    }
    into.profile.transports.extend(from.profile.transports);
    into.exposures.extend(from.exposures);
    for process in from.processes {
        if into.processes.iter().any(|p| p.pid == process.pid) {
            continue;
        }
        if into.processes.len() < Server::MAX_SMALL { into.processes.push(process) } else { lost(into, "processes") }
    }
    let over = union(&mut into.profile.revisions, from.profile.revisions, Server::MAX_SMALL);
    lose(into, "revisions", over);
    let over = union(&mut into.profile.tools, from.profile.tools, Server::MAX_TOOLS);
    lose(into, "tools", over);
    let over = union(&mut into.names, from.names, Server::MAX_SMALL);
    lose(into, "names", over);
    let over = union(&mut into.owners, from.owners, Server::MAX_SMALL);
    lose(into, "owners", over);
    for (address, caller) in from.clients {
        let full = into.clients.len() >= Server::MAX_CLIENTS;
        match into.clients.get_mut(&address) {
            Some(known) => join_caller(known, caller),
            None if full => lost(into, "clients"),
            None => drop(into.clients.insert(address, caller)),
        }
    }
    for testimony in from.testimonies {
        join_testimony(into, testimony);
    }
    for (what, n) in from.dropped {
        lose(into, &what, n);
    }
}

fn join_caller(known: &mut Caller, other: Caller) {
    if other.last > known.last && other.software.is_some() || known.software.is_none() {
        known.software = other.software;
    }
    union(&mut known.names, other.names, Server::MAX_SMALL);
    known.first = known.first.min(other.first);
    known.last = known.last.max(other.last);
}

fn join_testimony(into: &mut Server, other: Testimony) {
    let full = into.testimonies.len() >= Server::MAX_TESTIMONIES;
    let same = |t: &&mut Testimony| t.sensor == other.sensor && t.source == other.source && t.signature == other.signature;
    match into.testimonies.iter_mut().find(same) {
        Some(known) => {
            if other.first < known.first {
                known.detail = other.detail;
            }
            known.first = known.first.min(other.first);
            known.last = known.last.max(other.last);
            known.count = known.count.saturating_add(other.count);
        }
        None if full => lost(into, "testimonies"),
        None => into.testimonies.push(other),
    }
}

fn union<T: Ord>(into: &mut BTreeSet<T>, from: BTreeSet<T>, max: usize) -> u64 {
    let mut over = 0;
    for item in from {
        if into.len() < max || into.contains(&item) {
            into.insert(item);
        } else {
            over += 1;
        }
    }
    over
}

fn lost(server: &mut Server, what: &str) {
    lose(server, what, 1);
}

fn lose(server: &mut Server, what: &str, by: u64) {
    if by > 0 {
        let n = server.dropped.entry(what.to_owned()).or_default();
        *n = n.saturating_add(by);
    }
}
