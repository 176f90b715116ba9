//! JSON-RPC 2.0 messages out of a body, an event or a line; one or, in a batch, several.

use super::digest;
use crate::json;
use serde_json::Value;

/// Messages of a batch looked at; what else is among its members costs no more than its bytes.
const MAX_BATCH: usize = 64;

/// Equal ids have equal digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// `1` and `"1"` differ (JSON-RPC 2.0 §4).
    exact: u64,
    /// `1`, `1.0` and `"1"` are alike: servers that give back the one for the other are understood by clients.
    pub alike: u64,
}

impl Id {
    fn of(value: &Value) -> Option<Id> {
        match value {
            Value::String(text) => {
                let exact = digest(&[b"s", text.as_bytes()].concat());
                let number = text.parse::<i64>().is_ok_and(|n| n.to_string() == *text);
                Some(Id { exact, alike: if number { digest(text.as_bytes()) } else { exact } })
            }
            Value::Number(number) => Some(Id { exact: digest(number.to_string().as_bytes()), alike: digest(whole(number).as_bytes()) }),
            _ => None,
        }
    }
}

/// A number as an integer, where it is one (up to 2^53, beyond which floats leave some out).
fn whole(number: &serde_json::Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

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
    if json::is_utf16(body) {
        return memchr::memmem::find(body, b"j\0s\0o\0n\0r\0p\0c").is_some();
    }
    matches!(body.first(), Some(b'{' | b'['))
        && (memchr::memmem::find(body, b"\"jsonrpc\"").is_some() || memchr::memmem::find(body, b"\\u00").is_some())
}

/// All messages in `bytes`; none when it is not JSON-RPC 2.0.
pub fn parse(bytes: &[u8]) -> Vec<Message> {
    if !plausible(bytes) {
        return Vec::new();
    }
    match json::read(trimmed(bytes)) {
        Some(Value::Array(members)) => members.into_iter().filter_map(message).take(MAX_BATCH).collect(),
        Some(one) => message(one).into_iter().collect(),
        None => Vec::new(),
    }
}

/// What is told by the beginning of a message whose rest is missing: the members that are whole. One that names no id has one, unless it
/// is a notification by its name; and that it is JSON-RPC may come last.
pub fn prefix(bytes: &[u8]) -> Option<Message> {
    let Some(Value::Object(mut fields)) = json::read(&closed(trimmed(bytes))?) else { return None };
    fields.entry("jsonrpc").or_insert_with(|| "2.0".into());
    let notifies = fields.get("method").and_then(Value::as_str).is_some_and(|method| method.starts_with(rules::mcp::Method::NOTIFICATIONS));
    if !notifies {
        fields.entry("id").or_insert_with(|| "not in the capture".into());
    }
    message(Value::Object(fields))
}

/// JSON that was cut, up to the last member that is whole, with everything closed that is open there.
fn closed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut open, mut whole) = (Vec::new(), None);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => _ = open.pop(),
            b',' => {}
            _ => continue,
        }
        match byte {
            b'"' => {}
            b',' => whole = Some((at, open.len())),
            _ => whole = Some((at + 1, open.len())),
        }
    }
    let (end, depth) = whole?;
    let closers = open.get(..depth)?.iter().rev();
    Some(bytes.get(..end)?.iter().chain(closers).copied().collect())
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii()
}

fn message(value: Value) -> Option<Message> {
    let Value::Object(mut fields) = value else { return None };
    if fields.get("jsonrpc")?.as_str()? != "2.0" {
        return None;
    }
    let id = fields.get("id").and_then(Id::of);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_alike_as_number_and_as_text() {
        let id = |id: &str| Id::of(&json::read(id.as_bytes()).unwrap_or_default()).map(|id| id.alike);
        for (one, same) in [("0", "\"0\""), ("1", "1.0"), ("7", "\"7\""), ("-3", "-3.0"), ("1e2", "100"), ("\"a\"", "\"a\"")] {
            assert_eq!(id(one), id(same), "{one} {same}");
            assert!(id(one).is_some());
        }
        for (one, other) in [("1", "1.5"), ("1", "\"01\""), ("1", "\"1.0\""), ("1", "2"), ("\"a\"", "\"b\"")] {
            assert_ne!(id(one), id(other), "{one} {other}");
        }
    }

    #[test]
    fn a_message_behind_what_is_none_is_found_in_a_batch() {
        let junk = "{},".repeat(500);
        assert_eq!(parse(format!(r#"[{junk}{{"jsonrpc":"2.0","id":1,"result":{{}}}}]"#).as_bytes()).len(), 1);
    }

    #[test]
    fn wherever_a_message_is_cut_its_whole_members_are_told() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"a\"]},","params":{"x":[1,{"y":"z"}],"w":2}}"#;
        let (mut told, mut params) = (0, 0);
        for cut in 0..=text.len() {
            if let Some(Message::Request { method, params: given, .. }) = prefix(text.get(..cut).unwrap_or_default().as_bytes()) {
                assert_eq!(method, "a\"]},", "cut at {cut}");
                told += 1;
                params += usize::from(given.get("x").is_some());
            }
        }
        assert!(told > 30 && params > 10, "{told} {params}");
        assert!(matches!(prefix(br#"{"result":{"tools":[]},"js"#), Some(Message::Result { .. })));
        assert!(prefix(b"[1,2").is_none() && prefix(b"").is_none() && prefix(b"}}}").is_none());
    }
}
