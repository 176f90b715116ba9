//! Whom a block would break.

use super::{Action, DecisionSet};
use crate::{Timestamp, endpoint::Endpoint, evidence::Implementation, finding::FindingId, period::Period, server::Server};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// One decision, and who was seen talking to that endpoint lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlastRadius {
    pub endpoint: Endpoint,
    pub finding: FindingId,
    pub action: Action,
    pub reason: String,
    pub since: Timestamp,
    /// Callers inside the agents' ranges: these a block cuts off.
    pub breaks: Vec<Caller>,
    /// Callers outside of them: these it does not touch.
    pub spares: Vec<Caller>,
    /// Clients that were seen and not kept by name, because a server keeps only so many.
    pub unnamed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub address: IpAddr,
    pub software: Option<Implementation>,
    pub last: Timestamp,
}

/// For each decision of the set, the clients seen on its endpoint within `window` before `now`, latest first.
pub fn blast_radius<'a>(
    set: &DecisionSet,
    servers: impl IntoIterator<Item = &'a Server>,
    window: Period,
    now: Timestamp,
) -> Vec<BlastRadius> {
    let mut at: BTreeMap<Endpoint, Vec<&Server>> = BTreeMap::new();
    for server in servers {
        at.entry(server.place.endpoint).or_default().push(server);
    }
    let since = window.before(now);
    set.decisions
        .iter()
        .map(|d| {
            let here = at.get(&d.endpoint).map(Vec::as_slice).unwrap_or_default();
            let (breaks, spares) = callers(here, since).into_iter().partition(|c| set.agents.iter().any(|net| net.contains(&c.address)));
            let unnamed = here.iter().filter_map(|s| s.dropped.get("clients")).fold(0, |sum: u64, n| sum.saturating_add(*n));
            BlastRadius {
                endpoint: d.endpoint,
                finding: d.finding.clone(),
                action: d.action,
                reason: d.reason.clone(),
                since: d.since,
                breaks,
                spares,
                unnamed,
            }
        })
        .collect()
}

fn callers(servers: &[&Server], since: Timestamp) -> Vec<Caller> {
    let mut latest: BTreeMap<IpAddr, Caller> = BTreeMap::new();
    for (address, seen) in servers.iter().flat_map(|s| &s.clients).filter(|(_, c)| c.last >= since && !c.is_probe()) {
        let caller = Caller { address: *address, software: seen.software.clone(), last: seen.last };
        let known = latest.entry(*address).or_insert_with(|| caller.clone());
        if known.last < caller.last {
            *known = caller;
        }
    }
    let mut callers: Vec<Caller> = latest.into_values().collect();
    callers.sort_by(|a, b| b.last.cmp(&a.last).then(a.address.cmp(&b.address)));
    callers
}
