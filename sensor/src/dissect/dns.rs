//! Name service as a source: what was answered and announced (RFC 1035, 2782, 4795, 6762, 6763, 7766, 9460).

use super::Context;
use hickory_proto::{
    op::{Message, MessageType},
    rr::{
        Name, RData, Record,
        rdata::{SVCB, TXT, svcb::SvcParamValue},
    },
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod announce;

/// Records looked at in one message.
const MAX_RECORDS: usize = 64;

/// Every message has as much (RFC 1035 §4.1.1), in bytes.
pub const HEADER: usize = 12;

pub const DNS: u16 = 53;
pub const MDNS: u16 = 5353;
pub const LLMNR: u16 = 5355;

/// Whether a label of the name is `mcp`, or has it as a word: `mcp.corp.example`, `tools-mcp.corp.example`.
pub fn names_mcp(name: &str) -> bool {
    has_word(name, &["mcp"])
}

/// Whether a label of the name has a word that people give to what agents use. Alone it says nothing.
pub fn names_tools(name: &str) -> bool {
    has_word(name, &["agent", "agents", "ai", "assistant", "copilot", "genai", "llm", "llms", "sse", "tool", "tools"])
}

fn has_word(name: &str, words: &[&str]) -> bool {
    name.split(['.', '-', '_']).any(|word| words.iter().any(|w| word.eq_ignore_ascii_case(w)))
}

/// Takes one message off the wire, sent from `port` to `client`, which is nobody's address when the whole link was told.
pub fn message(bytes: &[u8], port: u16, client: IpAddr, cx: &mut Context<'_>) {
    let Ok(message) = Message::from_vec(bytes) else {
        if !cx.world.names_told_elsewhere {
            cx.world.lose("undecodable-dns");
        }
        return;
    };
    if message.metadata.message_type != MessageType::Response {
        return;
    }
    let asked = message.queries.first().map(|q| plain(q.name())).filter(|name| port != MDNS && !name.is_empty());
    let answer = DnsAnswer { asked, client: (!client.is_multicast()).then_some(client) };
    let records = message.answers.iter().chain(&message.authorities).chain(&message.additionals);
    for record in records.take(MAX_RECORDS) {
        answer.take(record, cx);
    }
}

struct DnsAnswer {
    /// Through aliases, the name that was asked for is the one people know.
    asked: Option<String>,
    client: Option<IpAddr>,
}

impl DnsAnswer {
    fn take(&self, record: &Record, cx: &mut Context<'_>) {
        let own = plain(&record.name);
        match &record.data {
            RData::A(a) => self.address(&own, IpAddr::V4(a.0), record.ttl, cx),
            RData::AAAA(a) => self.address(&own, IpAddr::V6(a.0), record.ttl, cx),
            RData::SRV(service) => {
                let (target, port) = (plain(&service.target), service.port);
                cx.world.names.service(&own, |s| {
                    s.mcp |= is_mcp_instance(&own);
                    (s.target, s.port) = (Some(target), Some(port));
                });
                announce::instance(&own, cx);
            }
            RData::TXT(text) => self.text(&own, text, cx),
            RData::HTTPS(https) => self.binding(&own, &https.0, record.ttl, cx),
            RData::SVCB(svcb) => self.binding(&own, svcb, record.ttl, cx),
            RData::PTR(pointer) => {
                if let Some(address) = reverse(&own) {
                    cx.world.names.learn(None, address, &plain(&pointer.0), record.ttl, cx.now);
                }
            }
            _ => {}
        }
    }

    fn address(&self, own: &str, address: IpAddr, ttl: u32, cx: &mut Context<'_>) {
        // The end of an alias chain first, so that the name that was asked for is the latest.
        let asked = self.asked.as_deref().filter(|asked| reverse(asked).is_none() && !asked.starts_with('_'));
        for name in [Some(own), asked].into_iter().flatten() {
            cx.world.names.learn(self.client, address, name, ttl, cx.now);
        }
        cx.world.names.host(own, address);
        announce::host(own, cx);
    }

    /// `path=` of a web service (RFC 6763 §6, IANA `http`), and `url=` of `_mcp`, as drafts have it.
    fn text(&self, own: &str, text: &TXT, cx: &mut Context<'_>) {
        for pair in text.txt_data.iter().take(MAX_RECORDS).filter_map(|bytes| std::str::from_utf8(bytes).ok()) {
            let Some((key, value)) = pair.split_once('=') else { continue };
            if key.eq_ignore_ascii_case("path") && (is_mcp_instance(own) || is_mcp_path(value)) {
                let path = format!("/{}", value.trim_start_matches('/'));
                cx.world.names.service(own, |s| (s.path, s.mcp) = (Some(path), true));
            } else if key.eq_ignore_ascii_case("url") && is_mcp_instance(own) {
                let Ok(url) = url::Url::parse(value) else { continue };
                let (host, port) = (url.host_str().map(str::to_ascii_lowercase), url.port_or_known_default());
                cx.world.names.service(own, |s| {
                    (s.target, s.port, s.path, s.mcp) = (host, port, Some(url.path().to_owned()), true);
                });
            }
        }
        announce::instance(own, cx);
    }

    /// Addresses in hints, and a port of its own (RFC 9460 §7).
    fn binding(&self, own: &str, binding: &SVCB, ttl: u32, cx: &mut Context<'_>) {
        let target = plain(&binding.target_name);
        let target = if target.is_empty() { own.trim_start_matches('_').to_owned() } else { target };
        for (_, value) in binding.svc_params.iter().take(MAX_RECORDS) {
            match value {
                SvcParamValue::Ipv4Hint(hint) => hint.0.iter().take(8).for_each(|a| self.address(&target, a.0.into(), ttl, cx)),
                SvcParamValue::Ipv6Hint(hint) => hint.0.iter().take(8).for_each(|a| self.address(&target, a.0.into(), ttl, cx)),
                SvcParamValue::Port(port) if is_mcp_instance(own) || names_mcp(own) => {
                    let (target, port) = (target.clone(), *port);
                    cx.world.names.service(own, |s| (s.target, s.port, s.mcp) = (Some(target), Some(port), true));
                }
                _ => {}
            }
        }
        announce::instance(own, cx);
    }
}

/// `_mcp._tcp.corp.example`, `Warehouse tools._mcp._tcp.local`, `_mcp.corp.example`.
fn is_mcp_instance(name: &str) -> bool {
    name.split('.').any(|label| label == "_mcp")
}

fn is_mcp_path(path: &str) -> bool {
    path.split('/').any(|part| part == "mcp")
}

/// The address in `5.0.0.10.in-addr.arpa` or `….ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let mut octets: Vec<u8> = octets.split('.').map(|o| o.parse().ok()).collect::<Option<_>>()?;
        octets.reverse();
        return <[u8; 4]>::try_from(octets).ok().map(|o| Ipv4Addr::from(o).into());
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let digits: String = nibbles.split('.').rev().collect();
    let all = digits.len() == 32 && nibbles.len() == 63;
    all.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(|bits| Ipv6Addr::from(bits).into())
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
