//! Whether a result or an error has the shape MCP gives it, and what it tells.

use super::is_revision;
use rules::evidence::Implementation;
use serde_json::Value;
use std::collections::BTreeSet;

const MAX_TEXT: usize = 120;
/// Names of tools taken from one list.
const MAX_TOOLS: usize = 256;

/// What a result says beyond its shape.
#[derive(Debug, Default)]
pub(super) struct ResultFacts {
    pub signature: Option<&'static str>,
    pub revisions: BTreeSet<String>,
    pub server: Option<Implementation>,
    pub tools: BTreeSet<String>,
}

/// Judges `result` as the answer to `method`. `Err` when MCP could not have answered so.
pub(super) fn answer(method: &str, result: &Value) -> Result<ResultFacts, ()> {
    let by_shape = shape(result);
    if by_shape.signature.is_some_and(|signature| fits(method, signature)) {
        return Ok(by_shape);
    }
    let listed = |key: &str| result.get(key).and_then(Value::as_array);
    let answered = |yes: bool| {
        if yes { Ok(ResultFacts { signature: Some("wire.server.answered"), ..ResultFacts::default() }) } else { Ok(ResultFacts::default()) }
    };
    match method {
        "initialize" | "tools/list" if !result.is_object() => Err(()),
        "initialize" => Err(()),
        "tools/list" => match listed("tools") {
            Some(tools) => answered(tools.is_empty()),
            None => Err(()),
        },
        "prompts/list" => answered(listed("prompts").is_some_and(Vec::is_empty)),
        "resources/list" => answered(listed("resources").is_some_and(Vec::is_empty)),
        "resources/templates/list" => answered(listed("resourceTemplates").is_some_and(Vec::is_empty)),
        "tools/call" => answered(listed("content").is_some() || result.get("structuredContent").is_some()),
        "completion/complete" => answered(result.get("completion").is_some_and(|c| c.get("values").is_some_and(Value::is_array))),
        "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => answered(result.as_object().is_some_and(|o| o.is_empty())),
        _ => Ok(ResultFacts::default()),
    }
}

/// Whether an answer of that signature can be an answer to `method`.
pub(super) fn fits(method: &str, signature: &str) -> bool {
    match signature {
        "wire.server.initialize-result" => method == "initialize",
        "wire.server.discover-result" => method == "server/discover",
        "wire.server.tools-result" => method == "tools/list",
        "wire.server.call-result" => method == "tools/call",
        "wire.server.list-result" => method.starts_with("prompts/") || method.starts_with("resources/"),
        _ => true,
    }
}

/// The strongest signature of a result by its shape alone.
pub(super) fn shape(result: &Value) -> ResultFacts {
    let mut told = ResultFacts { server: meta(result, "serverInfo").and_then(implementation), ..ResultFacts::default() };
    let text = |key: &str| result.get(key).and_then(Value::as_str);
    let listed = |key: &str| result.get(key).and_then(Value::as_array).filter(|list| !list.is_empty());
    let capable = result.get("capabilities").is_some_and(Value::is_object);
    let revision = text("protocolVersion").filter(|v| capable && is_revision(v));
    if let (Some(revision), Some(server)) = (revision, result.get("serverInfo").and_then(implementation)) {
        told.signature = Some("wire.server.initialize-result");
        told.revisions.insert(revision.to_owned());
        told.server = Some(server);
        return told;
    }
    if let Some(versions) = listed("supportedVersions") {
        let versions: BTreeSet<String> =
            versions.iter().filter_map(Value::as_str).filter(|v| is_revision(v)).take(16).map(str::to_owned).collect();
        if !versions.is_empty() {
            told.signature = Some("wire.server.discover-result");
            told.revisions = versions;
            if let Some(server) = result.get("serverInfo").and_then(implementation) {
                told.server = Some(server);
            }
            return told;
        }
    }
    if let Some(tools) = listed("tools") {
        let of_mcp = |tool: &&Value| tool.get("inputSchema").is_some_and(Value::is_object);
        told.tools = tools.iter().filter(of_mcp).filter_map(|t| t.get("name")?.as_str()).take(MAX_TOOLS).map(short).collect();
        if !told.tools.is_empty() {
            told.signature = Some("wire.server.tools-result");
            return told;
        }
    }
    told.signature = if has_server_meta(result) {
        Some("wire.server.meta")
    } else if listed("content").is_some_and(|blocks| blocks.iter().all(is_content)) {
        Some("wire.server.call-result")
    } else if is_list(result) {
        Some("wire.server.list-result")
    } else if matches!(text("resultType"), Some("complete" | "input_required" | "task")) {
        Some("wire.server.result-type")
    } else {
        None
    };
    told
}

/// What an answer to `initialize` begins with.
pub(super) fn welcomes(result: &Value) -> bool {
    result.get("protocolVersion").and_then(Value::as_str).is_some_and(is_revision)
        && result.get("capabilities").is_some_and(Value::is_object)
}

/// Whether a message has a key of MCP's modern revision, whoever sent it.
pub(super) fn has_meta(body: &Value) -> bool {
    let ours = |meta: &Value| meta.as_object().is_some_and(|keys| keys.keys().any(|k| k.starts_with("io.modelcontextprotocol/")));
    body.get("_meta").is_some_and(ours)
}

/// Whether a server says so: with a key that no client sends, since there are servers that give back what they were asked.
pub(super) fn has_server_meta(body: &Value) -> bool {
    const OF_CLIENTS: [&str; 4] = ["protocolVersion", "clientInfo", "clientCapabilities", "logLevel"];
    let of_server = |key: &String| key.strip_prefix("io.modelcontextprotocol/").is_some_and(|rest| !OF_CLIENTS.contains(&rest));
    body.get("_meta").and_then(Value::as_object).is_some_and(|keys| keys.keys().any(of_server))
}

/// A value of `_meta` under MCP's own prefix.
pub(super) fn meta<'a>(body: &'a Value, key: &str) -> Option<&'a Value> {
    body.get("_meta")?.get(format!("io.modelcontextprotocol/{key}"))
}

/// Whether the parameters are those that MCP gives what a server says unasked.
pub(super) fn speaks(method: &str, params: &Value) -> bool {
    let has = |key: &str| params.get(key).is_some();
    match method {
        "notifications/message" => has("level") && has("data"),
        "notifications/resources/updated" => has("uri"),
        "notifications/tasks/status" | "notifications/tasks" => has("taskId"),
        "notifications/elicitation/complete" => has("elicitationId"),
        "notifications/progress" => has("progressToken") && has("progress"),
        "sampling/createMessage" => has("messages"),
        "elicitation/create" => has("message"),
        // With nothing, or with nothing but `_meta`.
        _ => params.as_object().is_none_or(|params| params.keys().all(|key| key == "_meta")),
    }
}

fn is_content(block: &Value) -> bool {
    let has = |key: &str| block.get(key).is_some();
    match block.get("type").and_then(Value::as_str) {
        Some("text") => has("text"),
        Some("image" | "audio") => has("data") && has("mimeType"),
        Some("resource") => has("resource"),
        Some("resource_link") => has("uri"),
        _ => false,
    }
}

fn is_list(result: &Value) -> bool {
    let first = |key: &str| result.get(key).and_then(Value::as_array).and_then(|list| list.first());
    first("prompts").is_some_and(|p| p.get("name").is_some())
        || first("resources").is_some_and(|r| r.get("uri").is_some() && r.get("name").is_some())
        || first("resourceTemplates").is_some_and(|r| r.get("uriTemplate").is_some())
        || first("contents").is_some_and(|c| c.get("uri").is_some() && (c.get("text").is_some() || c.get("blob").is_some()))
        || first("messages").is_some_and(|m| m.get("role").is_some() && m.get("content").is_some_and(is_content))
}

/// `{"name": …, "version": …}`, cut.
pub(super) fn implementation(value: &Value) -> Option<Implementation> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(short);
    Some(Implementation { name: text("name").filter(|n| !n.is_empty())?, version: text("version") })
}

pub(super) fn short(text: &str) -> String {
    rules::printable::printable(text, MAX_TEXT)
}

/// An error's words, without those that could be a session, a token or a name of somebody's: long ones with a digit.
pub(super) fn redacted(message: &str) -> String {
    let secret = |word: &&str| word.len() >= 12 && word.bytes().any(|b| b.is_ascii_digit());
    let words = message.split_whitespace().take(24).map(|word| if secret(&word) { "…" } else { word });
    short(&words.collect::<Vec<_>>().join(" "))
}

/// The signature of an error, if it is one of MCP's own. The codes alone are free for any server to use (JSON-RPC 2.0 §5.1), so the
/// words or the data must fit as well.
pub(super) fn error(code: i64, message: &str, data: &Value, in_session: bool) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    let dated = |v: &Value| v.as_str().is_some_and(is_revision);
    let modern = match code {
        -32020 => message.contains("header mismatch") || message.contains("mcp-"),
        -32021 => data.get("requiredCapabilities").is_some(),
        -32022 => data.get("supported").and_then(Value::as_array).is_some_and(|list| list.iter().any(dated)),
        _ => false,
    };
    if modern {
        return Some("wire.server.modern-error");
    }
    const WORDS: [&str; 8] = [
        "missing session id",
        "mcp-session-id",
        "no valid session id",
        "bad request: server not initialized",
        "must accept both application/json and text/event-stream",
        "must accept text/event-stream",
        "required envelope key",
        "invalid _meta envelope",
    ];
    // Others say these as well; an MCP server says them of a session, or with the dates it supports.
    let of_session = in_session && (message.contains("session not found") || message.contains("session has been terminated"));
    let of_version = message.contains("unsupported protocol version") && names_revisions(&message);
    (of_session || of_version || names_a_key(&message) || WORDS.iter().any(|words| message.contains(words)))
        .then_some("wire.server.sdk-error")
}

/// Whether a text names revisions that its server supports, which the one that the client asked for is not.
fn names_revisions(message: &str) -> bool {
    let dates = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_digit() && c != '-');
        words.filter(|word| is_revision(word)).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let supported = message.split_once("supported versions").or_else(|| message.split_once("supported:"));
    dates(message).len() > 1 || supported.is_some_and(|(_, after)| !dates(after).is_empty())
}

/// Whether a text names a key of MCP's own `_meta`, other than by giving back what it was sent: there a quote and a colon follow.
fn names_a_key(message: &str) -> bool {
    const OURS: &str = "io.modelcontextprotocol/";
    message.match_indices(OURS).any(|(at, _)| {
        let rest = message.get(at + OURS.len()..).unwrap_or_default();
        let after = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim_start_matches('\\');
        !(after.starts_with("\":") || after.starts_with("':") || after.starts_with("\\u0022") || after.starts_with("&quot;:"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_mcp_and_those_that_only_sound_like_them() {
        let signature = |code, message: &str| error(code, message, &Value::Null, false);
        for (code, message) in [
            (-32020, "Header mismatch: Mcp-Method is tools/list, the body says tools/call"),
            (-32020, "missing Mcp-Method header"),
            (-32000, "Bad Request: Unsupported protocol version (supported versions: 2025-06-18)"),
            (-32602, "Unsupported protocol version: 2099-01-01, use 2025-11-25"),
            (-32602, "required: io.modelcontextprotocol/clientInfo"),
            (-32602, "_meta lacks 'io.modelcontextprotocol/protocolVersion'"),
        ] {
            assert!(signature(code, message).is_some(), "{message}");
        }
        for (code, message) in [
            (-32020, "block header not found"),
            (-32602, "Unsupported protocol version: 2025-11-25 (expected 1)"),
            (-32602, "Unsupported protocol version: 2025-11-25, supported versions: 1, 2"),
            (-32601, r#"no such method in {"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#),
            (-32601, "no such method in {'_meta': {'io.modelcontextprotocol/clientInfo': {}}}"),
            (-32601, r#"no such method in \"io.modelcontextprotocol/clientInfo\":{}"#),
        ] {
            assert_eq!(signature(code, message), None, "{message}");
        }
    }
}
