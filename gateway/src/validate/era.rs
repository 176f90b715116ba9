//! Which protocol era does a request belong to, and do its headers say what its body says?
//!
//! The 2026-07-28 revision repeats parts of the body in headers so that intermediaries can route by them; whoever reads the
//! body has to check that both agree, else one reader is led past another. Everything earlier has no such headers.

use super::envelope::{Envelope, Kind, Message};
use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{HeaderMap, header::HeaderName};
pub(crate) use rules::mcp::Era;
use rules::mcp::{
    code::{HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST},
    header,
};

pub(crate) const VERSION: HeaderName = HeaderName::from_static(header::PROTOCOL_VERSION);
pub(crate) const METHOD: HeaderName = HeaderName::from_static(header::METHOD);
pub(crate) const NAME: HeaderName = HeaderName::from_static(header::NAME);

/// A disagreement; answered with HTTP 400 and this JSON-RPC code.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mismatch {
    pub(crate) code: i64,
    pub(crate) why: String,
}

/// What the headers alone say, for requests whose body was not (or cannot be) read. A revision that is named decides; a method
/// header without one is a modern request that lost its revision.
pub(crate) fn of_headers(headers: &HeaderMap) -> Era {
    let named = value(headers, &VERSION).ok().flatten().and_then(Era::of);
    named.unwrap_or(if headers.contains_key(METHOD) { Era::Modern } else { Era::Legacy })
}

/// Any modern mark makes the whole request modern, so that leaving out a header never leads to laxer rules.
pub(crate) fn check(headers: &HeaderMap, envelope: &Envelope) -> Result<Era, Mismatch> {
    single_lines(headers)?;
    let marked = envelope.messages.iter().any(|m| m.meta.version.is_some() || m.meta.capabilities);
    if !marked && of_headers(headers) == Era::Legacy {
        // These headers mean nothing yet in this era; but whoever reads them all the same must not be misled.
        for message in &envelope.messages {
            agree(headers, message)?;
        }
        return Ok(Era::Legacy);
    }
    let [message] = envelope.messages.as_slice() else {
        return Err(Mismatch { code: INVALID_REQUEST, why: "this protocol revision has no batches: send one message per request".into() });
    };
    if envelope.batch {
        return Err(Mismatch { code: INVALID_REQUEST, why: "this protocol revision has no batches: send the message itself".into() });
    }
    modern(headers, message).map(|()| Era::Modern)
}

fn modern(headers: &HeaderMap, message: &Message) -> Result<(), Mismatch> {
    let version = value(headers, &VERSION)?.ok_or_else(|| mismatch("the header MCP-Protocol-Version is missing"))?;
    let request = matches!(message.kind, Kind::Request(_));
    if request && (message.meta.version.is_none() || !message.meta.capabilities) {
        let why = "`params._meta` must hold io.modelcontextprotocol/protocolVersion (text) and io.modelcontextprotocol/clientCapabilities (object)";
        return Err(Mismatch { code: INVALID_PARAMS, why: why.into() });
    }
    if message.meta.version.as_deref().is_some_and(|v| v != version) {
        return Err(mismatch("the header MCP-Protocol-Version differs from `params._meta`"));
    }
    if request && !headers.contains_key(METHOD) {
        return Err(mismatch("the header Mcp-Method is missing"));
    }
    // Of a task's id only its extension speaks: there an absent header is the backend's to judge.
    if request && message.name.is_some() && !headers.contains_key(NAME) && !message.method.starts_with("tasks/") {
        return Err(mismatch("the header Mcp-Name is missing"));
    }
    agree(headers, message)
}

/// Present, the headers say what the body says. (What a notification's headers should be is not defined, so they may be absent.)
fn agree(headers: &HeaderMap, message: &Message) -> Result<(), Mismatch> {
    if value(headers, &METHOD)?.is_some_and(|m| m != message.method) {
        return Err(mismatch("the header Mcp-Method differs from `method`"));
    }
    match (value(headers, &NAME)?, &message.name) {
        (Some(header), Some(name)) if decoded(header)? != *name => Err(mismatch("the header Mcp-Name differs from the name in `params`")),
        _ => Ok(()),
    }
}

/// Two lines of one header are read differently by different readers.
fn single_lines(headers: &HeaderMap) -> Result<(), Mismatch> {
    let twice = headers.keys().find(|name| name.as_str().starts_with(header::PREFIX) && headers.get_all(*name).iter().nth(1).is_some());
    match twice {
        Some(name) => Err(mismatch(format!("the header {name} stands twice"))),
        None => Ok(()),
    }
}

/// The only line of this header, without the white space around it (RFC 9110 §5.5).
fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Mismatch> {
    let text = |v: &'a hyper::header::HeaderValue| v.to_str().map_err(|_| mismatch(format!("the header {name} is not plain ASCII")));
    Ok(headers.get(name).map(text).transpose()?.map(|v| v.trim_matches([' ', '\t'])))
}

/// `=?base64?…?=` stands for text that a header cannot carry.
fn decoded(value: &str) -> Result<String, Mismatch> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|v| v.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    let bytes = BASE64_STANDARD.decode(inner).map_err(|_| mismatch("the header Mcp-Name is not valid base64"))?;
    String::from_utf8(bytes).map_err(|_| mismatch("the header Mcp-Name is not UTF-8"))
}

fn mismatch(why: impl Into<String>) -> Mismatch {
    Mismatch { code: HEADER_MISMATCH, why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const META: &str =
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    /// The era, or the code of the refusal.
    fn judge(headers: &[(&str, &str)], body: &str) -> Result<Era, i64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let body = body.replace("META", META);
        check(&map, &Envelope::read(body.as_bytes(), 64).unwrap()).map_err(|m| m.code)
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"grüßen",META}}"#;
    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{META}}"#;
    const BARE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    const V: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const M: (&str, &str) = ("Mcp-Method", "tools/list");

    #[test]
    fn the_era_follows_from_any_modern_mark() {
        assert_eq!(judge(&[], BARE), Ok(Era::Legacy));
        assert_eq!(judge(&[("mcp-protocol-version", "2025-11-25")], BARE), Ok(Era::Legacy));
        assert_eq!(judge(&[V, M], LIST), Ok(Era::Modern));
        let related = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.modelcontextprotocol/related-task":{}}}}"#;
        assert_eq!(judge(&[], related), Ok(Era::Legacy), "2025-11-25 uses that prefix as well");
    }

    #[test]
    fn dropping_a_mark_never_leads_to_laxer_rules() {
        assert_eq!(judge(&[], LIST), Err(HEADER_MISMATCH));
        assert_eq!(judge(&[M], LIST), Err(HEADER_MISMATCH));
        assert_eq!(judge(&[V], LIST), Err(HEADER_MISMATCH));
        assert_eq!(judge(&[("mcp-protocol-version", "2025-11-25"), M], LIST), Err(HEADER_MISMATCH));
        assert_eq!(judge(&[V, M], BARE), Err(INVALID_PARAMS));
        assert_eq!(judge(&[M], BARE), Err(HEADER_MISMATCH));
        assert_eq!(judge(&[M, ("mcp-protocol-version", "soon")], BARE), Err(INVALID_PARAMS));
    }

    #[test]
    fn a_request_that_names_an_older_revision_is_of_that_but_may_not_mislead_readers_of_headers() {
        let old = ("mcp-protocol-version", "2025-11-25");
        assert_eq!(judge(&[old, M], BARE), Ok(Era::Legacy));
        assert_eq!(judge(&[old, ("mcp-method", "ping")], BARE), Err(HEADER_MISMATCH));
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}"#;
        assert_eq!(judge(&[old, ("mcp-name", "read")], call), Err(HEADER_MISMATCH));
    }

    #[test]
    fn headers_repeat_the_body_exactly() {
        let call = ("mcp-method", "tools/call");
        let name = ("mcp-name", "=?base64?Z3LDvMOfZW4=?=");
        assert_eq!(judge(&[V, call, name], CALL), Ok(Era::Modern));
        assert_eq!(judge(&[V, ("mcp-method", " tools/call\t"), name], CALL), Ok(Era::Modern));
        for wrong in [
            vec![V, call],
            vec![V, call, ("mcp-name", "gruessen")],
            vec![V, call, ("mcp-name", "=?base64?%%?=")],
            vec![V, call, ("mcp-name", "=?BASE64?Z3LDvMOfZW4=?=")],
            vec![V, ("mcp-method", "TOOLS/CALL"), name],
            vec![V, ("mcp-method", "tools/list"), name],
            vec![V, V, call, name],
            vec![V, call, name, name],
            vec![V, call, call, name],
        ] {
            assert_eq!(judge(&wrong, CALL), Err(HEADER_MISMATCH), "{wrong:?}");
        }
    }

    #[test]
    fn notifications_may_leave_headers_out_but_not_contradict() {
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#;
        assert_eq!(judge(&[V], note), Ok(Era::Modern));
        assert_eq!(judge(&[V, ("mcp-method", "notifications/progress")], note), Err(HEADER_MISMATCH));
    }

    #[test]
    fn batches_are_legacy_only() {
        assert_eq!(judge(&[], &format!("[{BARE}]")), Ok(Era::Legacy));
        assert_eq!(judge(&[V, M], &format!("[{BARE}]")), Err(INVALID_REQUEST));
        assert_eq!(judge(&[V, M], &format!("[{LIST},{LIST}]")), Err(INVALID_REQUEST));
    }
}
