//! From what was planned, held or enacted to the answer about it.

use super::answers::{Element, Plan, Planned, Withheld};
use crate::{
    point::{Enacted, HostPlan, Point},
    present::{KernelBlock, Present},
    ruleset,
};
use rules::{
    decision::{Decision, DecisionSet},
    endpoint::Endpoint,
    finding::FindingId,
    observation::{Applied, Outcome, PointStatus},
    period::Period,
};
use std::collections::BTreeMap;

pub(super) fn told(w: ruleset::Withheld) -> Withheld {
    Withheld { endpoint: w.endpoint, finding: w.finding, why: w.why.to_owned() }
}

pub(super) fn describe(point: &mut Point, set: &DecisionSet, plan: HostPlan, present: Option<Present>) -> Plan {
    let by_place: BTreeMap<(Endpoint, &FindingId), &Decision> =
        set.decisions.iter().map(|d| ((Endpoint::new(d.endpoint.address, d.endpoint.port), &d.finding), d)).collect();
    let present = present.unwrap_or_default();
    let nft = plan.transaction.to_nft();
    let lifted = present.blocks.keys().filter(|e| !plan.ruleset.blocks.contains_key(e)).copied().collect();
    let planned = |(endpoint, block): (Endpoint, ruleset::Block)| {
        let decision = by_place.get(&(endpoint, &block.finding));
        Planned {
            endpoint,
            action: block.action,
            reason: decision.map(|d| rules::printable::printable(&d.reason, 400)).unwrap_or_default(),
            since: decision.map_or(set.issued_at, |d| d.since),
            new: !present.blocks.contains_key(&endpoint),
            finding: block.finding,
        }
    };
    Plan {
        point: point.name.clone(),
        generation: set.generation,
        until: set.not_after,
        hooks: plan.ruleset.shape.hooks.into_iter().collect(),
        agents: plan.ruleset.agents.into_iter().collect(),
        blocks: plan.ruleset.blocks.into_iter().map(planned).collect(),
        withheld: plan.withheld.into_iter().map(|w| Withheld { endpoint: w.endpoint, finding: w.finding, why: w.why.to_owned() }).collect(),
        lifted,
        objections: plan.objections.iter().map(ToString::to_string).collect(),
        unknown: point.facts().unknown,
        nft,
    }
}

pub(super) fn element((endpoint, held): (Endpoint, KernelBlock)) -> Element {
    let KernelBlock { action, finding, left, packets, bytes } = held;
    Element { endpoint, action, finding, lease_left: Period(left), packets, bytes }
}

/// The good report. What is withheld is part of it: an endpoint that stays open must not look closed.
pub(crate) fn applied(point: &str, generation: u64, enacted: &Enacted) -> Applied {
    let shown: Vec<String> = enacted.withheld.iter().take(5).map(|w| format!("{} ({})", w.endpoint, w.why)).collect();
    let withheld = match enacted.withheld.len() {
        0 => None,
        n => Some(format!("{n} withheld here: {}{}", shown.join("; "), if n > shown.len() { "; …" } else { "" })),
    };
    let unknown = (!enacted.unknown.is_empty())
        .then(|| format!("not known about this host, so not protected: {}", rules::printable::printable(&enacted.unknown.join("; "), 400)));
    let reason = withheld.into_iter().chain(unknown).collect::<Vec<_>>().join(". ");
    Applied {
        point: point.to_owned(),
        generation,
        outcome: Outcome::Applied,
        elements: enacted.elements as u64,
        reason,
        status: PointStatus::default(),
    }
}
