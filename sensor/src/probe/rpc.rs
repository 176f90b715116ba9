//! A JSON-RPC 2.0 answer, and the shapes in it that only MCP has.

use rules::{evidence::Implementation, printable::printable};
use serde_json::Value;
use std::collections::BTreeSet;

/// A response object (JSON-RPC 2.0 §5), or something that looks like one.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcAnswer {
    /// The id as text; `None` when absent or null.
    pub id: Option<String>,
    pub result: Option<Value>,
    pub error: Option<Fault>,
    /// It carries `method`: a request, or our own request echoed.
    pub is_request: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub code: i64,
    pub message: String,
    pub data: Value,
}

/// Reads one message; of a batch (2025-03-26) the first response. Not JSON-RPC: `None`.
pub fn parse(text: &[u8]) -> Option<RpcAnswer> {
    match crate::json::read(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))? {
        Value::Array(items) => items.into_iter().take(16).find_map(from_value),
        other => from_value(other),
    }
}

fn from_value(value: Value) -> Option<RpcAnswer> {
    let Value::Object(mut map) = value else { return None };
    if map.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return None;
    }
    let id = match map.get("id") {
        Some(Value::String(s)) => Some(s.chars().take(64).collect()),
        Some(Value::Number(n)) => Some(n.to_string()),
        _ => None,
    };
    let error = match map.remove("error") {
        Some(Value::Object(mut e)) => Some(Fault {
            code: e.get("code").and_then(Value::as_i64).unwrap_or(0),
            message: e.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            data: e.remove("data").unwrap_or(Value::Null),
        }),
        _ => None,
    };
    Some(RpcAnswer { id, result: map.remove("result").filter(|r| !r.is_null()), error, is_request: map.contains_key("method") })
}

/// `2025-11-25`: ten characters, a date in shape.
pub fn is_revision(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
}

/// Revisions the specification has published.
pub const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

/// What a good answer to `initialize` tells (basic/lifecycle): all three of protocolVersion, serverInfo and capabilities.
pub fn initialized(result: &Value) -> Option<(String, Implementation)> {
    let revision = result.get("protocolVersion")?.as_str().filter(|r| is_revision(r))?;
    let info = implementation(result.get("serverInfo")?)?;
    result.get("capabilities")?.as_object()?;
    Some((revision.to_owned(), info))
}

/// What a good answer to `server/discover` tells (2026-07-28): the revisions, and who it says it is.
pub fn discovered(result: &Value) -> Option<(BTreeSet<String>, Option<Implementation>)> {
    let revisions = revisions(result.get("supportedVersions")?);
    if revisions.is_empty() {
        return None;
    }
    let info = result.get("_meta").and_then(|m| m.get("io.modelcontextprotocol/serverInfo")).or_else(|| result.get("serverInfo"));
    Some((revisions, info.and_then(implementation)))
}

/// Dated revisions in a JSON list, at most 16.
pub fn revisions(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).filter(|r| is_revision(r)).take(16).map(str::to_owned).collect()
}

/// Published revisions named in a sentence.
pub fn revisions_in(text: &str) -> BTreeSet<String> {
    REVISIONS.iter().filter(|r| text.contains(*r)).map(|r| (*r).to_owned()).collect()
}

fn implementation(info: &Value) -> Option<Implementation> {
    let name = info.get("name")?.as_str()?;
    let version = info.get("version").and_then(Value::as_str).map(|v| printable(v, 60));
    Some(Implementation { name: printable(name, 120), version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shapes_of_other_protocols_are_not_initialized() {
        let lsp = json!({"capabilities": {}, "serverInfo": {"name": "pylsp", "version": "1"}});
        let acp = json!({"protocolVersion": 1, "serverInfo": {"name": "x"}, "capabilities": {}});
        let mcp = json!({"protocolVersion": "2025-11-25", "serverInfo": {"name": "x"}, "capabilities": {}});
        assert_eq!(initialized(&lsp), None);
        assert_eq!(initialized(&acp), None);
        assert_eq!(initialized(&mcp).map(|(r, _)| r).as_deref(), Some("2025-11-25"));
    }

    #[test]
    fn deep_json_is_refused_without_a_stack() {
        let deep = "[".repeat(200_000);
        assert_eq!(parse(deep.as_bytes()), None);
    }

    #[test]
    fn ids_come_as_text_or_number() {
        let parse = |t: &str| parse(t.as_bytes()).and_then(|a| a.id);
        assert_eq!(parse(r#"{"result":{},"jsonrpc":"2.0","id":7}"#).as_deref(), Some("7"));
        assert_eq!(parse(r#"[{"jsonrpc":"2.0","id":"a","result":1}]"#).as_deref(), Some("a"));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}"#), None);
    }
}
