//! A request's body, read once and within bounds.

use crate::{
    answer::{Ids, Refusal, Whose},
    audit::{Outcome, Record},
    config::Bounds,
    validate::envelope::Envelope,
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, StatusCode,
    body::{Body as _, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT},
    http::request::Parts,
};
use rules::printable::printable;
use std::time::Duration;
use tokio::time::timeout;

/// Of a body that is refused for its length, so much more is read, for so long.
const SPILL_BYTES: usize = 64 << 20;
const SPILL_TIME: Duration = Duration::from_secs(5);

/// What a request says.
#[derive(Clone, Debug)]
pub(crate) struct RequestContent {
    pub(crate) http: Method,
    pub(crate) body: Bytes,
    /// Of a POST; GET opens a stream, DELETE ends a session.
    pub(crate) envelope: Option<Envelope>,
}

impl RequestContent {
    /// Into the audit record: names, cut and printable, and the hash of the parameters.
    pub(crate) fn describe(&self, record: &mut Record) {
        let Some(envelope) = &self.envelope else { return };
        let join = |names: Vec<&str>| Some(printable(&names.join(","), 256)).filter(|s| !s.is_empty());
        record.method = join(envelope.messages.iter().map(|m| m.method.as_str()).collect());
        record.tool = join(envelope.messages.iter().filter_map(|m| m.tool.as_deref()).collect());
        record.params = match envelope.messages.as_slice() {
            [one] => Some(one.params.clone()).filter(|p| !p.is_empty()),
            many => Some(crate::validate::json::digest(&many.iter().map(|m| m.params.as_str()).collect())),
        };
    }
}

pub(crate) async fn request(parts: &Parts, body: Incoming, bounds: &Bounds) -> Result<RequestContent, Refusal> {
    let http = parts.method.clone();
    match http {
        Method::POST => {}
        Method::GET | Method::DELETE => return Ok(RequestContent { http, body: Bytes::new(), envelope: None }),
        _ => {
            let error = format!("an MCP endpoint takes no {}", printable(http.as_str(), 16));
            return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "read.method", error, "send requests by POST").allow("POST, GET, DELETE"));
        }
    }
    readable(parts)?;
    let body = collect(body, bounds, parts.headers.contains_key(EXPECT)).await?;
    let envelope = Envelope::read(&body, bounds.depth).map_err(|m| {
        refusal(StatusCode::BAD_REQUEST, "validate.json-rpc", m.why, "send one JSON-RPC 2.0 message").code(m.code).to(Ids::One(m.id))
    })?;
    Ok(RequestContent { http, body, envelope: Some(envelope) })
}

/// Plain JSON, declared as such: pages of others cannot send that type unasked, and nothing has to be unpacked to be checked.
fn readable(parts: &Parts) -> Result<(), Refusal> {
    let types: Vec<_> = parts.headers.get_all(CONTENT_TYPE).iter().filter_map(|v| v.to_str().ok()).collect();
    let declared = match types.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    let json = declared.and_then(|d| d.split(';').next()).is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
    let packed = parts.headers.get_all(CONTENT_ENCODING).iter().any(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
    let unsupported = |rule, error: &str, hint: &str| Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, rule, error.to_owned(), hint));
    match (json, packed) {
        (false, _) => unsupported("read.type", "the body is not declared as JSON", "send `Content-Type: application/json`"),
        (_, true) => unsupported("read.encoding", "the body is compressed", "send it without Content-Encoding"),
        _ if !declared.is_some_and(in_utf8) => {
            unsupported("read.charset", "the body is declared in another charset than UTF-8", "send JSON in UTF-8")
        }
        _ => Ok(()),
    }
}

/// JSON is UTF-8 (RFC 8259 §8.1). Servers that go by another charset read other messages in the same bytes: in UTF-7 `+ACI-` ends a
/// text that goes on here.
fn in_utf8(declared: &str) -> bool {
    let charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    declared.split(';').skip(1).filter_map(charset).all(|c| c == "utf-8" || c == "utf8")
}

async fn collect(mut body: Incoming, bounds: &Bounds, asks_first: bool) -> Result<Bytes, Refusal> {
    let large = || {
        let error = format!("the body is larger than {} bytes", bounds.body_bytes);
        refusal(StatusCode::PAYLOAD_TOO_LARGE, "read.size", error, "send less, or ask an administrator to raise gateway.bounds.body_bytes")
    };
    if body.size_hint().lower() > bounds.body_bytes as u64 {
        if !asks_first {
            spill(&mut body).await;
        }
        return Err(large());
    }
    match timeout(bounds.body_time.0, Limited::new(&mut body, bounds.body_bytes).collect()).await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(why)) if why.downcast_ref::<LengthLimitError>().is_some() => {
            spill(&mut body).await;
            Err(large())
        }
        Ok(Err(why)) => {
            let error = format!("the body did not arrive whole: {}", printable(&why.to_string(), 100));
            Err(refusal(StatusCode::BAD_REQUEST, "read.broken", error, "send it again"))
        }
        Err(_) => {
            let error = format!("the body did not arrive within {}", bounds.body_time);
            Err(refusal(StatusCode::REQUEST_TIMEOUT, "read.slow", error, "send it faster"))
        }
    }
}

/// Most clients send all before they read: answered in between, they see a broken connection and never why. So what is too long is
/// taken and dropped, within bounds; who waits for `100 Continue` has sent nothing yet.
async fn spill(body: &mut Incoming) {
    let mut left = SPILL_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Whether it came to an end or not, it is refused.
    drop(timeout(SPILL_TIME, rest).await);
}

fn refusal(status: StatusCode, rule: &'static str, error: String, hint: &str) -> Refusal {
    Refusal::new(status, Outcome::Invalid, rule, Whose::Caller, error).what_to_do(hint)
}
