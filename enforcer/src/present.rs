//! What the kernel holds of ours, from `nft -j list table inet gnomon`.
//!
//! Typed, not `serde_json::Value`: a table of 100,000 elements is 17 MB of JSON and would be ten times that as values.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::{
    facts::Session,
    names::{action_of, is_note},
    ruleset::Block,
};
use ipnet::IpNet;
use rules::{decision::Action, endpoint::Endpoint, finding::FindingId};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    time::Duration,
};

/// Our table as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Chains and rules as text: equal text, equal behaviour. Empty when there is no table.
    pub skeleton: String,
    pub agents: BTreeSet<IpNet>,
    /// The shortest lease among the agent ranges.
    pub agents_left: Duration,
    pub never: BTreeSet<IpNet>,
    pub open: BTreeSet<Endpoint>,
    pub sessions: BTreeSet<Session>,
    pub blocks: BTreeMap<Endpoint, KernelBlock>,
    /// Elements that nobody of ours wrote: another type, no timeout, at one place twice.
    pub foreign: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelBlock {
    pub action: Action,
    pub finding: Option<FindingId>,
    pub left: Duration,
    pub packets: u64,
    pub bytes: u64,
}

impl KernelBlock {
    /// It does the same for the same reason.
    pub fn holds(&self, block: &Block) -> bool {
        self.action == block.action && self.finding.as_ref() == Some(&block.finding)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("nft printed something this program does not read: {0}")]
pub struct Unreadable(String);

/// From the whole output of `nft -j list table inet gnomon`.
pub fn parse(json: &[u8]) -> Result<Present, Unreadable> {
    let listing: Listing = serde_json::from_slice(json).map_err(|why| Unreadable(why.to_string()))?;
    let mut present = Present { agents_left: Duration::MAX, ..Present::default() };
    for object in listing.nftables {
        if let Some(flags) = object.table.and_then(|table| table.flags) {
            // None of ours has any. Which it is, nft 1.0.6 does not say (it prints the table's name), and one that sleeps is none to trust.
            present.skeleton.push_str(&format!("table {flags}\n"));
        }
        if let Some(chain) = object.chain {
            present.skeleton.push_str(&format!("chain {chain}\n"));
        }
        if let Some(rule) = object.rule {
            present.skeleton.push_str(&format!("rule {} {}\n", rule.chain, rule.expr));
        }
        if let Some(set) = object.set {
            present.skeleton.push_str(&format!("set {} {} {}\n", set.name, set.kind, set.flags));
            present.take_set(set);
        }
        if let Some(map) = object.map {
            // None of ours; that it is there is all that counts.
            present.skeleton.push_str(&format!("map {}\n", map.name));
        }
    }
    if present.agents.is_empty() {
        present.agents_left = Duration::ZERO;
    }
    Ok(present)
}

impl Present {
    /// The same table a while later, if nobody touched it: leases run down, and lapsed elements are gone.
    pub fn aged(mut self, by: Duration) -> Present {
        self.agents_left = self.agents_left.saturating_sub(by);
        for held in self.blocks.values_mut() {
            held.left = held.left.saturating_sub(by);
        }
        self.blocks.retain(|_, held| !held.left.is_zero());
        self
    }

    fn take_set(&mut self, set: Set) {
        if is_note(&set.name) {
            return;
        }
        if let Some(action) = action_of(&set.name) {
            return set.elem.into_iter().for_each(|elem| self.take_block(action, elem));
        }
        for elem in set.elem {
            let (value, left) = elem.parts();
            match (set.name.as_str(), value) {
                ("agents4" | "agents6", value) if left.is_some() => {
                    self.agents_left = self.agents_left.min(left.unwrap_or_default());
                    self.agents.extend(value.nets());
                }
                ("never4" | "never6", value) => self.never.extend(value.nets()),
                ("open4" | "open6", Value::Concat { concat: (address, port) }) => {
                    self.open.insert(Endpoint { address, port });
                }
                ("ssh4" | "ssh6", Value::Session { concat: (local, port, peer, peer_port) }) => {
                    let (local, peer) = (Endpoint { address: local, port }, Endpoint { address: peer, port: peer_port });
                    self.sessions.insert(Session { local, peer });
                }
                (name, value) => self.foreign.push(format!("{name}: {value}")),
            }
        }
    }

    fn take_block(&mut self, action: Action, elem: Elem) {
        let (comment, counter) = elem.notes();
        match elem.parts() {
            (Value::Concat { concat: (address, port) }, Some(left)) => {
                let finding = comment.as_deref().and_then(FindingId::parse);
                let held = KernelBlock { action, finding, left, packets: counter.packets, bytes: counter.bytes };
                self.hold(Endpoint { address, port }, held);
            }
            (value, _) => self.foreign.push(format!("a block: {value}")),
        }
    }

    /// We never write a place into two sets.
    pub(crate) fn hold(&mut self, endpoint: Endpoint, held: KernelBlock) {
        if self.blocks.insert(endpoint, held).is_some() {
            self.foreign.push(format!("{endpoint}: twice"));
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    table: Option<Table>,
    chain: Option<Chain>,
    rule: Option<Rule>,
    set: Option<Set>,
    map: Option<Map>,
}

#[derive(Deserialize)]
struct Table {
    flags: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Chain {
    name: String,
    hook: Option<String>,
    prio: Option<i32>,
    policy: Option<String>,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match (&self.hook, self.prio, &self.policy) {
            (Some(hook), Some(prio), Some(policy)) => write!(f, " {hook} {prio} {policy}"),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Rule {
    chain: String,
    /// Compared, never read: its shape differs between nft versions.
    expr: serde_json::Value,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    #[serde(rename = "type")]
    kind: serde_json::Value,
    #[serde(default)]
    flags: serde_json::Value,
    #[serde(default)]
    elem: Vec<Elem>,
}

#[derive(Deserialize)]
struct Map {
    name: String,
}

/// An element with its lease and counter, or bare when it has neither.
#[derive(Deserialize)]
#[serde(untagged)]
enum Elem {
    Dressed { elem: Dressed },
    Bare(Value),
}

#[derive(Deserialize)]
struct Dressed {
    val: Value,
    /// Seconds; rounded down, so a lease in its last second reads 0.
    expires: Option<u64>,
    comment: Option<String>,
    #[serde(default)]
    counter: Counter,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Counter {
    packets: u64,
    bytes: u64,
}

impl Elem {
    fn notes(&self) -> (Option<String>, Counter) {
        match self {
            Elem::Dressed { elem } => (elem.comment.clone(), elem.counter),
            Elem::Bare(_) => (None, Counter::default()),
        }
    }

    fn parts(self) -> (Value, Option<Duration>) {
        match self {
            Elem::Dressed { elem } => (elem.val, elem.expires.map(Duration::from_secs)),
            Elem::Bare(value) => (value, None),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Prefix { prefix: Prefix },
    Range { range: (IpAddr, IpAddr) },
    Concat { concat: (IpAddr, u16) },
    Session { concat: (IpAddr, u16, IpAddr, u16) },
    Address(IpAddr),
    Other(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Prefix { prefix } => write!(f, "{}/{}", prefix.addr, prefix.len),
            Value::Range { range: (from, to) } => write!(f, "{from}-{to}"),
            Value::Concat { concat: (address, port) } => write!(f, "{address} . {port}"),
            Value::Session { concat: (local, port, peer, peer_port) } => write!(f, "{local} . {port} . {peer} . {peer_port}"),
            Value::Address(address) => write!(f, "{address}"),
            Value::Other(_) => f.write_str("of a type that none of ours has"),
        }
    }
}

impl Value {
    fn nets(self) -> Vec<IpNet> {
        match self {
            Value::Prefix { prefix } => IpNet::new(prefix.addr, prefix.len).into_iter().collect(),
            Value::Address(address) => vec![IpNet::from(address)],
            Value::Range { range: (IpAddr::V4(from), IpAddr::V4(to)) } => ipnet::Ipv4Subnets::new(from, to, 0).map(IpNet::V4).collect(),
            Value::Range { range: (IpAddr::V6(from), IpAddr::V6(to)) } => ipnet::Ipv6Subnets::new(from, to, 0).map(IpNet::V6).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
