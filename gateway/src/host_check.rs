//! Before anybody is asked who they are: is the request addressed to this gateway, by a program and not by a web page?
//!
//! A browser sends what a page tells it to. `Host` gives away a name that was rebound to this address (DNS rebinding), and
//! `Origin` and `Sec-Fetch-Site` give away a page of somebody else's.

use hyper::{
    HeaderMap, Uri,
    header::{HOST, HeaderName, ORIGIN},
};
use std::{collections::BTreeSet, net::IpAddr};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names this gateway answers to.
#[derive(Debug)]
pub(crate) struct HostCheck {
    names: BTreeSet<String>,
    origins: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misaddressed {
    /// No `Host`, several, or one that cannot be read; or a request meant for a proxy.
    Unclear,
    /// Another name than ours.
    Host,
    /// From a web page of another origin.
    Origin,
}

impl HostCheck {
    pub(crate) fn new(public_names: &[String], origins: &[String]) -> HostCheck {
        let lower = |s: &String| s.trim().trim_end_matches('/').to_ascii_lowercase();
        HostCheck { names: public_names.iter().map(lower).collect(), origins: origins.iter().map(lower).collect() }
    }

    /// `local` is the address the client connected to: as a literal in `Host` it cannot be a rebound name.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap, local: IpAddr) -> Result<(), Misaddressed> {
        if uri.authority().is_some() || uri.scheme().is_some() {
            return Err(Misaddressed::Unclear);
        }
        let host = only(headers, &HOST).ok_or(Misaddressed::Unclear)?.to_ascii_lowercase();
        let name = without_port(&host).ok_or(Misaddressed::Unclear)?;
        if !self.is_ours(name, local.to_canonical()) {
            return Err(Misaddressed::Host);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, &ORIGIN).ok_or(Misaddressed::Origin)?.to_ascii_lowercase();
            let own = origin.strip_prefix("http://").or(origin.strip_prefix("https://")) == Some(host.as_str());
            return if own || self.origins.contains(&origin) { Ok(()) } else { Err(Misaddressed::Origin) };
        }
        // A page may send some requests without `Origin`, but not without this.
        match headers.get(SEC_FETCH_SITE).map(|v| v.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(Misaddressed::Origin),
        }
    }

    fn is_ours(&self, name: &str, local: IpAddr) -> bool {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(literal) => {
                let literal = literal.to_canonical();
                literal == local || literal.is_loopback() || self.names.contains(bare)
            }
            // Also when the connection came from outside: a container's port may be published on the host's loopback.
            Err(_) => name == "localhost" || self.names.contains(name),
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() { None } else { line.to_str().ok() }
}

/// `name`, `name:port`, `[v6]`, `[v6]:port` and nothing else.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok() && p.bytes().all(|b| b.is_ascii_digit()));
    let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let name_ok = match literal {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    (port_ok && name_ok).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn check(headers: &[(&str, &str)]) -> Result<(), Misaddressed> {
        at("127.0.0.1", "/mcp/v1/tools/a/rpc", headers)
    }

    fn at(local: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Misaddressed> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let ours = HostCheck::new(&["Tools.Corp.Example".into()], &["https://console.corp.example/".into()]);
        ours.check(&uri.parse().unwrap(), &map, local.parse().unwrap())
    }

    #[test]
    fn our_names_pass() {
        for host in ["localhost", "LOCALHOST:7413", "127.0.0.1:7413", "[::1]:7413", "tools.corp.example", "Tools.corp.example:443"] {
            assert_eq!(check(&[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(at("10.0.0.5", "/", &[("host", "10.0.0.5:7413")]), Ok(()));
        assert_eq!(at("::ffff:10.0.0.5", "/", &[("host", "10.0.0.5:7413")]), Ok(()));
    }

    #[test]
    fn a_rebound_or_foreign_name_does_not() {
        for host in ["evil.test", "localhost.evil.test", "tools.corp.example.evil.test", "10.0.0.5", "[2001:db8::1]", "localhost."] {
            assert_eq!(check(&[("host", host)]), Err(Misaddressed::Host), "{host}");
        }
    }

    #[test]
    fn an_unclear_address_is_refused() {
        for host in [
            "",
            ":80",
            "a b",
            "localhost:",
            "localhost:+1",
            "localhost:99999",
            "[::1",
            "localhost@evil.test",
            "localhost/x",
            "::1",
            "localhost:80:80",
        ] {
            assert_eq!(check(&[("host", host)]), Err(Misaddressed::Unclear), "{host}");
        }
        assert_eq!(check(&[]), Err(Misaddressed::Unclear));
        assert_eq!(check(&[("host", "localhost"), ("host", "localhost")]), Err(Misaddressed::Unclear));
        let absolute = at("127.0.0.1", "http://evil.test/mcp/v1/tools/a/rpc", &[("host", "localhost")]);
        assert_eq!(absolute, Err(Misaddressed::Unclear));
    }

    #[test]
    fn pages_of_others_are_refused() {
        let with = |name, value| check(&[("host", "localhost:7413"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:7413"), Ok(()));
        assert_eq!(with("origin", "https://Console.corp.example"), Ok(()));
        assert_eq!(with("sec-fetch-site", "same-origin"), Ok(()));
        for origin in ["null", "http://evil.test", "http://localhost:3000", "http://localhost", "https://console.corp.example.evil.test"] {
            assert_eq!(with("origin", origin), Err(Misaddressed::Origin), "{origin}");
        }
        assert_eq!(with("sec-fetch-site", "cross-site"), Err(Misaddressed::Origin));
        let two = check(&[("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")]);
        assert_eq!(two, Err(Misaddressed::Origin));
    }
}
