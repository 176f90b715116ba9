//! Decision set to whom it means, laid out so that a segment which means nobody costs two lookups.

use crate::flow::Seeded;
use ipnet::IpNet;
use rules::{
    Timestamp,
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
};
use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

/// Agent ranges wider than these are more likely a slip than a wish; an enforcer refuses them too.
const MIN_AGENT_PREFIX: (u8, u8) = (8, 16);
const MAX_AGENT_NETWORKS: usize = 1000;

/// One set, for one sensor. Never changed, only replaced.
#[derive(Debug)]
pub struct PolicySnapshot {
    pub generation: u64,
    pub until: Timestamp,
    blocked: HashSet<Endpoint, Seeded>,
    agents: Vec<IpNet>,
    protected: Vec<IpNet>,
    open: HashSet<Endpoint, Seeded>,
    own: BTreeSet<IpAddr>,
    /// Blocks and agent ranges of the set that mean nobody here: protected, of this host, or too wide.
    pub left_out: usize,
}

impl PolicySnapshot {
    /// `name` is this sensor's: what a policy group keeps to other points, and what a wave has not reached everywhere, is not reset.
    /// `own` are this host's addresses, whose connections are left alone.
    pub fn new(set: DecisionSet, name: &str, own: BTreeSet<IpAddr>) -> PolicySnapshot {
        let set = set.at(name, &BTreeSet::new());
        let open = set.protected_endpoints.iter().map(|e| Endpoint::new(e.address, e.port)).collect();
        let mut snapshot = PolicySnapshot {
            generation: set.generation,
            until: set.not_after,
            blocked: HashSet::default(),
            agents: Vec::new(),
            protected: set.protected,
            open,
            own,
            left_out: 0,
        };
        let blocks =
            || set.decisions.iter().filter(|d| d.action == Action::Block).map(|d| Endpoint::new(d.endpoint.address, d.endpoint.port));
        snapshot.blocked = blocks().filter(|e| snapshot.may_be_touched(*e) && is_routed(e.address)).collect();
        snapshot.agents = set.agents.iter().filter(|net| is_plausible(net)).take(MAX_AGENT_NETWORKS).copied().collect();
        snapshot.left_out =
            blocks().count().saturating_sub(snapshot.blocked.len()) + set.agents.len().saturating_sub(snapshot.agents.len());
        snapshot
    }

    /// For `fuzz`: a snapshot that means just this one, for ever.
    pub(crate) fn to_reset(agent: Endpoint, server: Endpoint) -> PolicySnapshot {
        PolicySnapshot {
            generation: 1,
            until: Timestamp::MAX,
            blocked: HashSet::from_iter([server]),
            agents: vec![IpNet::from(agent.address)],
            protected: Vec::new(),
            open: HashSet::default(),
            own: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// Endpoints whose connections are reset.
    pub fn len(&self) -> usize {
        self.blocked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blocked.is_empty()
    }

    /// Whether one end is blocked: all that most segments are ever asked.
    pub fn meets(&self, source: Endpoint, destination: Endpoint) -> bool {
        self.blocked.contains(&destination) || self.blocked.contains(&source)
    }

    /// Which end is an agent and which a blocked server, if that is so.
    pub fn sides(&self, source: Endpoint, destination: Endpoint) -> Option<Sides> {
        // A host that speaks to itself does not do so by a wire: somebody made that up.
        if source.address == destination.address {
            return None;
        }
        let bound = |agent: Endpoint, server: Endpoint| self.blocked.contains(&server) && self.is_agent(agent);
        if bound(source, destination) {
            Some(Sides { agent: source, server: destination })
        } else if bound(destination, source) {
            Some(Sides { agent: destination, server: source })
        } else {
            None
        }
    }

    fn is_agent(&self, end: Endpoint) -> bool {
        self.agents.iter().any(|net| net.contains(&end.address)) && self.may_be_touched(end)
    }

    fn may_be_touched(&self, end: Endpoint) -> bool {
        !self.open.contains(&end) && !self.own.contains(&end.address) && !self.protected.iter().any(|net| net.contains(&end.address))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sides {
    pub agent: Endpoint,
    pub server: Endpoint,
}

/// Whether a packet to this address finds one host, from wherever it is sent.
fn is_routed(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(a) => a.is_link_local() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    !local && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
}

fn is_plausible(net: &IpNet) -> bool {
    let shortest = if net.addr().is_ipv4() { MIN_AGENT_PREFIX.0 } else { MIN_AGENT_PREFIX.1 };
    net.prefix_len() >= shortest && is_routed(net.addr())
}
