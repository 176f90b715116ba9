//! A backend, as it is dialled.

use super::address::{Source, objection};
use hyper::{Uri, header::HeaderValue};
use rules::{printable::printable, registry::Backend};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses tried for one connection.
const MAX_ADDRESSES: usize = 4;

/// Two targets that are equal may share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) tls: bool,
    /// Without brackets: for names and certificates.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: HeaderValue,
    /// Path and query, as the registration has them.
    pub(crate) path: Uri,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Addresses(Vec<IpAddr>),
    Name,
}

impl Target {
    /// The text behind the error says why this backend cannot be dialled.
    pub(crate) fn new(backend: &Backend) -> Result<Target, String> {
        let url = &backend.url;
        let host = url.host().ok_or("its URL has no host")?;
        let port = url.port_or_known_default().ok_or("its URL has no port")?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(format!("its URL's scheme is `{}`, not http or https", printable(other, 20))),
        };
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let place = match &host {
            url::Host::Ipv4(a) => Place::Addresses(vec![IpAddr::V4(*a)]),
            url::Host::Ipv6(a) => Place::Addresses(vec![IpAddr::V6(*a)]),
            url::Host::Domain(_) if !backend.addresses.is_empty() => {
                Place::Addresses(backend.addresses.iter().copied().take(MAX_ADDRESSES).collect())
            }
            // RFC 6761 §6.3: never a question to a resolver.
            url::Host::Domain("localhost") => Place::Addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            url::Host::Domain(_) => Place::Name,
        };
        Ok(Target {
            url: url.to_string(),
            tls,
            host: host.to_string().trim_matches(['[', ']']).to_owned(),
            port,
            authority: HeaderValue::try_from(authority).map_err(|_| "its URL's host cannot be sent")?,
            path: Uri::try_from(path).map_err(|_| "its URL's path cannot be sent")?,
            place,
        })
    }

    /// Where to connect, in order. Resolves only a name that was registered without addresses.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let (found, source) = match &self.place {
            Place::Addresses(pinned) => (pinned.iter().map(|a| SocketAddr::new(*a, self.port)).collect(), Source::Registered),
            Place::Name => (self.resolve().await?, Source::Resolved),
        };
        let mut good = Vec::new();
        let mut why = "it has no address".to_owned();
        for address in found {
            match objection(address.ip(), source) {
                None => good.push(address),
                Some(objection) => why = format!("{} is not connected to: {objection}", address.ip()),
            }
        }
        if good.is_empty() { Err(why) } else { Ok(good) }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|e| format!("the name {} cannot be resolved: {e}", printable(&self.host, 100)))?;
        Ok(found.take(MAX_ADDRESSES).collect())
    }
}
