//! Whom could this ruleset hurt? Pure, and it shares no code with [`crate::ruleset`]: the planner does not mark its own homework.
//!
//! One objection, and nothing of the ruleset is applied; the last good one stays.

use crate::{
    config::{Config, Hook},
    facts::Facts,
    ruleset::Ruleset,
};
use ipnet::IpNet;
use rules::{
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
};
use std::{collections::HashMap, fmt, net::IpAddr, time::Duration};

/// What is wrong, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    pub subject: String,
    pub why: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.why)
    }
}

/// What the ruleset is judged by. None of it comes from the planner.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    pub set: &'a DecisionSet,
    pub facts: &'a Facts,
    pub config: &'a Config,
    /// Blocks added here in the hour before, and those this ruleset would add.
    pub new_this_hour: usize,
    /// A person said that so many are meant.
    pub many_new: bool,
    pub lease: Duration,
    /// Blocks that stay as they are beside these: judged before, by the same facts.
    pub beside: usize,
}

/// Objections shown of one kind; more are counted.
const SHOWN: usize = 20;

pub fn objections(ruleset: &Ruleset, against: &Against<'_>) -> Vec<Objection> {
    let mut found = Found::default();
    limits(ruleset, against, &mut found);
    agents(ruleset, against, &mut found);
    let kept =
        against.set.protected_endpoints.iter().map(|e| (e.address.to_canonical(), e.port, "registered or protected by the same set"));
    let ours =
        against.config.protected_endpoints.iter().map(|e| (e.address.to_canonical(), e.port, "protected by this host's configuration"));
    let places = ours.chain(kept).map(|(address, port, why)| ((address, port), why)).collect();
    for endpoint in ruleset.blocks.keys() {
        if let Some(why) = protected(*endpoint, against, &places) {
            found.push(endpoint, why);
        }
    }
    // The kernel is to keep the promise too, even where an element slipped past everybody.
    for net in must_never(against) {
        if !ruleset.never.iter().any(|n| n.contains(&net)) {
            found.push(net, "must be in the never set and is not");
        }
    }
    for endpoint in against.set.protected_endpoints.iter().chain(&against.config.protected_endpoints) {
        if !ruleset.open.contains(&Endpoint::new(endpoint.address, endpoint.port)) {
            found.push(endpoint, "must be in the open set and is not");
        }
    }
    sessions(ruleset, against, &mut found);
    found.finish()
}

/// Exactly the administrators' conversations: one too few cuts somebody off, one too many lets a blocked server speak.
fn sessions(ruleset: &Ruleset, against: &Against<'_>, found: &mut Found) {
    let real = &against.facts.ssh_sessions;
    for session in real.symmetric_difference(&ruleset.sessions) {
        let subject = format!("SSH session {} to {}", session.peer, session.local);
        found.push(
            subject,
            if real.contains(session) { "must be in the session set and is not" } else { "is kept open and does not exist" },
        );
    }
    for session in ruleset.sessions.iter().filter(|s| !against.config.ssh_ports.contains(&s.local.port)) {
        found.push(session.local, "kept open as SSH, and is none of ssh_ports");
    }
}

fn limits(ruleset: &Ruleset, against: &Against<'_>, found: &mut Found) {
    let limits = &against.config.limits;
    if ruleset.shape.hooks.is_empty() {
        found.push("hooks", "none: nothing would be judged; name output, input or forward");
    }
    if !ruleset.shape.accounts.is_empty() && !ruleset.shape.hooks.contains(&Hook::Output) {
        found.push("accounts", "whose traffic it is shows only at `output`, which is none of the hooks");
    }
    if ruleset.shape.accounts.len() > limits.max_accounts {
        let why = format!("more than max_accounts = {}, and each costs every packet a look", limits.max_accounts);
        found.push(format!("{} accounts", ruleset.shape.accounts.len()), why);
    }
    let blocks = ruleset.blocks.values().filter(|b| b.action == Action::Block).count() + against.beside;
    if blocks > limits.max_blocks {
        found.push(format!("{blocks} blocks"), format!("more than max_blocks = {}", limits.max_blocks));
    }
    if ruleset.agents.len() > limits.max_agent_networks {
        found.push(
            format!("{} agent networks", ruleset.agents.len()),
            format!("more than max_agent_networks = {}", limits.max_agent_networks),
        );
    }
    if against.new_this_hour > limits.max_new_per_hour && !against.many_new {
        let why = format!("more than max_new_per_hour = {}; a person may apply it with --many-new", limits.max_new_per_hour);
        found.push(format!("{} new blocks within an hour", against.new_this_hour), why);
    }
    if against.facts.blind && against.new_this_hour > 0 {
        let why = format!("own addresses or default gateways of this host cannot be read ({})", against.facts.unknown.join("; "));
        found.push("new blocks", why);
    }
    if against.lease < limits.min_lease.0 || against.lease > limits.max_lease.0 || against.lease.as_millis() == 0 {
        let why = format!("outside {} to {}", limits.min_lease, limits.max_lease);
        found.push(format!("lease of {} s", against.lease.as_secs()), why);
    }
}

fn agents(ruleset: &Ruleset, against: &Against<'_>, found: &mut Found) {
    let limits = &against.config.limits;
    for net in &ruleset.agents {
        let shortest = if net.addr().is_ipv4() { limits.min_agent_prefix4 } else { limits.min_agent_prefix6 };
        if net.prefix_len() < shortest {
            found.push(net, format!("an agent range wider than /{shortest}"));
        }
        if net.addr().is_loopback() || net.addr().is_multicast() {
            found.push(net, "no agent speaks from there");
        }
    }
}

fn protected(endpoint: Endpoint, against: &Against<'_>, places: &HashMap<(IpAddr, u16), &'static str>) -> Option<&'static str> {
    let Endpoint { address, port } = endpoint;
    let Against { set, facts, config, .. } = *against;
    let own = facts.own.contains(&address);
    let at_input = sees_itself(config);
    match () {
        () if address != address.to_canonical() => Some("an IPv4 address written as IPv6: the kernel would never match it"),
        () if address.is_unspecified() => Some("no address"),
        () if port == 0 => Some("port 0"),
        () if address.is_loopback() => Some("loopback"),
        () if address.is_multicast() || is_link_local(address) || is_broadcast(address) => Some("link-local, multicast or broadcast"),
        () if own && !at_input => Some("this host itself"),
        () if own && config.ssh_ports.contains(&port) => Some("this host's SSH"),
        () if facts.gateways.contains(&address) => Some("a default gateway"),
        () if facts.resolvers.contains(&address) => Some("a resolver"),
        () if places.contains_key(&(address, port)) => places.get(&(address, port)).copied(),
        () if set.protected.iter().any(|n| n.contains(&address)) => Some("in a network that the same set protects"),
        () if config.protected.iter().any(|n| n.contains(&address)) => Some("in a management network"),
        () => None,
    }
}

fn must_never(against: &Against<'_>) -> Vec<IpNet> {
    let Against { set, facts, config, .. } = *against;
    let mut nets: Vec<IpNet> = Vec::new();
    nets.extend(set.protected.iter().chain(&config.protected));
    nets.extend(facts.gateways.iter().chain(&facts.resolvers).map(|a| IpNet::from(*a)));
    if !sees_itself(config) {
        nets.extend(facts.own.iter().map(|a| IpNet::from(*a)));
    }
    nets
}

/// Packets to this host's own addresses come by a hook of ours.
fn sees_itself(config: &Config) -> bool {
    [Hook::Input, Hook::Prerouting].iter().any(|hook| config.hooks.contains(hook))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(a) if a.is_broadcast())
}

#[derive(Default)]
struct Found {
    shown: Vec<Objection>,
    more: usize,
}

impl Found {
    fn push(&mut self, subject: impl fmt::Display, why: impl Into<String>) {
        if self.shown.len() < SHOWN {
            self.shown.push(Objection { subject: subject.to_string(), why: why.into() });
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Objection> {
        if self.more > 0 {
            self.shown.push(Objection { subject: format!("{} more", self.more), why: "likewise".to_owned() });
        }
        self.shown
    }
}

#[cfg(test)]
mod tests;
