//! From matters to the whole truth for the enforcers.

use crate::{
    Timestamp,
    admission::{Escalation, objection},
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::FindingId,
    fleet::Wave,
    period::Period,
    policy::Mode,
    site::{Matter, Site},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod wave;

/// A decision set, and what was left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition {
    pub set: DecisionSet,
    /// Whether `set` is a new generation; otherwise it is the previous one, which still says all.
    pub news: bool,
    pub held: Vec<WithheldBlock>,
    /// The wave of new blocks under way, to be given back next time as [`crate::fleet::Fleet::wave`].
    pub wave: Option<Wave>,
}

/// A block that is wanted and not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithheldBlock {
    pub finding: FindingId,
    pub endpoint: Endpoint,
    pub reason: String,
}

/// The set that follows from these matters. Everything is looked at anew: a case that says `blocked` is believed only as
/// far as today's policy and registry agree.
///
/// `floor` is the highest generation known to have been handed out or applied, so that a collector restored from an old copy
/// does not fall behind its enforcers. A set is news when it says something new, or when half its validity is over.
pub fn compose<'a>(
    site: &Site<'_>,
    matters: impl IntoIterator<Item = &'a Matter>,
    previous: Option<&DecisionSet>,
    floor: u64,
    now: Timestamp,
) -> Composition {
    let (mut wanted, mut held) = wanted(site, matters, now);
    hold_excess(site, &mut wanted, previous, &mut held);

    let generation = previous.map_or(0, |p| p.generation).max(floor).saturating_add(1);
    let (wave, rollout) = wave::pace(&mut wanted, previous, (&site.fleet, site.policy), (generation, now), &mut held);
    let protected: BTreeSet<Endpoint> = site.registry.endpoints(now).into_iter().chain(site.ours.iter().copied()).collect();
    let set = DecisionSet {
        site: site.name.to_owned(),
        generation,
        issued_at: now,
        not_after: site.policy.blocking.validity.after(now),
        agents: site.policy.agents.clone(),
        protected: site.policy.protected.clone(),
        protected_endpoints: protected.into_iter().collect(),
        lease: site.policy.blocking.lease,
        decisions: wanted.into_values().collect(),
        rollout,
    };
    match previous.filter(|p| p.generation >= floor && still_says(p, &set, site.policy.blocking.validity, now)) {
        Some(p) => Composition { set: p.clone(), news: false, held, wave },
        None => Composition { set, news: true, held, wave },
    }
}

fn still_says(previous: &DecisionSet, set: &DecisionSet, validity: Period, now: Timestamp) -> bool {
    let renewed =
        DecisionSet { generation: previous.generation, issued_at: previous.issued_at, not_after: previous.not_after, ..set.clone() };
    let half = Period(validity.0 / 2);
    // A set from the future was issued by a clock that has been set back since; its end cannot be relied upon.
    renewed == *previous && previous.issued_at <= now && now < half.after(previous.issued_at)
}

fn wanted<'a>(
    site: &Site<'_>,
    matters: impl IntoIterator<Item = &'a Matter>,
    now: Timestamp,
) -> (BTreeMap<Endpoint, Decision>, Vec<WithheldBlock>) {
    let mut wanted: BTreeMap<Endpoint, Decision> = BTreeMap::new();
    let mut held = Vec::new();
    for Matter { finding, case } in matters {
        let told = case.notified_at.is_some() && case.exemption.is_none() && case.escalation != Escalation::Closed;
        let Some(place) = finding.place.as_ref().filter(|_| told && finding.kind.enforceable()) else { continue };
        let endpoint = place.endpoint;
        let blocked = case.escalation == Escalation::Blocked;
        let why_not = objection(finding, site.policy).map(str::to_owned).or_else(|| site.veto(endpoint, now));
        if let Some(reason) = why_not.clone().filter(|_| blocked) {
            held.push(WithheldBlock { finding: finding.id.clone(), endpoint, reason });
        }
        let action = match why_not {
            None if blocked => Action::Block,
            _ if site.policy.mode != Mode::Observe && countable(finding.shared_with.is_empty(), endpoint, site, now) => Action::Shadow,
            _ => continue,
        };
        let reason = match action {
            Action::Block => finding.reasons.first().cloned().unwrap_or_default(),
            Action::Shadow => "counts what a block would stop".to_owned(),
        };
        let since = case.blocked_at.filter(|_| action == Action::Block).unwrap_or(case.opened_at);
        let at = site.policy.points_for(endpoint, finding.kind);
        let decision = Decision { endpoint, finding: finding.id.clone(), action, reason, since, at };
        let stronger = wanted.get(&endpoint).is_none_or(|other| (action, &decision.finding) < (other.action, &other.finding));
        if stronger {
            wanted.insert(endpoint, decision);
        }
    }
    (wanted, held)
}

/// Whether counting at this address and port counts this server's callers and nobody else's.
fn countable(exclusive: bool, endpoint: Endpoint, site: &Site<'_>, now: Timestamp) -> bool {
    let protected = site.policy.protected.iter().any(|net| net.contains(&endpoint.address));
    exclusive && !protected && !endpoint.address.is_loopback() && site.veto(endpoint, now).is_none()
}

/// A blunder upstream must not become an outage: when too much is new at once, all that is new waits for a person.
fn hold_excess(site: &Site<'_>, wanted: &mut BTreeMap<Endpoint, Decision>, previous: Option<&DecisionSet>, held: &mut Vec<WithheldBlock>) {
    let old: BTreeSet<Endpoint> =
        previous.into_iter().flat_map(|p| &p.decisions).filter(|d| d.action == Action::Block).map(|d| d.endpoint).collect();
    let is_new = |d: &Decision| d.action == Action::Block && !old.contains(&d.endpoint);
    let new = wanted.values().filter(|d| is_new(d)).count();
    let max = site.policy.blocking.max_new_blocks;
    if new <= usize::try_from(max).unwrap_or(usize::MAX) {
        return;
    }
    for decision in wanted.values_mut().filter(|d| is_new(d)) {
        let reason = format!("{new} new blocks in one set, more than max_new_blocks = {max}: raise it to let them through");
        held.push(WithheldBlock { finding: decision.finding.clone(), endpoint: decision.endpoint, reason });
        decision.action = Action::Shadow;
    }
}
