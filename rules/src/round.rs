//! One round of judgement over a site: servers and registry in, every case one step on, and what is to be done about it.
//!
//! Whoever keeps the state calls [`round`] at least every [`Case::WATCH`] and after every change, stores the matters and the
//! effects in one transaction, and then asks [`crate::compose::compose`] for the set that follows.

use crate::{
    Timestamp,
    admission::{Case, Circumstances, Closure, Effect, Escalation, step},
    detect::{Sight, blind, closure, dead, detect, unenforced, unheard},
    finding::{Finding, FindingId},
    period::Period,
    server::Server,
    site::{Matter, Matters, Site},
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub matters: Matters,
    /// In the order of the findings' ids; for one finding, in the order in which they happened.
    pub effects: Vec<(FindingId, Effect)>,
    /// Why no new block was made, when there would have been too many.
    pub hold: Option<String>,
}

/// How long a closed matter is remembered; the journal remembers it for good.
const REMEMBERED: Period = Period::days(180);

/// Judges everything once. Doing it again with the result and the same arguments changes nothing.
pub fn round<'a>(
    site: &Site<'_>,
    servers: impl IntoIterator<Item = &'a Server>,
    sights: &[Sight<'_>],
    matters: &Matters,
    now: Timestamp,
) -> Round {
    let servers: Vec<&Server> = servers.into_iter().collect();
    let found = findings(site, &servers, sights, now);
    let by_key: BTreeMap<String, &Server> = servers.iter().map(|s| (s.key(), *s)).collect();
    let deaf = sights.iter().filter(|s| site.policy.sensing.blind_after.after(s.last_heard) <= now).map(|s| s.sensor).collect();
    let seen = Seen { found, servers: by_key, deaf };

    let free = pass(site, &seen, matters, None, now);
    let new = free.effects.iter().filter(|(_, e)| matches!(e, Effect::Moved { to: Escalation::Blocked, .. })).count();
    let max = site.policy.blocking.max_new_blocks;
    if new <= usize::try_from(max).unwrap_or(usize::MAX) {
        return free;
    }
    let why = format!("{new} new blocks fall due at once, more than max_new_blocks = {max}: raise it to let them through");
    pass(site, &seen, matters, Some(why), now)
}

/// A server got another key (its path was learned, for example): its matters go on under new names, with the clock they have.
/// Where both names had one, the clock that started first goes on.
pub fn rename(matters: &mut Matters, from: &str, to: &str) {
    let is_old = |m: &Matter| FindingId::derive(m.finding.kind, from) == m.finding.id;
    let old: Vec<FindingId> = matters.values().filter(|m| is_old(m)).map(|m| m.finding.id.clone()).collect();
    for mut matter in old.iter().filter_map(|id| matters.remove(id)).collect::<Vec<_>>() {
        let id = FindingId::derive(matter.finding.kind, to);
        matter.finding.id = id.clone();
        let age =
            |m: &Matter| (m.case.escalation == Escalation::Closed, m.case.notified_at.is_none(), m.case.notified_at, m.case.opened_at);
        if matters.get(&id).is_none_or(|there| age(&matter) < age(there)) {
            matters.insert(id, matter);
        }
    }
}

struct Seen<'a> {
    found: BTreeMap<FindingId, Finding>,
    servers: BTreeMap<String, &'a Server>,
    /// Sensors that were not heard for a while.
    deaf: BTreeSet<&'a str>,
}

impl<'a> Seen<'a> {
    fn server(&self, finding: &Finding) -> Option<&'a Server> {
        let place = finding.place.as_ref()?;
        self.servers.get(&format!("{}/{place}", finding.site)).copied()
    }

    /// A case is not opened for what is over already.
    fn is_new(&self, finding: &Finding, site: &Site<'_>, now: Timestamp) -> bool {
        self.server(finding).is_none_or(|s| !s.is_gone(site.policy, now))
    }
}

fn findings(site: &Site<'_>, servers: &[&Server], sights: &[Sight<'_>], now: Timestamp) -> BTreeMap<FindingId, Finding> {
    let Site { name, policy, registry, pack, ours, fleet, .. } = *site;
    // Our own gateway speaks MCP too: it is the registered door, not a find.
    let foreign = servers.iter().filter(|s| !ours.contains(&s.place.endpoint));
    let shown = foreign.flat_map(|s| detect(s, registry, policy, pack, now));
    let silent = registry.registrations.values().filter_map(|r| dead(name, r, servers.iter().copied(), policy, now));
    let unseeing = sights.iter().filter_map(|s| blind(name, s, policy, now));
    let short = fleet.points.iter().filter_map(|p| unenforced(name, p, policy, now));
    shown.chain(silent).chain(unseeing).chain(unheard(name, sights, policy, now)).chain(short).map(|f| (f.id.clone(), f)).collect()
}

fn pass(site: &Site<'_>, seen: &Seen<'_>, matters: &Matters, hold: Option<String>, now: Timestamp) -> Round {
    let mut round = Round { matters: Matters::new(), effects: Vec::new(), hold };
    for (id, matter) in matters {
        let closed_long_ago = matter.case.end.closed_at.is_some_and(|at| REMEMBERED.after(at) <= now);
        if !closed_long_ago || seen.found.contains_key(id) {
            round.settle(site, seen, id, &matter.finding, &matter.case, now);
        }
    }
    for (id, finding) in seen.found.iter().filter(|(id, f)| !matters.contains_key(id) && seen.is_new(f, site, now)) {
        round.settle(site, seen, id, finding, &Case::open(now), now);
    }
    round.effects.sort_by(|a, b| a.0.cmp(&b.0));
    round
}

impl Round {
    fn settle(&mut self, site: &Site<'_>, seen: &Seen<'_>, id: &FindingId, last: &Finding, case: &Case, now: Timestamp) {
        let server = seen.server(last);
        let over = case.escalation == Escalation::Closed && !seen.is_new(last, site, now);
        let finding = seen.found.get(id).filter(|_| !over);
        let closure = finding.map_or_else(|| closure(last, server, site.registry, now), |_| Closure::NotDetected);
        let veto = finding.and_then(|f| f.place.as_ref()).and_then(|p| site.veto(p.endpoint, now));
        let mut sources = server.into_iter().flat_map(|s| &s.testimonies).map(|t| t.sensor.as_str());
        let circumstances = Circumstances {
            policy: site.policy,
            soft_phase_start: site.soft_phase_start,
            finding,
            closure,
            veto: veto.as_deref(),
            hold: self.hold.as_deref(),
            sightings: server.map_or(0, |s| s.sightings),
            watched: sources.any(|sensor| !seen.deaf.contains(sensor)),
            missed: server.is_some_and(Server::is_missed),
            identity: server.and_then(|s| s.profile.server_info.as_ref()).map(|info| info.name.as_str()),
        };
        let (case, effects) = step(case, now, &circumstances);
        self.effects.extend(effects.into_iter().map(|e| (id.clone(), e)));
        self.matters.insert(id.clone(), Matter { finding: finding.unwrap_or(last).clone(), case });
    }
}

#[cfg(test)]
pub(crate) mod tests;
