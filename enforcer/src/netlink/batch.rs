//! A transaction as netlink batches: elements of our sets and maps, without `nft`.
//!
//! `nft` takes 2 ms for one element and three seconds for 100,000 with comments; the kernel itself takes 20 us and half a second.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::wire::{Batch, attribute, nest, put};
use crate::{
    facts::Session,
    names::{SETS, set_of},
    render::{Change, Transaction},
    ruleset::Block,
};
use ipnet::IpNet;
use rules::{decision::Action, endpoint::Endpoint};
use std::{net::IpAddr, time::Duration};

/// `NFT_MSG_NEWSETELEM`, `NFT_MSG_DELSETELEM`
const ADD: u8 = 12;
const DELETE: u8 = 14;
const CREATE: u16 = 0x400;
/// `NFT_MSG_NEWTABLE`, `NFT_MSG_DELTABLE`
const NEW_TABLE: u8 = 0;
const DELETE_TABLE: u8 = 2;
/// `NFT_SET_ELEM_INTERVAL_END`
const END: u32 = 1;
pub(super) const TABLE: &[u8] = b"gnomon\0";
/// A list of elements is one attribute, and an attribute has at most 64 KiB.
const FULL: usize = 60_000;

/// As many changes of blocks are made at once. More come only when a table is filled or thousands of leases are renewed; then lifts go
/// first, and what binds or protects before what blocks.
pub const AT_ONCE: usize = 8_192;

/// Everything of a transaction but the skeleton, in the order in which the batches are to be committed.
///
/// `readd`: this kernel renews the lease of an element that is added again (Linux 6.12 and later). Before, it ignores that and says
/// nothing; then a renewal is three steps: add it as it was (so that the next cannot fail if it lapsed meanwhile), delete, add anew.
pub(super) fn batches(transaction: &Transaction, mut generation: Option<u32>, readd: bool) -> impl Iterator<Item = Batch> {
    let is_lift = |c: &&Change| matches!(c, Change::Lift { .. });
    let is_lease = |c: &&Change| matches!(c, Change::Lease { .. });
    let lifts: Vec<&Change> = transaction.changes.iter().filter(is_lift).collect();
    let leases: Vec<&Change> = transaction.changes.iter().filter(is_lease).collect();
    let sets: Vec<&Change> = transaction.changes.iter().filter(|c| !is_lift(c) && !is_lease(c)).collect();
    let steps: Vec<Vec<&Change>> = if lifts.len() + leases.len() <= AT_ONCE {
        vec![[sets, lifts, leases].concat()]
    } else {
        let mut steps: Vec<Vec<&Change>> = lifts.chunks(AT_ONCE).map(<[_]>::to_vec).collect();
        steps.push(sets);
        steps.extend(leases.chunks(AT_ONCE).map(<[_]>::to_vec));
        steps
    };
    steps.into_iter().map(move |step| batch(&step, generation.take(), readd)).filter(|batch| !batch.is_empty())
}

/// Made first, so that the second succeeds also when there was none.
pub(super) fn removal() -> Batch {
    let mut batch = Batch::begin(None);
    for (kind, flags) in [(NEW_TABLE, CREATE), (DELETE_TABLE, 0)] {
        batch.add(kind, flags, &attribute(1, TABLE));
    }
    batch
}

fn batch(changes: &[&Change], generation: Option<u32>, readd: bool) -> Batch {
    let mut batch = Batch::begin(generation);
    for change in changes {
        match change {
            Change::Agents(nets, lease) => intervals(&mut batch, ["agents4", "agents6"], nets.iter(), Some(*lease)),
            Change::Never(nets) => intervals(&mut batch, ["never4", "never6"], nets.iter(), None),
            Change::Open(places) => whole(&mut batch, ["open4", "open6"], places.iter().map(|e| (e.address, key(|bytes| place(bytes, e))))),
            Change::Sessions(sessions) => {
                whole(&mut batch, ["ssh4", "ssh6"], sessions.iter().map(|s| (s.local.address, key(|bytes| conversation(bytes, s)))))
            }
            Change::Lease { .. } | Change::Lift { .. } | Change::Replace | Change::Skeleton(_) | Change::Clear(_) => {}
        }
    }
    for (set, _) in SETS {
        let gone = || changes.iter().filter_map(|c| gone(c, readd)).filter(|(at, was)| set_of(at.address, *was) == set);
        list(&mut batch, ADD, set, gone(), |bytes, (at, _)| element(bytes, at, None));
        list(&mut batch, DELETE, set, gone(), |bytes, (at, _)| element(bytes, at, None));
        let held = changes.iter().filter_map(|c| match c {
            Change::Lease { endpoint, block, lease, .. } if set_of(endpoint.address, block.action) == set => {
                Some((endpoint, block, *lease))
            }
            _ => None,
        });
        list(&mut batch, ADD, set, held, |bytes, (at, block, lease)| element(bytes, at, Some((block, lease))));
    }
    batch
}

/// What has to be deleted first, and what it did.
fn gone(change: &Change, readd: bool) -> Option<(&Endpoint, Action)> {
    match change {
        Change::Lift { endpoint, was } => Some((endpoint, *was)),
        Change::Lease { endpoint, was: Some(was), renewal, .. } if !(readd && *renewal) => Some((endpoint, *was)),
        _ => None,
    }
}

/// Messages for one set, each as full as it may be.
fn list<T>(batch: &mut Batch, kind: u8, set: &str, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    let mut elements = Vec::new();
    for item in items {
        write(&mut elements, item);
        if elements.len() > FULL {
            elements_of(batch, kind, set, &elements);
            elements.clear();
        }
    }
    if !elements.is_empty() {
        elements_of(batch, kind, set, &elements);
    }
}

/// `NFTA_SET_ELEM_LIST_TABLE`, `…_SET`, `…_ELEMENTS`
fn elements_of(batch: &mut Batch, kind: u8, set: &str, elements: &[u8]) {
    let mut attributes = of_set(set);
    nest(&mut attributes, 3, |bytes| bytes.extend_from_slice(elements));
    batch.add(kind, if kind == ADD { CREATE } else { 0 }, &attributes);
}

pub(super) fn of_set(set: &str) -> Vec<u8> {
    let mut attributes = attribute(1, TABLE);
    put(&mut attributes, 2, format!("{set}\0").as_bytes());
    attributes
}

/// Asks a set for elements by their keys.
pub(super) fn question(set: &str, places: &[Endpoint]) -> Vec<u8> {
    let mut attributes = of_set(set);
    nest(&mut attributes, 3, |bytes| places.iter().for_each(|place| element(bytes, place, None)));
    attributes
}

/// `NFTA_SET_ELEM_KEY`, `…_TIMEOUT`, `…_EXPIRATION`, `…_USERDATA`
fn element(bytes: &mut Vec<u8>, endpoint: &Endpoint, lease: Option<(&Block, Duration)>) {
    nest(bytes, 1, |bytes| {
        nest(bytes, 1, |bytes| put(bytes, 1, &key(|key| place(key, endpoint))));
        if let Some((block, lease)) = lease {
            put(bytes, 4, &millis(lease));
            // The time left, too: without it, an element that is there with the same lease keeps the time it had (Linux 6.12 and later).
            put(bytes, 5, &millis(lease));
            // A comment as nft writes it: type 0, length, text with its NUL.
            let text = block.finding.as_str();
            let mut note = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
            note.extend_from_slice(text.as_bytes());
            note.push(0);
            put(bytes, 6, &note);
        }
    });
}

/// At least one: none at all would be for ever.
fn millis(lease: Duration) -> [u8; 8] {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1).to_be_bytes()
}

fn key(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut key = Vec::with_capacity(40);
    write(&mut key);
    key
}

/// Each part of a concatenation is padded to four bytes.
fn place(bytes: &mut Vec<u8>, endpoint: &Endpoint) {
    address(bytes, endpoint.address);
    bytes.extend_from_slice(&endpoint.port.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
}

fn conversation(bytes: &mut Vec<u8>, session: &Session) {
    place(bytes, &session.local);
    place(bytes, &session.peer);
}

fn address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(a) => bytes.extend_from_slice(&a.octets()),
        IpAddr::V6(a) => bytes.extend_from_slice(&a.octets()),
    }
}

/// Flush and fill in one transaction: no packet sees the set empty.
fn whole(batch: &mut Batch, names: [&str; 2], keys: impl Iterator<Item = (IpAddr, Vec<u8>)>) {
    let (v4, v6): (Vec<_>, Vec<_>) = keys.partition(|(family, _)| family.is_ipv4());
    for (name, keys) in names.into_iter().zip([v4, v6]) {
        batch.add(DELETE, 0, &of_set(name));
        list(batch, ADD, name, keys.iter(), |bytes, (_, key)| nest(bytes, 1, |bytes| nest(bytes, 1, |bytes| put(bytes, 1, key))));
    }
}

/// Interval sets hold the first address of each range, and the first after it marked as an end. Ranges that touch become one.
fn intervals<'a>(batch: &mut Batch, names: [&str; 2], nets: impl Iterator<Item = &'a IpNet>, lease: Option<Duration>) {
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) = nets.partition(|net| net.addr().is_ipv4());
    for (name, nets) in names.into_iter().zip([v4, v6]) {
        batch.add(DELETE, 0, &of_set(name));
        list(batch, ADD, name, marks(&nets).into_iter(), |bytes, (at, ends)| {
            nest(bytes, 1, |bytes| {
                nest(bytes, 1, |bytes| put(bytes, 1, &key(|key| address(key, at))));
                match lease {
                    _ if ends => put(bytes, 3, &END.to_be_bytes()),
                    Some(lease) => put(bytes, 4, &millis(lease)),
                    None => {}
                }
            });
        });
    }
}

/// Begins (`false`) and ends (`true`) of sorted networks that do not overlap.
fn marks(nets: &[&IpNet]) -> Vec<(IpAddr, bool)> {
    let mut marks: Vec<(IpAddr, bool)> = Vec::new();
    for net in nets {
        match marks.last() {
            Some((at, true)) if *at == net.network() => drop(marks.pop()),
            // As nft does: what is below the first range is not in the set.
            None if !net.network().is_unspecified() => {
                let zero = if net.network().is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
                marks.extend([(zero, true), (net.network(), false)]);
            }
            _ => marks.push((net.network(), false)),
        }
        marks.extend(next(net.broadcast()).map(|end| (end, true)));
    }
    marks
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_begins_and_ends_and_those_that_touch_are_one() {
        let nets: Vec<IpNet> = ["10.0.0.1/32", "10.0.0.2/31", "10.1.0.0/16", "255.255.255.254/31"].map(|n| n.parse().unwrap()).into();
        let said: Vec<String> =
            marks(&nets.iter().collect::<Vec<_>>()).iter().map(|(a, end)| format!("{a}{}", if *end { " end" } else { "" })).collect();
        assert_eq!(said, ["0.0.0.0 end", "10.0.0.1", "10.0.0.4 end", "10.1.0.0", "10.2.0.0 end", "255.255.255.254"]);
        let all = ["::/0".parse().unwrap()];
        assert_eq!(marks(&all.iter().collect::<Vec<_>>()), [("::".parse().unwrap(), false)]);
    }
}
