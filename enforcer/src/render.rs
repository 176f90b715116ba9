//! From what should be and what is, to one transaction. Pure.
//!
//! Native `nft` text, made of nothing but addresses, ports, numbers, finding ids and names written in this file. Not the JSON of the
//! `nftables` crate: that has no counters per element, brings a schema library into the one process that holds CAP_NET_ADMIN, and
//! costs `nft` 1.1 to 1.7 times the memory. Not a new table for each update: replacing a table lets packets through for a moment,
//! while element changes leak none.

use crate::{
    config::Shape,
    facts::Session,
    names::{TABLE, set_of},
    present::{KernelBlock, Present},
    ruleset::{Block, Ruleset},
};
use ipnet::IpNet;
use rules::{decision::Action, endpoint::Endpoint};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    net::IpAddr,
    time::Duration,
};

pub mod skeleton;

use skeleton::Leftovers;

/// Changes that the kernel makes all at once or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Begin from nothing: only when the table is not what any version of ours would have made.
    Replace,
    /// Make chains and rules as they should be; elements stay.
    Skeleton(Shape),
    /// What is in our table and no longer part of it goes; nothing of ours leads there any more.
    Clear(Leftovers),
    Agents(BTreeSet<IpNet>, Duration),
    Never(BTreeSet<IpNet>),
    Open(BTreeSet<Endpoint>),
    Sessions(BTreeSet<Session>),
    /// A block with a full lease from now. `was` is what it did, if it was there.
    Lease {
        endpoint: Endpoint,
        block: Block,
        lease: Duration,
        was: Option<Action>,
        /// It was there as it should be, and only its time is running out.
        renewal: bool,
    },
    Lift {
        endpoint: Endpoint,
        was: Action,
    },
}

/// How sure we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    pub lease: Duration,
    /// How long ago the kernel was read.
    pub age: Duration,
    /// On trial, new blocks get this short lease and nothing is lifted: if nobody confirms, the kernel forgets them, and what is
    /// left is what was there before.
    pub trial: Option<Duration>,
    pub skeleton: Skeleton,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skeleton {
    /// It was read and is as we left it.
    Keep,
    Assert,
    Replace,
}

impl Term {
    /// While a trial runs nobody renews: what is in force has to outlast it, and somebody's look afterwards.
    fn is_short(&self, left: Duration) -> bool {
        self.trial.is_some_and(|trial| left < trial + self.lease / 3)
    }
}

/// A lease with less than this part of it left is renewed.
pub(crate) fn is_low(left: Duration, lease: Duration) -> bool {
    left.saturating_mul(3) <= lease.saturating_mul(2)
}

pub fn render(ruleset: &Ruleset, present: Option<&Present>, term: Term) -> Transaction {
    let nothing = Present::default();
    let (present, skeleton) = match (present, term.skeleton) {
        (None, Skeleton::Replace) => (&nothing, Skeleton::Replace),
        (None, _) => (&nothing, Skeleton::Assert),
        (Some(_), Skeleton::Replace) => (&nothing, Skeleton::Replace),
        (Some(p), s) => (p, s),
    };
    let mut changes = Vec::new();
    if skeleton == Skeleton::Replace {
        changes.push(Change::Replace);
    }
    if skeleton != Skeleton::Keep {
        changes.push(Change::Skeleton(ruleset.shape.clone()));
        let bygone = Leftovers::of(present);
        changes.extend((!bygone.is_empty()).then_some(Change::Clear(bygone)));
    }
    if ruleset.never != present.never {
        changes.push(Change::Never(ruleset.never.clone()));
    }
    if ruleset.open != present.open {
        changes.push(Change::Open(ruleset.open.clone()));
    }
    if ruleset.sessions != present.sessions {
        changes.push(Change::Sessions(ruleset.sessions.clone()));
    }
    let low = |left| is_low(left, term.lease) || term.is_short(left);
    let agents_lease = if ruleset.agents == present.agents { term.lease } else { term.trial.unwrap_or(term.lease) };
    if ruleset.agents != present.agents || low(present.agents_left.saturating_sub(term.age)) {
        changes.push(Change::Agents(ruleset.agents.clone(), agents_lease));
    }
    changes.extend(ruleset.blocks.iter().filter_map(|(at, block)| change(*at, Some(block), present.blocks.get(at), term)));
    let stale = present.blocks.iter().filter(|(at, _)| !ruleset.blocks.contains_key(at));
    changes.extend(stale.filter_map(|(at, held)| change(*at, None, Some(held), term)));
    Transaction { changes }
}

/// What has to happen at one place.
pub fn change(endpoint: Endpoint, block: Option<&Block>, held: Option<&KernelBlock>, term: Term) -> Option<Change> {
    let held = held.filter(|h| h.left > term.age);
    let low = |left| is_low(left, term.lease) || term.is_short(left);
    let Some(block) = block else {
        let held = held?;
        if term.trial.is_none() {
            return Some(Change::Lift { endpoint, was: held.action });
        }
        // It stays while the trial runs, for as long as it would without one.
        let finding = held.finding.clone().filter(|_| low(held.left.saturating_sub(term.age)))?;
        let block = Block { action: held.action, finding };
        return Some(Change::Lease { endpoint, block, lease: term.lease, was: Some(held.action), renewal: true });
    };
    let same = held.is_some_and(|h| h.holds(block));
    if same && held.is_some_and(|h| !low(h.left.saturating_sub(term.age))) {
        return None;
    }
    let lease = if same { term.lease } else { term.trial.unwrap_or(term.lease) };
    Some(Change::Lease { endpoint, block: block.clone(), lease, was: held.map(|h| h.action), renewal: same })
}

impl Transaction {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn replaces(&self) -> bool {
        self.changes.contains(&Change::Replace)
    }

    /// Chains and rules, which are written by `nft`; nothing if they stay.
    pub fn skeleton(&self) -> Transaction {
        self.only(|c| matches!(c, Change::Replace | Change::Skeleton(_)))
    }

    /// What is to go from beside them, likewise; nothing if all is ours.
    pub fn clearing(&self) -> Transaction {
        self.only(|c| matches!(c, Change::Clear(_)))
    }

    fn only(&self, which: impl Fn(&Change) -> bool) -> Transaction {
        Transaction { changes: self.changes.iter().filter(|c| which(c)).cloned().collect() }
    }

    /// As `nft -f` reads it: one file is one transaction.
    pub fn to_nft(&self) -> String {
        let mut text = String::new();
        let mut elements = Elements::default();
        for change in &self.changes {
            match change {
                // `add` first: deleting what is not there would fail the whole transaction.
                Change::Replace => text.push_str(&format!("add table {TABLE}\ndelete table {TABLE}\n")),
                Change::Skeleton(shape) => text.push_str(&skeleton::text(shape)),
                Change::Clear(bygone) => text.push_str(&bygone.text()),
                Change::Agents(nets, lease) => whole_set(&mut text, "agents", nets.iter().map(|n| (n.addr(), Leased(n, Some(*lease))))),
                Change::Never(nets) => whole_set(&mut text, "never", nets.iter().map(|n| (n.addr(), Leased(n, None)))),
                Change::Open(list) => whole_set(&mut text, "open", list.iter().map(|e| (e.address, Key(e)))),
                Change::Sessions(list) => whole_set(&mut text, "ssh", list.iter().map(|s| (s.peer.address, Conversation(s)))),
                Change::Lease { endpoint, block, lease, was, .. } => elements.lease(endpoint, block, *lease, *was),
                Change::Lift { endpoint, was } => elements.lift(endpoint, *was),
            }
        }
        elements.write(&mut text);
        text
    }
}

/// Flush and fill in one transaction: no packet sees the set empty.
fn whole_set<T: fmt::Display>(text: &mut String, name: &str, elements: impl Iterator<Item = (IpAddr, T)>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (address, element) in elements {
        if address.is_ipv4() { v4.push(element.to_string()) } else { v6.push(element.to_string()) }
    }
    for (family, list) in [(4, v4), (6, v6)] {
        text.push_str(&format!("flush set {TABLE} {name}{family}\n"));
        if !list.is_empty() {
            text.push_str(&format!("add element {TABLE} {name}{family} {{ {} }}\n", list.join(", ")));
        }
    }
}

/// Changes of the sets of blocks, gathered so that one statement carries many.
///
/// Before Linux 6.12 adding an element that exists leaves its timeout as it was and says nothing. So a renewal is three steps in one
/// transaction: add it as it was (so that the next cannot fail if it lapsed meanwhile), delete it, add it anew.
#[derive(Default)]
struct Elements {
    before: BTreeMap<&'static str, String>,
    delete: BTreeMap<&'static str, String>,
    add: BTreeMap<&'static str, String>,
}

impl Elements {
    fn lease(&mut self, endpoint: &Endpoint, block: &Block, lease: Duration, was: Option<Action>) {
        if let Some(was) = was {
            self.lift(endpoint, was);
        }
        let (key, millis) = (Key(endpoint), millis(lease));
        push(&mut self.add, endpoint, block.action, format_args!("{key} timeout {millis}ms comment \"{}\"", block.finding));
    }

    fn lift(&mut self, endpoint: &Endpoint, was: Action) {
        let key = Key(endpoint);
        push(&mut self.before, endpoint, was, format_args!("{key}"));
        push(&mut self.delete, endpoint, was, format_args!("{key}"));
    }

    fn write(&self, text: &mut String) {
        for (verb, sets) in [("add", &self.before), ("delete", &self.delete), ("add", &self.add)] {
            for (set, list) in sets {
                text.push_str(&format!("{verb} element {TABLE} {set} {{ {list} }}\n"));
            }
        }
    }
}

fn push(sets: &mut BTreeMap<&'static str, String>, endpoint: &Endpoint, action: Action, element: fmt::Arguments<'_>) {
    let list = sets.entry(set_of(endpoint.address, action)).or_default();
    if !list.is_empty() {
        list.push_str(", ");
    }
    // Writing to a String cannot fail.
    let _ = list.write_fmt(element);
}

/// `10.0.0.5 . 3001`
struct Key<'a>(&'a Endpoint);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} . {}", self.0.address, self.0.port)
    }
}

/// `10.1.0.7 . 22 . 10.1.0.9 . 54321`
struct Conversation<'a>(&'a Session);

impl fmt::Display for Conversation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} . {}", Key(&self.0.local), Key(&self.0.peer))
    }
}

/// Of a lease, at least one: none at all would be for ever.
fn millis(lease: Duration) -> u128 {
    lease.as_millis().max(1)
}

/// `10.0.0.0/8 timeout 900000ms`
struct Leased<'a>(&'a IpNet, Option<Duration>);

impl fmt::Display for Leased<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.1.map_or(Ok(()), |lease| write!(f, " timeout {}ms", millis(lease)))
    }
}

#[cfg(test)]
mod tests;
