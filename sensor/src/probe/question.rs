//! What a probe says: one question, and its bytes.
//!
//! Every question names itself, carries no credential, calls no tool, and is one HTTP/1.1 request.

use rules::{
    endpoint::Endpoint,
    mcp::{Revision, meta},
};
use serde_json::json;
use std::net::IpAddr;

/// The newest revision that has `initialize`.
pub const LEGACY: &str = Revision::LAST_LEGACY.as_str();
/// The stateless revision.
pub const MODERN: &str = Revision::FIRST_MODERN.as_str();
/// A revision that never was, for the negative control.
pub const BOGUS: &str = "1900-01-01";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `POST server/discover` (2026-07-28), with every header that revision requires.
    Discover,
    /// `POST initialize` (2025-11-25), without `MCP-Protocol-Version`.
    Initialize,
    /// The negative control: a method nobody has, under a revision that never was. A real server refuses.
    Control,
    /// `OPTIONS`: which methods a route takes. No handler of the server's runs in most frameworks.
    Routes,
    /// `POST` of a broken JSON text: a server with a JSON parser in front says so before any handler runs.
    Garbled,
    /// `GET`: whether there is a page, that is, whether this is made for browsers.
    Page,
    /// `GET /` under another name, or the own one to compare: whether other sites live at this endpoint.
    Site,
    /// `GET` an event stream, then `initialize` on the endpoint it announces, answered on the stream (2024-11-05).
    Stream,
    /// `initialize` as one line over bare TCP, then the negative control on the same connection.
    Lines,
    /// `GET` protected-resource metadata (RFC 9728).
    Metadata,
    /// `DELETE` of a session that a server minted for us.
    EndSession(String),
}

/// One question to one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub endpoint: Endpoint,
    pub tls: bool,
    /// HTTP/2, for a server that speaks nothing else.
    pub http2: bool,
    /// Show the test identity, if the server asks for a certificate.
    pub certified: bool,
    /// SNI. `None`: none is sent.
    pub server_name: Option<String>,
    /// `Host`, as sent.
    pub host: String,
    pub path: String,
    pub ask: Ask,
    /// The JSON-RPC id: an answer must repeat it.
    pub nonce: String,
}

/// How a probe presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A URL or an address where the asked may ask back.
    pub contact: String,
}

impl Identity {
    pub const NAME: &'static str = rules::evidence::Implementation::PROBE;
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    pub fn user_agent(&self) -> String {
        let contact: String = self.contact.chars().filter(|c| c.is_ascii_graphic() && !"()".contains(*c)).take(200).collect();
        if contact.is_empty() { format!("gnomon/{}", Self::VERSION) } else { format!("gnomon/{} (+{contact})", Self::VERSION) }
    }
}

impl Question {
    pub fn method(&self) -> &'static str {
        match self.ask {
            Ask::Discover | Ask::Initialize | Ask::Control | Ask::Garbled => "POST",
            Ask::Lines => "LINE",
            Ask::Routes => "OPTIONS",
            Ask::Page | Ask::Site | Ask::Stream | Ask::Metadata => "GET",
            Ask::EndSession(_) => "DELETE",
        }
    }

    /// In words, for evidence and dry runs: `POST /mcp server/discover`.
    pub fn words(&self) -> String {
        let what = match self.ask {
            Ask::Discover => " server/discover",
            Ask::Initialize => " initialize",
            Ask::Control => " negative control",
            Ask::Garbled => " broken JSON",
            Ask::Stream => " event stream",
            Ask::Lines => " initialize over bare TCP",
            Ask::Site => " under another name",
            _ => "",
        };
        format!("{} {}{what}", self.method(), self.path)
    }

    /// The request, ready to write.
    pub fn bytes(&self, identity: &Identity) -> Vec<u8> {
        let body = self.body();
        if self.ask == Ask::Lines {
            return line(body);
        }
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\n", self.method(), self.path, self.host, identity.user_agent());
        let accept = match self.ask {
            Ask::Stream => "text/event-stream",
            Ask::Page | Ask::Site | Ask::Routes | Ask::EndSession(_) => "*/*",
            Ask::Metadata => "application/json",
            _ => "application/json, text/event-stream",
        };
        head.push_str(&format!("Accept: {accept}\r\nAccept-Encoding: identity\r\nConnection: close\r\n"));
        match &self.ask {
            Ask::Discover => head.push_str(&format!("MCP-Protocol-Version: {MODERN}\r\nMcp-Method: server/discover\r\n")),
            Ask::Control => head.push_str(&format!("MCP-Protocol-Version: {BOGUS}\r\nMcp-Method: gnomon/control\r\n")),
            Ask::EndSession(id) => head.push_str(&format!("Mcp-Session-Id: {id}\r\n")),
            _ => {}
        }
        if let Some(body) = &body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body.unwrap_or_default().into_bytes());
        bytes
    }

    /// The negative control as a line, on the connection of [`Ask::Lines`]; `nonce` is its id.
    pub(super) fn control_line(&self, nonce: &str) -> Vec<u8> {
        line(Question { ask: Ask::Control, nonce: nonce.to_owned(), ..self.clone() }.body())
    }

    fn body(&self) -> Option<String> {
        let client = json!({"name": Identity::NAME, "version": Identity::VERSION});
        let (method, params) = match self.ask {
            Ask::Discover => ("server/discover", envelope(MODERN, &client)),
            Ask::Control => ("gnomon/control", envelope(BOGUS, &client)),
            Ask::Initialize | Ask::Lines => ("initialize", json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client})),
            Ask::Garbled => return Some("{".to_owned()),
            _ => return None,
        };
        Some(json!({"jsonrpc": "2.0", "id": self.nonce, "method": method, "params": params}).to_string())
    }
}

fn line(body: Option<String>) -> Vec<u8> {
    let mut bytes = body.unwrap_or_default().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// `params` of the stateless revision (2026-07-28 basic, `_meta`).
fn envelope(revision: &str, client: &serde_json::Value) -> serde_json::Value {
    json!({"_meta": {
        (meta::PROTOCOL_VERSION): revision,
        (meta::CLIENT_CAPABILITIES): {},
        (meta::CLIENT_INFO): client,
    }})
}

/// A request target that cannot smuggle anything into a request line; what is not one gives `None`.
pub fn safe_target(target: &str) -> Option<String> {
    let fine = target.starts_with('/') && target.len() <= 512 && target.bytes().all(|b| b.is_ascii_graphic());
    fine.then(|| target.split('#').next().unwrap_or_default().to_owned())
}

/// A `Host` value that cannot smuggle anything into a header.
pub fn safe_host(host: &str) -> Option<String> {
    let fine = !host.is_empty() && host.len() <= 255 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    fine.then(|| host.to_owned())
}

/// A session id that may be sent back (MCP 2025-03-26: visible ASCII).
pub fn safe_session(id: &str) -> Option<String> {
    let fine = !id.is_empty() && id.len() <= 512 && id.bytes().all(|b| b.is_ascii_graphic());
    fine.then(|| id.to_owned())
}

/// `name:port`, `10.0.0.5:3001`, `[::1]:3001`; the default port of the scheme is left out.
pub fn host_header(name: Option<&str>, endpoint: Endpoint, tls: bool) -> String {
    let host = match (name, endpoint.address) {
        (Some(name), _) => name.to_owned(),
        (None, IpAddr::V4(a)) => a.to_string(),
        (None, IpAddr::V6(a)) => format!("[{a}]"),
    };
    let default = if tls { 443 } else { 80 };
    if endpoint.port == default { host } else { format!("{host}:{}", endpoint.port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(ask: Ask) -> String {
        let endpoint: Endpoint = "10.0.0.5:3001".parse().unwrap();
        let host = host_header(None, endpoint, false);
        let q = Question {
            endpoint,
            tls: false,
            http2: false,
            certified: false,
            server_name: None,
            host,
            path: "/mcp".into(),
            ask,
            nonce: "n1".into(),
        };
        String::from_utf8(q.bytes(&Identity { contact: "https://x.test/scan".into() })).unwrap()
    }

    #[test]
    fn discover_has_every_modern_header_and_no_origin() {
        let text = question(Ask::Discover);
        for needle in ["MCP-Protocol-Version: 2026-07-28\r\n", "Mcp-Method: server/discover\r\n", "(+https://x.test/scan)", "gnomon-probe"]
        {
            assert!(text.contains(needle), "{needle} in {text}");
        }
        assert!(!text.contains("Origin") && !text.contains("Authorization"));
    }

    #[test]
    fn initialize_has_no_version_header() {
        assert!(!question(Ask::Initialize).contains("MCP-Protocol-Version"));
    }

    #[test]
    fn nothing_learned_can_break_out_of_its_line() {
        assert_eq!(safe_target("/a\r\nX: y"), None);
        assert_eq!(safe_target("/a b"), None);
        assert_eq!(safe_host("x\r\n"), None);
        assert_eq!(safe_session("a b"), None);
        assert_eq!(safe_target("/a?b#c").as_deref(), Some("/a?b"));
    }
}
