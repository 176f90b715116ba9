//! The chains and rules of our table: always the same for a shape, whatever is blocked.
//!
//! Hash lookups first, which nearly every packet misses and then is done; agents and protected places are asked about only where
//! something is blocked. An interval map over source, destination and port would be as slow as a list of rules. Sets, not maps of
//! verdicts: whenever an element comes, the kernel checks such a map whole (40 ms beside 100,000), once for each rule that leads there.

use crate::{
    config::{Hook, Shape},
    names::TABLE,
    present::Present,
};

/// Before the filter hooks of most others (0), after destination NAT: what is matched is where the packet really goes.
const PRIORITY: i32 = -10;

/// After connection tracking (-200), before destination NAT (-100).
const UNTRANSLATED: i32 = -110;

const PORTLESS: &str = "meta l4proto != tcp meta l4proto != udp meta l4proto != udplite meta l4proto != sctp meta l4proto != dccp accept";

/// Where the kernel calls us: hook, priority, where to go. None asks connection tracking, which would begin where it was not.
const BASES: [(Hook, &str, i32, &str); 4] = [
    (Hook::Output, "output", PRIORITY, "jump judge"),
    (Hook::Input, "input", PRIORITY, "jump judge"),
    (Hook::Forward, "forward", PRIORITY, "jump judge"),
    (Hook::Prerouting, "prerouting", UNTRANSLATED, "jump aimed"),
];

/// Resets pass: ours, and those of a host that cleans up. No larger than a header with options is: what carries data is none.
const RESETS: [&str; 2] = ["tcp flags & rst == rst ip length 0-60 accept", "tcp flags & rst == rst ip6 length 0-40 accept"];

const SETS: [&str; 16] = [
    "set {t} agents4 { type ipv4_addr; flags interval, timeout; }",
    "set {t} agents6 { type ipv6_addr; flags interval, timeout; }",
    "set {t} never4 { type ipv4_addr; flags interval; }",
    "set {t} never6 { type ipv6_addr; flags interval; }",
    "set {t} open4 { type ipv4_addr . inet_service; }",
    "set {t} open6 { type ipv6_addr . inet_service; }",
    "set {t} ssh4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; }",
    "set {t} ssh6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; }",
    // No `size`: it would be allocated at once.
    "set {t} block4 { type ipv4_addr . inet_service; flags timeout; counter; }",
    "set {t} block6 { type ipv6_addr . inet_service; flags timeout; counter; }",
    "set {t} shadow4 { type ipv4_addr . inet_service; flags timeout; counter; }",
    "set {t} shadow6 { type ipv6_addr . inet_service; flags timeout; counter; }",
    // Connections in which a blocked server pushed lately; filled by packets. Full, it only means that a client is not told.
    "set {t} pushed4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; size 16384; flags dynamic, timeout; timeout 10s; }",
    "set {t} pushed6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; size 16384; flags dynamic, timeout; timeout 10s; }",
    // `names::TRIED_SIZE`, `names::TRIED_FOR`
    "set {t} tried4 { type ipv4_addr . ipv4_addr . inet_service; size 16384; flags dynamic, timeout; timeout 7d; }",
    "set {t} tried6 { type ipv6_addr . ipv6_addr . inet_service; size 16384; flags dynamic, timeout; timeout 7d; }",
];

/// Chains that packets are sent to, and their rules in order.
const CHAINS: [(&str, &[&str]); 10] = [
    (
        "shadow",
        &["counter name shadowed", "limit rate 10/second burst 20 packets log prefix \"gnomon-shadow \" group 5 snaplen 128", "accept"],
    ),
    (
        "block",
        &[
            // An administrator's session: this conversation passes, out and in, and nothing else of that address. Only asked for what
            // would be cut.
            "ip saddr . tcp sport . ip daddr . tcp dport @ssh4 accept",
            "ip6 saddr . tcp sport . ip6 daddr . tcp dport @ssh6 accept",
            "ip daddr . tcp dport . ip saddr . tcp sport @ssh4 accept",
            "ip6 daddr . tcp dport . ip6 saddr . tcp sport @ssh6 accept",
            "counter name blocked",
            "limit rate 10/second burst 20 packets log prefix \"gnomon-block \" group 5 snaplen 128",
            "meta l4proto tcp reject with tcp reset",
            "reject with icmpx type admin-prohibited",
        ],
    ),
    // Who asked for what is blocked or counted: connections at their first packet, datagrams each. Rules of their own, since a full set ends
    // a rule.
    (
        "tried",
        &[
            "tcp flags & (syn | ack) == syn update @tried4 { ip saddr . ip daddr . tcp dport counter }",
            "tcp flags & (syn | ack) == syn update @tried6 { ip6 saddr . ip6 daddr . tcp dport counter }",
            "meta l4proto != tcp update @tried4 { ip saddr . ip daddr . th dport counter }",
            "meta l4proto != tcp update @tried6 { ip6 saddr . ip6 daddr . th dport counter }",
        ],
    ),
    ("counted", &["jump tried", "goto shadow"]),
    // At ports of DNS, DHCP and NTP only connections are cut: no datagram that a network needs, and still no shadow server out of reach
    // because of its port. No set in braces: its name would change with each repair, and the rule with it.
    (
        "asked",
        &[
            "udp dport 53 accept",
            "udp dport 67-68 accept",
            "udp dport 123 accept",
            "udp dport 546-547 accept",
            "udp dport 853 accept",
            "jump tried",
            "goto block",
        ],
    ),
    (
        "answered",
        &[
            "udp sport 53 accept",
            "udp sport 67-68 accept",
            "udp sport 123 accept",
            "udp sport 546-547 accept",
            "udp sport 853 accept",
            // A reset goes to the sender only. So that both ends of a stream learn, the server's first pushes pass: the client
            // acknowledges them, and that is reset; its host then resets the server's next one. A handshake that was half done ends
            // likewise, and not by waiting. Only what a blocked server sends, and only towards ephemeral ports.
            "tcp flags & (fin | rst | ack) == ack tcp dport 32768-65535 add @pushed4 { ip saddr . tcp sport . ip daddr . tcp dport limit rate 1/minute burst 3 packets } accept",
            "tcp flags & (fin | rst | ack) == ack tcp dport 32768-65535 add @pushed6 { ip6 saddr . tcp sport . ip6 daddr . tcp dport limit rate 1/minute burst 3 packets } accept",
            "goto block",
        ],
    ),
    (
        "requests",
        &[
            "ip saddr @agents4 ip daddr != @never4 ip daddr . th dport != @open4 ip daddr . th dport @block4 goto asked",
            "ip6 saddr @agents6 ip6 daddr != @never6 ip6 daddr . th dport != @open6 ip6 daddr . th dport @block6 goto asked",
            "ip saddr @agents4 ip daddr != @never4 ip daddr . th dport != @open4 ip daddr . th dport @shadow4 goto counted",
            "ip6 saddr @agents6 ip6 daddr != @never6 ip6 daddr . th dport != @open6 ip6 daddr . th dport @shadow6 goto counted",
        ],
    ),
    // The other direction, for streams in which only the server speaks (SSE).
    (
        "answers",
        &[
            "ip daddr @agents4 ip saddr != @never4 ip saddr . th sport != @open4 ip saddr . th sport @block4 goto answered",
            "ip6 daddr @agents6 ip6 saddr != @never6 ip6 saddr . th sport != @open6 ip6 saddr . th sport @block6 goto answered",
            "ip daddr @agents4 ip saddr != @never4 ip saddr . th sport != @open4 ip saddr . th sport @shadow4 goto shadow",
            "ip6 daddr @agents6 ip6 saddr != @never6 ip6 saddr . th sport != @open6 ip6 saddr . th sport @shadow6 goto shadow",
        ],
    ),
    (
        "judge",
        &[
            // Where nothing is blocked, this is all that a packet costs. A lookup for absence counts nothing, so an element's counter
            // holds only what the rules above let it bind.
            "ip daddr . th dport != @block4 ip saddr . th sport != @block4 ip daddr . th dport != @shadow4 ip saddr . th sport != @shadow4 accept",
            "ip6 daddr . th dport != @block6 ip6 saddr . th sport != @block6 ip6 daddr . th dport != @shadow6 ip6 saddr . th sport != @shadow6 accept",
            // What has no ports has something else where ports would be.
            PORTLESS,
            RESETS[0],
            RESETS[1],
            // No rule here asks connection tracking: an established connection is judged like a new one.
            "jump requests",
            "goto answers",
        ],
    ),
    // Before a router translates destinations: a virtual address is what a client aims at. Real ones are judged here as well, and
    // answers where they have their real source, in `judge`.
    (
        "aimed",
        &[
            "ip daddr . th dport != @block4 ip daddr . th dport != @shadow4 accept",
            "ip6 daddr . th dport != @block6 ip6 daddr . th dport != @shadow6 accept",
            PORTLESS,
            RESETS[0],
            RESETS[1],
            "goto requests",
        ],
    ),
];

/// Text that makes the skeleton right whether it was missing, damaged or whole: nothing in it fails on what exists, and a chain is
/// emptied and filled in the same transaction, so no packet sees it half done.
pub fn text(shape: &Shape) -> String {
    let mut lines = vec![format!("add table {TABLE}")];
    lines.extend(SETS.map(|set| format!("add {}", set.replace("{t}", TABLE))));
    lines.extend(["shadowed", "blocked"].map(|counter| format!("add counter {TABLE} {counter}")));
    for (chain, rules) in CHAINS {
        lines.push(format!("add chain {TABLE} {chain}"));
        lines.push(format!("flush chain {TABLE} {chain}"));
        lines.extend(rules.iter().map(|rule| format!("add rule {TABLE} {chain} {rule}")));
    }
    for (role, name, priority, to) in BASES {
        if shape.hooks.contains(&role) {
            lines.push(format!("add chain {TABLE} on_{name} {{ type filter hook {name} priority {priority}; policy accept; }}"));
            lines.push(format!("flush chain {TABLE} on_{name}"));
            lines.extend(ways_in(shape, role, to).iter().map(|rule| format!("add rule {TABLE} on_{name} {rule}")));
        } else {
            // Left by a time when this point had another role.
            lines.push(format!("add chain {TABLE} on_{name}"));
            lines.push(format!("flush chain {TABLE} on_{name}"));
            lines.push(format!("delete chain {TABLE} on_{name}"));
        }
    }
    lines.join("\n") + "\n"
}

/// The rules of a base chain. At `output` a packet without an account (of no socket, or of one that is closing) passes where only some are
/// judged.
fn ways_in(shape: &Shape, role: Hook, to: &str) -> Vec<String> {
    if role == Hook::Output && !shape.accounts.is_empty() {
        return shape.accounts.iter().map(|account| format!("meta skuid {account} {to}")).collect();
    }
    vec![to.to_owned()]
}

/// What is in our table and was never, or is no longer, part of it, by names as an older version or a person would give them. A table made
/// anew would let packets through for some milliseconds (measured), so it is taken out of the one that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    chains: Vec<String>,
    sets: Vec<String>,
    maps: Vec<String>,
}

impl Leftovers {
    pub fn of(present: &Present) -> Leftovers {
        let ours = |name: &str| {
            SETS.iter().any(|set| set.split(' ').nth(2) == Some(name)) || CHAINS.iter().any(|(chain, _)| *chain == name) || is_base(name)
        };
        // What is called otherwise has no place in a script; then the table is replaced after all.
        let plain =
            |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.starts_with(|c: char| c.is_alphabetic());
        let mut bygone = Leftovers::default();
        for line in present.skeleton.lines() {
            let mut words = line.split(' ');
            let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if !plain(name) || ours(name) {
                continue;
            }
            match kind {
                "chain" => bygone.chains.push(name.to_owned()),
                "set" => bygone.sets.push(name.to_owned()),
                "map" => bygone.maps.push(name.to_owned()),
                _ => {}
            }
        }
        bygone
    }

    pub fn is_empty(&self) -> bool {
        *self == Leftovers::default()
    }

    /// All are emptied before any goes, and maps go before the chains that their elements lead to.
    pub(super) fn text(&self) -> String {
        let flushes = self.chains.iter().map(|name| format!("flush chain {TABLE} {name}\n"));
        let kinds = [("map", &self.maps), ("set", &self.sets), ("chain", &self.chains)];
        let deletes = kinds.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| format!("delete {kind} {TABLE} {name}\n")));
        flushes.chain(deletes).collect()
    }
}

/// A base chain of ours, in whatever role; [`text`] takes those away that this point has no use for.
fn is_base(name: &str) -> bool {
    BASES.iter().any(|(_, base, ..)| name.strip_prefix("on_") == Some(base))
}

/// Whether what was read back has our chains with as many rules as they should have, all sets, and nothing else. How `nft` spells
/// a rule differs between versions, so the words are compared only with what the same `nft` printed before.
pub fn is_whole(present: &Present, shape: &Shape) -> bool {
    let mut expected: Vec<String> =
        SETS.iter().filter_map(|s| Some(format!("{} {}", s.split(' ').next()?, s.split(' ').nth(2)?))).collect();
    for (chain, rules) in CHAINS {
        expected.push(format!("chain {chain}"));
        expected.extend(rules.iter().map(|_| format!("rule {chain}")));
    }
    for (role, name, priority, to) in BASES.into_iter().filter(|(role, ..)| shape.hooks.contains(role)) {
        expected.push(format!("chain on_{name} {name} {priority} accept"));
        expected.extend(ways_in(shape, role, to).iter().map(|_| format!("rule on_{name}")));
    }
    let mut found: Vec<String> = present.skeleton.lines().map(heading).collect();
    expected.sort();
    found.sort();
    expected == found && present.foreign.is_empty()
}

/// A skeleton line without what nft versions spell differently: `rule judge`, `set agents4`, `chain on_output output -10 accept`.
fn heading(line: &str) -> String {
    let words = if line.starts_with("chain ") { usize::MAX } else { 2 };
    line.split(' ').take(words).collect::<Vec<_>>().join(" ")
}
