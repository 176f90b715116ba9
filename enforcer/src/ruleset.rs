//! What a decision set means at this point: the elements our table should hold. Pure.
//!
//! A site's set is made for everybody, so some of it is not for this host: its own address (unless it judges its input), its
//! gateway, its resolvers. Those decisions are withheld one by one and reported, never silently: refusing
//! the whole set would let one such server open the door for all others. A set that contradicts *itself* is refused by [`crate::check`].

use crate::{
    config::{Config, Hook, Shape},
    facts::{Facts, Session},
};
use ipnet::IpNet;
use rules::{
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::FindingId,
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The content of table `inet gnomon`. Its chains and rules depend on the shape alone ([`crate::render::skeleton`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub shape: Shape,
    /// Whom the blocks bind: no two overlap.
    pub agents: BTreeSet<IpNet>,
    /// Addresses that no element can cut: no two overlap.
    pub never: BTreeSet<IpNet>,
    /// Addresses with ports that no element can cut.
    pub open: BTreeSet<Endpoint>,
    /// Conversations that no element can cut, packet by packet: their ends stay blockable for everything else.
    pub sessions: BTreeSet<Session>,
    pub blocks: BTreeMap<Endpoint, Block>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub action: Action,
    /// Goes into the kernel as the element's comment: whoever lists the table can ask why.
    pub finding: FindingId,
}

/// A decision that is not carried out here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    pub endpoint: Endpoint,
    pub finding: FindingId,
    pub why: &'static str,
}

pub fn plan(set: &DecisionSet, facts: &Facts, config: &Config) -> (Ruleset, Vec<Withheld>) {
    let mut ruleset = Ruleset {
        shape: config.shape(),
        agents: aggregate(set.agents.iter().copied()),
        never: never(set, facts, config),
        open: set.protected_endpoints.iter().chain(&config.protected_endpoints).map(|e| Endpoint::new(e.address, e.port)).collect(),
        sessions: facts.ssh_sessions.clone(),
        blocks: BTreeMap::new(),
    };
    let mut withheld = Vec::new();
    for decision in &set.decisions {
        place(decision, facts, config, &mut ruleset.blocks, &mut withheld);
    }
    withheld.extend(drop_excess_counts(&mut ruleset.blocks, config.limits.max_blocks));
    (ruleset, withheld)
}

/// Where one decision goes: among the blocks, or among what is withheld.
fn place(decision: &Decision, facts: &Facts, config: &Config, blocks: &mut BTreeMap<Endpoint, Block>, withheld: &mut Vec<Withheld>) {
    let endpoint = Endpoint::new(decision.endpoint.address, decision.endpoint.port);
    match reason_to_withhold(endpoint, facts, config) {
        Some(why) => withheld.push(Withheld { endpoint, finding: decision.finding.clone(), why }),
        None => add(blocks, endpoint, decision),
    }
}

/// The places at which two sets differ; `None`: at more than `most`, in what holds for all of them, or not told in order.
pub fn changed(old: &DecisionSet, new: &DecisionSet, most: usize) -> Option<BTreeSet<Endpoint>> {
    let frame = |s: &DecisionSet| (s.agents == new.agents, s.protected == new.protected, s.protected_endpoints == new.protected_endpoints);
    if frame(old) != (true, true, true) || old.lease != new.lease {
        return None;
    }
    let mut found = BTreeSet::new();
    let (mut olds, mut news) = (old.decisions.iter().peekable(), new.decisions.iter().peekable());
    let mut last = None;
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return Some(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => x.endpoint.cmp(&y.endpoint),
        };
        let x = if order.is_le() { olds.next() } else { None };
        let y = if order.is_ge() { news.next() } else { None };
        let at = x.or(y).map(|d| d.endpoint);
        if last > at {
            return None;
        }
        last = at;
        if x.map(|d| (d.action, &d.finding)) != y.map(|d| (d.action, &d.finding)) {
            found.extend(at);
            if found.len() > most {
                return None;
            }
        }
    }
}

/// What [`plan`] would say of these places alone. The set's decisions are in order of place.
pub fn plan_at(
    places: &BTreeSet<Endpoint>,
    set: &DecisionSet,
    facts: &Facts,
    config: &Config,
) -> (BTreeMap<Endpoint, Block>, Vec<Withheld>) {
    let (mut blocks, mut withheld) = (BTreeMap::new(), Vec::new());
    for at in places {
        let from = set.decisions.partition_point(|d| d.endpoint < *at);
        for decision in set.decisions.iter().skip(from).take_while(|d| d.endpoint == *at) {
            place(decision, facts, config, &mut blocks, &mut withheld);
        }
    }
    (blocks, withheld)
}

/// Two findings at one endpoint: the block wins over the count, then the smaller id, so that the order of decisions does not matter.
fn add(blocks: &mut BTreeMap<Endpoint, Block>, endpoint: Endpoint, decision: &Decision) {
    let new = Block { action: decision.action, finding: decision.finding.clone() };
    let rank = |b: &Block| (b.action != Action::Block, b.finding.clone());
    let kept = blocks.entry(endpoint).or_insert_with(|| new.clone());
    if rank(&new) < rank(kept) {
        *kept = new;
    }
}

/// What is only counted takes the room that blocks leave, and never a block's place.
fn drop_excess_counts(blocks: &mut BTreeMap<Endpoint, Block>, most: usize) -> Vec<Withheld> {
    let cut = blocks.values().filter(|b| b.action == Action::Block).count();
    let mut room = most.saturating_sub(cut);
    let mut dropped = Vec::new();
    blocks.retain(|endpoint, block| {
        let stays = block.action == Action::Block || room > 0;
        if !stays {
            let why = "only to be counted, and max_blocks leaves no room for it";
            dropped.push(Withheld { endpoint: *endpoint, finding: block.finding.clone(), why });
        } else if block.action == Action::Shadow {
            room -= 1;
        }
        stays
    });
    dropped
}

fn reason_to_withhold(endpoint: Endpoint, facts: &Facts, config: &Config) -> Option<&'static str> {
    let Endpoint { address, port } = endpoint;
    let judges_input = judges_input(config);
    if always_kept().iter().any(|net| net.contains(&address)) {
        Some("loopback, link-local or multicast: not reached through a network")
    } else if facts.own.contains(&address) && !judges_input {
        Some("an address of this host, which does not judge its input")
    } else if facts.own.contains(&address) && config.ssh_ports.contains(&port) {
        Some("this host's own SSH port")
    } else if facts.gateways.contains(&address) {
        Some("a default gateway of this host")
    } else if facts.resolvers.contains(&address) {
        Some("a resolver of this host")
    } else if config.protected_endpoints.contains(&endpoint) || config.protected.iter().any(|net| net.contains(&address)) {
        Some("protected by this host's configuration")
    } else {
        None
    }
}

/// What is for this host's own addresses, or is until they are translated.
fn judges_input(config: &Config) -> bool {
    config.hooks.contains(&Hook::Input) || config.hooks.contains(&Hook::Prerouting)
}

fn never(set: &DecisionSet, facts: &Facts, config: &Config) -> BTreeSet<IpNet> {
    let own = (!judges_input(config)).then_some(&facts.own).into_iter().flatten();
    let hosts = own.chain(&facts.gateways).chain(&facts.resolvers).copied().map(IpNet::from);
    aggregate(always_kept().into_iter().chain(hosts).chain(config.protected.iter().copied()).chain(set.protected.iter().copied()))
}

/// Loopback, link-local (DHCP, neighbour discovery), multicast, broadcast.
fn always_kept() -> [IpNet; 7] {
    let net = |address: IpAddr, len: u8| IpNet::new_assert(address, len);
    [
        net(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        net(Ipv4Addr::new(169, 254, 0, 0).into(), 16),
        net(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        net(Ipv4Addr::BROADCAST.into(), 32),
        net(Ipv6Addr::LOCALHOST.into(), 128),
        net(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10),
        net(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    ]
}

/// Interval sets refuse overlaps, so what lies within another goes, and neighbours become one.
fn aggregate(nets: impl Iterator<Item = IpNet>) -> BTreeSet<IpNet> {
    IpNet::aggregate(&nets.map(|n| n.trunc()).collect()).into_iter().collect()
}

#[cfg(test)]
mod tests;
