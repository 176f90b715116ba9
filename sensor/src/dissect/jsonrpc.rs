//! JSON-RPC 2.0 messages out of a body, an event or a line; one or, in a batch, several.

use super::digest;
use serde_json::Value;

/// Members of a batch looked at.
const MAX_BATCH: usize = 64;

/// Equal ids have equal digests; `1` and `"1"` differ (JSON-RPC 2.0 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u64);

#[derive(Debug)]
pub enum Message {
    /// Without an id it is a notification.
    Request {
        id: Option<Id>,
        method: String,
        params: Value,
    },
    Result {
        id: Id,
        result: Value,
    },
    /// `id` is null or absent when the request could not be read; some SDKs send a text.
    Error {
        id: Option<Id>,
        code: i64,
        message: String,
        data: Value,
    },
}

/// Whether the bytes can be JSON-RPC at all: cheap, and never wrong about a real message.
pub fn plausible(bytes: &[u8]) -> bool {
    let body = trimmed(bytes);
    matches!(body.first(), Some(b'{' | b'['))
        && (memchr::memmem::find(body, b"\"jsonrpc\"").is_some() || memchr::memmem::find(body, b"\\u00").is_some())
}

/// All messages in `bytes`; none when it is not JSON-RPC 2.0. Nesting beyond 128 levels is refused by the parser.
pub fn parse(bytes: &[u8]) -> Vec<Message> {
    if !plausible(bytes) {
        return Vec::new();
    }
    match serde_json::from_slice(trimmed(bytes)) {
        Ok(Value::Array(members)) => members.into_iter().take(MAX_BATCH).filter_map(message).collect(),
        Ok(one) => message(one).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii()
}

fn message(value: Value) -> Option<Message> {
    let Value::Object(mut fields) = value else { return None };
    if fields.get("jsonrpc")?.as_str()? != "2.0" {
        return None;
    }
    let id = match fields.get("id") {
        Some(Value::String(text)) => Some(Id(digest(&[b"s", text.as_bytes()].concat()))),
        Some(Value::Number(number)) => Some(Id(digest(number.to_string().as_bytes()))),
        _ => None,
    };
    if let Some(Value::String(method)) = fields.remove("method") {
        return Some(Message::Request { id, method, params: fields.remove("params").unwrap_or_default() });
    }
    if let Some(result) = fields.remove("result") {
        return Some(Message::Result { id: id?, result });
    }
    let error = fields.remove("error")?;
    Some(Message::Error {
        id,
        code: error.get("code").and_then(Value::as_i64)?,
        message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
        data: error.get("data").cloned().unwrap_or_default(),
    })
}
