//! Which headers cross the gateway: those named here, no others, in either direction.
//!
//! So nothing that authenticates (`Authorization`, `X-API-Key`, cookies), nothing that claims where a request comes from
//! (`Origin`, `Forwarded`, `X-Forwarded-*`, `X-User`, …), nothing hop-by-hop, and no answer that would set a cookie, open the
//! gateway to browsers or send the client to somebody else's authorization server can slip through for want of a rule.

use crate::{answer::CALL, validate::era::Era};
use hyper::{
    HeaderMap,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use rules::mcp::header;

pub(crate) const SESSION: HeaderName = HeaderName::from_static(header::SESSION_ID);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static(header::LAST_EVENT_ID);

const FROM_CLIENT: &[&str] = &[
    "accept",
    "accept-language",
    "user-agent",
    header::PROTOCOL_VERSION,
    header::METHOD,
    header::NAME,
    "traceparent",
    "tracestate",
    "baggage",
];

const FROM_BACKEND: &[&str] = &[
    "content-type",
    "content-encoding",
    "content-language",
    "cache-control",
    "retry-after",
    "allow",
    header::PROTOCOL_VERSION,
    "x-accel-buffering",
];

/// `extra`: further names the configuration lets through. `session`: the backend's own id.
pub(crate) fn to_backend(
    client: &HeaderMap,
    era: Era,
    extra: &[String],
    host: &HeaderValue,
    session: Option<&str>,
    call: &str,
) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(16);
    out.insert(HOST, host.clone());
    for (name, value) in client {
        let known = FROM_CLIENT.contains(&name.as_str()) || name.as_str().starts_with(header::PARAM_PREFIX);
        if known || extra.iter().any(|e| e == name.as_str()) {
            out.append(name.clone(), value.clone());
        }
    }
    // In our words: what is forwarded was read as JSON in UTF-8, and a parameter of the client's could have the backend read it otherwise.
    if client.contains_key(CONTENT_TYPE) {
        out.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // A list in a compressed answer could not be read.
    out.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if era == Era::Legacy {
        if let Some(last) = client.get(LAST_EVENT_ID) {
            out.insert(LAST_EVENT_ID, last.clone());
        }
        if let Some(id) = session.and_then(|s| HeaderValue::try_from(s).ok()) {
            out.insert(SESSION, id);
        }
    }
    if let Ok(call) = HeaderValue::try_from(call) {
        out.insert(CALL, call);
    }
    out
}

pub(crate) fn to_client(backend: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(12);
    for (name, value) in backend {
        if FROM_BACKEND.contains(&name.as_str()) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let pair = |(n, v): &(&str, &str)| (n.parse::<HeaderName>().unwrap(), HeaderValue::try_from(*v).unwrap());
        headers.iter().map(pair).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_proves_or_claims_an_identity_stays_here() {
        let client = map(&[
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "a=b"),
            ("origin", "http://localhost"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("x-user", "root"),
            ("x-real-ip", "1.2.3.4"),
            ("proxy-authorization", "x"),
            ("connection", "x-user"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("host", "evil.test"),
            ("mcp-session-id", "sealed"),
            ("x-gnomon-call", "forged"),
            ("accept-encoding", "gzip"),
            ("accept", "application/json"),
            ("content-type", "application/json; x=\";charset=utf-7\""),
            ("mcp-param-region", "eu"),
            ("x-tenant", "1"),
        ]);
        let ours = HeaderValue::from_static("backend:3001");
        let out = to_backend(&client, Era::Legacy, &["x-tenant".into()], &ours, Some("upstream"), "c1");
        assert_eq!(
            names(&out),
            ["accept", "accept-encoding", "content-type", "host", "mcp-param-region", "mcp-session-id", "x-gnomon-call", "x-tenant",]
        );
        assert_eq!(out["content-type"], "application/json");
        assert_eq!(
            (&out["host"], &out["mcp-session-id"], &out["x-gnomon-call"]),
            (&ours, &"upstream".parse().unwrap(), &"c1".parse().unwrap())
        );
        assert!(!to_backend(&client, Era::Modern, &[], &ours, Some("upstream"), "c1").contains_key("mcp-session-id"));
    }

    #[test]
    fn an_answer_brings_no_cookie_no_challenge_and_no_permission_for_browsers() {
        let backend = map(&[
            ("content-type", "application/json"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Bearer resource_metadata=\"http://169.254.169.254/\""),
            ("access-control-allow-origin", "*"),
            ("location", "http://evil"),
            ("mcp-session-id", "raw"),
            ("alt-svc", "h3"),
            ("server", "x"),
            ("link", "<x>"),
            ("refresh", "0"),
            ("transfer-encoding", "chunked"),
            ("x-gnomon-call", "forged"),
        ]);
        assert_eq!(names(&to_client(&backend)), ["content-type"]);
    }
}
