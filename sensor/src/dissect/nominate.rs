//! What points at a server without a word of MCP being heard: names, TLS. Weak, all of it: a probe or the host must settle it.

use super::{
    Context,
    dns::{self, names_mcp, names_tools},
    tls::{Certificate, Hello, programs},
};
use crate::flow::Peers;
use rules::{
    endpoint::{Endpoint, Place},
    evidence::{Client, Facts, Implementation},
};
use std::net::IpAddr;

/// Name service itself, secure shell: never it.
const NEVER: [u16; 4] = [22, dns::DNS, DOT, dns::MDNS];
const DOT: u16 = 853;

/// Who wants something of whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) client: IpAddr,
    pub(crate) server: Endpoint,
}

impl Call {
    /// By the end that opened the connection, if that was seen.
    pub(super) fn of(peers: &Peers) -> Option<Call> {
        let client = peers.opener?;
        Some(Call { client: peers.endpoint(client).address, server: peers.endpoint(client.other()) })
    }

    /// Names the server was looked up by: the client's own first, then anybody's.
    fn names(self, cx: &Context<'_>) -> Vec<String> {
        let own = cx.world.names.asked(self.client, self.server.address, cx.now);
        own.chain(cx.world.names.known(self.server.address, cx.now)).map(str::to_owned).collect()
    }
}

/// A connection was made to an address that was looked up by name.
pub(super) fn by_name(call: Call, cx: &mut Context<'_>) {
    if NEVER.contains(&call.server.port) {
        return;
    }
    if let Some(name) = call.names(cx).into_iter().find(|n| names_mcp(n)) {
        let place = Place::new(call.server).with_host(&name);
        let detail = format!("{name} was looked up, then a connection made");
        cx.world.ledger.say(&place, "wire.context.dns-name", &detail, cx.now, Facts::default());
    } else if call.server.is_usual_port() {
        // What a name says is the site's convention to judge, not ours.
        let names: Vec<String> = cx.world.names.asked(call.client, call.server.address, cx.now).map(str::to_owned).collect();
        let Some(name) = names.first() else { return };
        let detail = format!("looked up {name}, then made a connection to port {}", call.server.port);
        let facts = Facts {
            client: Some(Client { address: call.client, software: None }),
            names: names.iter().cloned().collect(),
            ..Facts::default()
        };
        cx.world.ledger.say(&Place::new(call.server), "wire.client.named-connection", &detail, cx.now, facts);
    }
}

/// A client said, in the clear, whom it wants to speak to in secret.
pub(crate) fn by_hello(call: Call, hello: &Hello, over: &str, cx: &mut Context<'_>) {
    if let Some(reason) = secret_names(call.server, hello.name.as_deref(), over) {
        cx.world.lose(reason);
        return;
    }
    let name = hello.name.clone().or_else(|| call.names(cx).into_iter().next()).unwrap_or_default();
    let program = programs::program(&hello.ja4);
    let place = Place::new(call.server).with_host(&name);
    let by = program.map_or_else(|| format!("JA4 {}", hello.ja4), |p| format!("{p}, JA4 {}", hello.ja4));
    let software = program.map(|p| Implementation { name: format!("{p} (by its TLS hello)"), version: None });
    let facts = Facts { tls: Some(true), client: Some(Client { address: call.client, software }), ..Facts::default() };
    if names_mcp(&name) {
        let offers = hello.protocols.join(" ");
        let detail = format!("{over} to {name}, offering {}, by {by}", if offers.is_empty() { "nothing" } else { &offers });
        cx.world.ledger.say(&place, "wire.context.tls-name", &detail, cx.now, facts);
    } else if let Some(sign) = second_sign(call, &name, cx).filter(|_| program.is_some() && is_internal(call.server)) {
        let detail = format!("{over} {name} by {by}; {sign}");
        cx.world.ledger.say(&place, "wire.context.tls-program", &detail, cx.now, facts);
    }
}

/// A stack that MCP clients use says something of the client. Of the server only what agrees with it does.
fn second_sign(call: Call, name: &str, cx: &Context<'_>) -> Option<&'static str> {
    if call.server.is_usual_port() {
        Some("a port MCP servers often use")
    } else if name.is_empty() {
        // What is run for good has a name; what somebody started is called by its number.
        Some("called by its address, without a name")
    } else if names_tools(name) || call.names(cx).iter().any(|n| names_mcp(n) || names_tools(n)) {
        Some("a name as agents' tools have it")
    } else if cx.world.ledger.proven_address(call.server.address) {
        Some("an address where MCP was heard in the clear")
    } else {
        None
    }
}

/// A server showed its certificate in the clear.
pub(super) fn by_certificate(call: Call, certificate: &Certificate, cx: &mut Context<'_>) {
    let named = certificate.names.iter().find(|n| names_mcp(n));
    if named.is_none() && !names_mcp(&certificate.subject.replace(['=', ' ', ','], ".")) {
        return;
    }
    let place = Place::new(call.server).with_host(named.map_or("", String::as_str));
    let detail = format!("{} for {}, expires {}", certificate.subject, certificate.names.join(" "), certificate.expires);
    let facts = Facts { tls: Some(true), ..Facts::default() };
    cx.world.ledger.say(&place, "wire.context.certificate", &detail, cx.now, facts);
}

/// Segments said two things of the same bytes: what the server made of them, only asking it can tell.
pub(super) fn by_ambiguity(call: Call, cx: &mut Context<'_>) {
    if is_internal(call.server) && !NEVER.contains(&call.server.port) {
        let detail = "copies of the same bytes differ: what the server was told cannot be known from here";
        cx.world.ledger.say(&Place::new(call.server), "wire.context.ambiguous", detail, cx.now, Facts::default());
    }
}

/// Why names asked for here are not seen, if this is name service in secret (RFC 7858, 8484, 9250).
fn secret_names(server: Endpoint, name: Option<&str>, over: &str) -> Option<&'static str> {
    const RESOLVERS: [&str; 17] = [
        "cloudflare-dns.com",
        "one.one.one.one",
        "dns.google",
        "dns.quad9.net",
        "dns9.quad9.net",
        "dns10.quad9.net",
        "dns11.quad9.net",
        "doh.opendns.com",
        "dns.umbrella.com",
        "dns.nextdns.io",
        "dns.adguard-dns.com",
        "dns.adguard.com",
        "doh.cleanbrowsing.org",
        "dns.mullvad.net",
        "dns.controld.com",
        "doh.dns.apple.com",
        "doh.xfinity.com",
    ];
    let below = |zone: &&str| name.is_some_and(|n| n.strip_suffix(*zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    match server.port {
        DOT if over == "QUIC" => Some("dns-over-quic"),
        DOT => Some("dns-over-tls"),
        _ if RESOLVERS.iter().any(below) || (name.is_none() && is_public_resolver(server.address)) => Some("dns-over-https"),
        _ => None,
    }
}

/// Resolvers that clients are configured with by address.
fn is_public_resolver(address: IpAddr) -> bool {
    const V4: [[u8; 4]; 8] = [
        [1, 1, 1, 1],
        [1, 0, 0, 1],
        [8, 8, 8, 8],
        [8, 8, 4, 4],
        [9, 9, 9, 9],
        [149, 112, 112, 112],
        [208, 67, 222, 222],
        [208, 67, 220, 220],
    ];
    const V6: [[u16; 8]; 4] = [
        [0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111],
        [0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1001],
        [0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888],
        [0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe],
    ];
    match address.to_canonical() {
        IpAddr::V4(a) => V4.contains(&a.octets()),
        IpAddr::V6(a) => V6.contains(&a.segments()),
    }
}

fn is_internal(server: Endpoint) -> bool {
    match server.address.to_canonical() {
        IpAddr::V4(a) => a.is_private() || a.is_loopback() || a.is_link_local(),
        IpAddr::V6(a) => a.is_unique_local() || a.is_loopback() || a.is_unicast_link_local(),
    }
}
