//! Where something answers.

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// Ports MCP servers are found on: SDK and product defaults, the lists of other scanners.
pub const USUAL_PORTS: [u16; 24] = [
    3000, 3001, 8000, 8080, 80, 443, 3002, 3232, 5000, 5001, 5678, 6274, 6277, 7071, 8001, 8081, 8085, 8443, 8787, 8811, 8888, 8931, 9000,
    10443,
];

/// A transport address: what a packet filter can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl Endpoint {
    /// IPv4-mapped IPv6 addresses (RFC 4291 §2.5.5.2) become IPv4: one server, one name.
    pub fn new(address: IpAddr, port: u16) -> Endpoint {
        Endpoint { address: address.to_canonical(), port }
    }

    /// Whether MCP servers are often found on this port, and little else of the web is.
    pub fn is_usual_port(self) -> bool {
        USUAL_PORTS.contains(&self.port) && !matches!(self.port, 80 | 443)
    }
}

impl fmt::Display for Endpoint {
    /// `10.0.0.5:3001`, `[2001:db8::1]:3001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<std::net::SocketAddr>().map(|s| Endpoint::new(s.ip(), s.port())).map_err(|_| format!("`{text}` is not ADDRESS:PORT"))
    }
}

/// Networks as they are written; what is within the IPv4-mapped addresses of IPv6 becomes IPv4, as addresses do.
pub fn networks<'de, D: Deserializer<'de>, C: FromIterator<IpNet>>(from: D) -> Result<C, D::Error> {
    Ok(Vec::<IpNet>::deserialize(from)?.into_iter().map(canonical).collect())
}

/// `::ffff:10.2.0.0/112` is `10.2.0.0/16`.
fn canonical(net: IpNet) -> IpNet {
    let mapped = || match net {
        IpNet::V6(six) => Ipv4Net::new(six.addr().to_ipv4_mapped()?, six.prefix_len().checked_sub(96)?).ok(),
        IpNet::V4(_) => None,
    };
    mapped().map_or(net, IpNet::V4)
}

/// An endpoint, and where behind it: one address and port may serve several names and paths (reverse proxies, bridges).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub endpoint: Endpoint,
    /// Request path without query, as on the wire, at most [`Place::MAX_PATH`] bytes. `None`: not seen (joined
    /// mid-stream, inside TLS, a listening socket).
    pub path: Option<String>,
    /// `Host` (or `:authority`, SNI) without port, lower case. `None`: not seen, or an IP literal.
    pub host: Option<String>,
}

impl Place {
    pub const MAX_PATH: usize = 256;
    pub const MAX_HOST: usize = 253;

    pub fn new(endpoint: Endpoint) -> Place {
        Place { endpoint, path: None, host: None }
    }

    /// Sets the path from a request target: the query is cut (it may hold a session or a secret), a trailing slash is
    /// dropped so that `/mcp` and `/mcp/` are one server, anything that is not an absolute path is ignored.
    pub fn with_target(mut self, target: &str) -> Place {
        let target = match target.find("://").and_then(|i| target.get(i + 3..)) {
            // absolute-form (RFC 9112 §3.2.2), as sent to proxies
            Some(rest) => rest.find('/').and_then(|i| rest.get(i..)).unwrap_or("/"),
            None => target,
        };
        let path = target.split(['?', '#']).next().unwrap_or_default();
        if path.starts_with('/') && path.len() <= Place::MAX_PATH {
            let trimmed = path.trim_end_matches('/');
            let kept = if trimmed.is_empty() { "/" } else { trimmed };
            self.path = Some(crate::printable::printable(kept, Place::MAX_PATH));
        }
        self
    }

    /// Sets the name from a `Host` header, `:authority` or SNI; an address literal is not a name.
    pub fn with_host(mut self, host: &str) -> Place {
        let bare = host.trim();
        let bare = match bare.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => bare,
        };
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        let plausible = !name.is_empty()
            && name.len() <= Place::MAX_HOST
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_')
            && name.parse::<IpAddr>().is_err();
        if plausible {
            self.host = Some(name);
        }
        self
    }
}

impl fmt::Display for Place {
    /// `10.0.0.5:3001/mcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.endpoint, self.path.as_deref().unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::new("10.0.0.5:3001".parse().unwrap())
    }

    #[test]
    fn queries_and_trailing_slashes_are_not_part_of_a_place() {
        assert_eq!(place().with_target("/messages/?session_id=abc").to_string(), "10.0.0.5:3001/messages");
        assert_eq!(place().with_target("http://x.test:1/mcp?a").path.as_deref(), Some("/mcp"));
        assert_eq!(place().with_target("/").path.as_deref(), Some("/"));
        assert_eq!(place().with_target("*").path, None);
    }

    #[test]
    fn a_host_is_a_name_without_port() {
        assert_eq!(place().with_host("Tools.Corp.Example:3001").host.as_deref(), Some("tools.corp.example"));
        for literal in ["10.0.0.5:3001", "[::1]:80", "::1", "a\u{1b}[2J", ""] {
            assert_eq!(place().with_host(literal).host, None, "{literal:?}");
        }
    }

    #[test]
    fn mapped_networks_are_ipv4() {
        let read = |text: &str| networks::<_, Vec<IpNet>>(&mut serde_json::Deserializer::from_str(text)).unwrap();
        let nets = read(r#"["::ffff:10.2.0.0/112", "::ffff:0.0.0.0/96", "::ffff:0:0/95", "::/0", "10.0.0.0/8", "fd00::/8"]"#);
        let said: Vec<String> = nets.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["10.2.0.0/16", "0.0.0.0/0", "::ffff:0.0.0.0/95", "::/0", "10.0.0.0/8", "fd00::/8"]);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!("[::ffff:10.0.0.5]:80".parse::<Endpoint>().unwrap().to_string(), "10.0.0.5:80");
    }
}
