//! Our table as the kernel holds it, read by netlink dumps.
//!
//! `nft list` of 100,000 elements takes four seconds of processor time and 130 MB; this takes a small part of that, and knows leases to
//! the millisecond. Rules are compared as the kernel's own bytes, so no version of `nft` can spell them differently.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{
    batch::{TABLE, of_set, question},
    wire::{Attributes, Socket, attribute},
};
use crate::{
    facts::Session,
    names::{SETS, TRIED, TRIED_FOR, action_of, is_note, set_of},
    present::{KernelBlock, Present},
};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use ring::digest;
use rules::{decision::Action, endpoint::Endpoint, finding::FindingId, printable::printable_bytes};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// `NFT_MSG_GET*` (linux/netfilter/nf_tables.h).
const GETTABLE: u8 = 1;
const GETCHAIN: u8 = 4;
const GETRULE: u8 = 7;
const GETSET: u8 = 10;
const GETSETELEM: u8 = 13;

/// `None`: there is no such table. Changes made while this reads show as a generation that moved on; the caller compares.
///
/// The kernel looks for its place in a set anew for each 32 KiB that it tells, so that 100,000 elements take two seconds; whoever knows
/// most of them already reads the [`frame`] and asks for the rest by key ([`held_at`]).
pub(super) fn read(socket: &Socket) -> io::Result<Option<Present>> {
    let Some(mut present) = frame(socket)? else { return Ok(None) };
    for (set, action) in SETS {
        socket.dump(GETSETELEM, &of_set(set), |a| {
            for element in elements(a) {
                block(&mut present, action, element);
            }
        })?;
    }
    Ok(Some(present))
}

/// Everything but what is blocked.
pub(super) fn frame(socket: &Socket) -> io::Result<Option<Present>> {
    let mut present = Present { agents_left: Duration::MAX, ..Present::default() };
    let named = attribute(1, TABLE);
    socket.dump(GETCHAIN, &[], |a| present.skeleton.push_str(&chain(a)))?;
    socket.dump(GETRULE, &named, |a| present.skeleton.push_str(&rule(a)))?;
    let mut sets = Vec::new();
    socket.dump(GETSET, &named, |a| sets.extend(set(a)))?;
    if sets.is_empty() && present.skeleton.is_empty() {
        return Ok(None);
    }
    socket.dump(GETTABLE, &[], |a| present.skeleton.push_str(asleep(a)))?;
    for set in sets {
        present.skeleton.push_str(&format!("{} {} {}\n", if set.is_map { "map" } else { "set" }, set.name, set.spec));
        if is_note(&set.name) || action_of(&set.name).is_some() {
            continue;
        }
        let mut marks = BTreeSet::new();
        let mut left = Duration::MAX;
        socket.dump(GETSETELEM, &of_set(&set.name), |a| {
            for element in elements(a) {
                match set.name.as_str() {
                    "open4" | "open6" => present.open.extend(key(element).and_then(place)),
                    "ssh4" | "ssh6" => present.sessions.extend(key(element).and_then(session)),
                    "agents4" | "agents6" | "never4" | "never6" => {
                        let end = element.number32(3).is_some_and(|flags| flags & 1 != 0);
                        marks.extend(key(element).and_then(address).map(|a| (a, !end)));
                        left = left.min(lease_left(element).unwrap_or(Duration::MAX));
                    }
                    other => present.foreign.push(format!("{other}: an element")),
                }
            }
        })?;
        match set.name.as_str() {
            "agents4" | "agents6" => {
                present.agents.extend(intervals(&marks));
                present.agents_left = present.agents_left.min(left);
            }
            "never4" | "never6" => present.never.extend(intervals(&marks)),
            _ => {}
        }
    }
    if present.agents.is_empty() {
        present.agents_left = Duration::ZERO;
    }
    Ok(Some(present))
}

/// Of a message that lists some.
fn elements(message: Attributes<'_>) -> impl Iterator<Item = Attributes<'_>> {
    message.get(3).map(Attributes).into_iter().flatten().map(|(_, bytes)| Attributes(bytes))
}

/// A table that is dormant (`NFT_TABLE_F_DORMANT`) keeps all that it holds, and sees no packet.
fn asleep(a: Attributes<'_>) -> &'static str {
    let dormant = a.number32(2).is_some_and(|flags| flags & 1 != 0);
    if a.get(1) == Some(TABLE) && dormant { "table dormant\n" } else { "" }
}

/// `chain on_output output -10 accept`, `chain judge`; nothing for other tables.
fn chain(a: Attributes<'_>) -> String {
    if a.get(1) != Some(TABLE) {
        return String::new();
    }
    let name = a.text(3);
    let hook = a.get(4).map(Attributes).map(|hook| {
        let place = match hook.number32(1) {
            Some(0) => "prerouting",
            Some(1) => "input",
            Some(2) => "forward",
            Some(3) => "output",
            _ => "elsewhere",
        };
        let policy = if a.number32(5) == Some(1) { "accept" } else { "drop" };
        format!(" {place} {} {policy}", hook.number32(2).unwrap_or(0).cast_signed())
    });
    format!("chain {name}{}\n", hook.unwrap_or_default())
}

/// `rule judge 9f86d081…`: the hash of its expressions.
fn rule(a: Attributes<'_>) -> String {
    if a.get(1) != Some(TABLE) {
        return String::new();
    }
    let hash = digest::digest(&digest::SHA256, a.get(4).unwrap_or_default());
    let hash: String = hash.as_ref().iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("rule {} {hash}\n", a.text(2))
}

struct Set {
    name: String,
    is_map: bool,
    spec: String,
}

/// Named sets and maps; those within a rule (`NFT_SET_ANONYMOUS`) belong to it.
fn set(a: Attributes<'_>) -> Option<Set> {
    let flags = a.number32(3).unwrap_or(0);
    if a.get(1) != Some(TABLE) || flags & 1 != 0 {
        return None;
    }
    let number = |kind| a.number32(kind).map_or_else(|| "-".to_owned(), |n| n.to_string());
    let spec = format!("{flags:#x} {} {} {}", number(4), number(5), number(6));
    Some(Set { name: a.text(2), is_map: flags & 8 != 0, spec })
}

fn block(present: &mut Present, action: Action, element: Attributes<'_>) {
    match held(action, element) {
        Some(Ok((endpoint, held))) => present.hold(endpoint, held),
        Some(Err(foreign)) => present.foreign.push(foreign),
        None => {}
    }
}

/// An element of a set of blocks, or why it is none of ours.
fn held(action: Action, element: Attributes<'_>) -> Option<Result<(Endpoint, KernelBlock), String>> {
    let endpoint = key(element).and_then(place)?;
    let Some(left) = lease_left(element) else {
        return Some(Err(format!("{endpoint}: no lease")));
    };
    let finding = element.get(6).and_then(comment);
    let (packets, bytes) = counted(element);
    Some(Ok((endpoint, KernelBlock { action, finding, left, packets, bytes })))
}

/// Packets and bytes of an element's counter.
fn counted(element: Attributes<'_>) -> (u64, u64) {
    let counter = element.get(7).map(Attributes).and_then(|e| e.get(2)).map(Attributes);
    let count = |kind| counter.and_then(|c| c.number64(kind)).unwrap_or(0);
    (count(2), count(1))
}

/// Elements asked for in one message: their answers have to fit the socket's queue.
const ASKED_AT_ONCE: usize = 512;

/// What one of our sets holds at these places, all of one family, told in their order.
pub(super) fn held_at(
    socket: &Socket,
    action: Action,
    places: &[Endpoint],
    mut tell: impl FnMut(Endpoint, Option<KernelBlock>),
) -> io::Result<()> {
    let Some(first) = places.first() else { return Ok(()) };
    let set = set_of(first.address, action);
    let mut rest = places;
    while !rest.is_empty() {
        let (asked, later) = rest.split_at(rest.len().min(ASKED_AT_ONCE));
        let mut answers = Vec::with_capacity(asked.len());
        socket.get(GETSETELEM, &question(set, asked), asked.len(), |a| answers.extend(elements(a).map(|e| held(action, e))))?;
        let told = answers.len();
        for (place, answer) in asked.iter().zip(answers) {
            match answer {
                Some(Ok((at, held))) if at == *place => tell(at, Some(held)),
                Some(Ok((at, _))) => return Err(io::Error::other(format!("asked for {place}, told of {at}"))),
                Some(Err(foreign)) => return Err(io::Error::other(foreign)),
                None => return Err(io::Error::other(format!("{place}: an answer that cannot be read"))),
            }
        }
        // The kernel stops at the first that it does not hold.
        rest = match asked.get(told..) {
            Some([missing, ..]) => {
                tell(*missing, None);
                rest.get(told + 1..).unwrap_or_default()
            }
            _ => later,
        };
    }
    Ok(())
}

/// Who tried what, at least so often, and how long ago for the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub client: IpAddr,
    pub endpoint: Endpoint,
    pub count: u64,
    pub ago: Duration,
}

pub(super) fn tried(socket: &Socket) -> io::Result<Vec<Tried>> {
    let mut found = Vec::new();
    for set in TRIED {
        socket.dump(GETSETELEM, &of_set(set), |a| found.extend(elements(a).filter_map(attempt)))?;
    }
    Ok(found)
}

fn attempt(element: Attributes<'_>) -> Option<Tried> {
    let key = key(element)?;
    let (client, at) = key.split_at_checked(key.len().checked_sub(4)? / 2)?;
    let ago = TRIED_FOR.saturating_sub(lease_left(element)?);
    Some(Tried { client: address(client)?, endpoint: place(at)?, count: counted(element).0, ago })
}

/// Milliseconds until it goes; `None`: it never does.
fn lease_left(element: Attributes<'_>) -> Option<Duration> {
    element.number64(5).map(Duration::from_millis)
}

fn key(element: Attributes<'_>) -> Option<&[u8]> {
    Attributes(element.get(1)?).get(1)
}

/// User data of an element: type (0: comment), length, text with a NUL.
fn comment(data: &[u8]) -> Option<FindingId> {
    let [0, _length, text @ ..] = data else { return None };
    FindingId::parse(std::str::from_utf8(text.split(|b| *b == 0).next()?).ok()?)
}

/// Two places, the local one first.
fn session(key: &[u8]) -> Option<Session> {
    let (local, peer) = key.split_at_checked(key.len() / 2)?;
    Some(Session { local: place(local)?, peer: place(peer)? })
}

/// Address and port, each padded to four bytes.
fn place(key: &[u8]) -> Option<Endpoint> {
    let (host, port) = key.split_at_checked(key.len().checked_sub(4)?)?;
    let port = u16::from_be_bytes(port.get(..2)?.try_into().ok()?);
    Some(Endpoint { address: address(host)?, port })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| IpAddr::V4(Ipv4Addr::from(b))),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| IpAddr::V6(Ipv6Addr::from(b))),
        _ => None,
    }
}

/// Interval sets are lists of begins (`true`) and of first addresses after an end (`false`); the last may have no end.
fn intervals(marks: &BTreeSet<(IpAddr, bool)>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    let mut begin = None;
    for (address, begins) in marks {
        if let Some(from) = begin.take() {
            nets.extend(subnets(from, Some(*address)));
        }
        if *begins {
            begin = Some(*address);
        }
    }
    nets.extend(begin.into_iter().flat_map(|from| subnets(from, None)));
    nets
}

fn subnets(from: IpAddr, until: Option<IpAddr>) -> Vec<IpNet> {
    match (from, until) {
        (IpAddr::V4(from), Some(IpAddr::V4(until))) => {
            Ipv4Subnets::new(from, Ipv4Addr::from(u32::from(until).saturating_sub(1)), 0).map(IpNet::V4).collect()
        }
        (IpAddr::V6(from), Some(IpAddr::V6(until))) => {
            Ipv6Subnets::new(from, Ipv6Addr::from(u128::from(until).saturating_sub(1)), 0).map(IpNet::V6).collect()
        }
        (IpAddr::V4(from), None) => Ipv4Subnets::new(from, Ipv4Addr::BROADCAST, 0).map(IpNet::V4).collect(),
        (IpAddr::V6(from), None) => Ipv6Subnets::new(from, Ipv6Addr::from(u128::MAX), 0).map(IpNet::V6).collect(),
        _ => Vec::new(),
    }
}

/// A name of the kernel's, for messages.
impl Attributes<'_> {
    fn text(self, kind: u16) -> String {
        let bytes = self.get(kind).unwrap_or_default();
        printable_bytes(bytes.strip_suffix(&[0]).unwrap_or(bytes), 64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_what_lies_between_marks() {
        let mark = |a: &str, begins| (a.parse().unwrap(), begins);
        let marks = [
            mark("0.0.0.0", false),
            mark("10.0.0.0", true),
            mark("10.0.0.1", false),
            mark("10.0.0.1", true),
            mark("10.0.1.0", false),
            mark("224.0.0.0", true),
            mark("::1", true),
            mark("::2", false),
            mark("ff00::", true),
        ];
        let split = |v4: bool| marks.iter().copied().filter(|(a, _): &(IpAddr, bool)| a.is_ipv4() == v4).collect();
        let text = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(
            text(intervals(&split(true))),
            "10.0.0.0/32 10.0.0.1/32 10.0.0.2/31 10.0.0.4/30 10.0.0.8/29 10.0.0.16/28 10.0.0.32/27 10.0.0.64/26 10.0.0.128/25 224.0.0.0/3"
        );
        assert_eq!(text(intervals(&split(false))), "::1/128 ff00::/8");
    }
}
