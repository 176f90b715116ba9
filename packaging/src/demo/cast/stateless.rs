//! Streamable HTTP of revision 2026-07-28: each request stands for itself.

use super::{Part, answer, complaint};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::post,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};

const REVISION: &str = "2026-07-28";

pub(super) fn app(part: Part) -> Router {
    Router::new().route("/mcp", post(message)).with_state(Arc::new(part))
}

async fn message(State(part): State<Arc<Part>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let method = body.get("method").and_then(Value::as_str).unwrap_or_default();
    let params = body.get("params").unwrap_or(&Value::Null);
    let id = body.get("id").unwrap_or(&Value::Null);
    if let Err((code, why, data)) = accept(&headers, method, params) {
        return (StatusCode::BAD_REQUEST, Json(complaint(id, code, why, data))).into_response();
    }
    if id.is_null() {
        return StatusCode::ACCEPTED.into_response();
    }
    let fresh = |mut result: Value| {
        if let Some(fields) = result.as_object_mut() {
            fields.insert("ttlMs".to_owned(), json!(0));
            fields.insert("cacheScope".to_owned(), json!("private"));
        }
        result
    };
    let result = match method {
        "server/discover" => fresh(json!({"supportedVersions": [REVISION], "capabilities": {"tools": {}}})),
        "tools/list" => fresh(json!({"tools": part.listed()})),
        "tools/call" => match part.call(params) {
            Some(content) => json!({"content": content, "isError": false}),
            None => return (StatusCode::BAD_REQUEST, Json(complaint(id, -32602, "Unknown tool", None))).into_response(),
        },
        "subscriptions/listen" => return listen(id.clone()),
        _ => return (StatusCode::NOT_FOUND, Json(complaint(id, -32601, "Method not found", None))).into_response(),
    };
    Json(answer(id, &complete(&part, result))).into_response()
}

/// Header and body have to agree (streamable-http, Request Metadata).
fn accept(headers: &HeaderMap, method: &str, params: &Value) -> Result<(), (i64, &'static str, Option<Value>)> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let asked = params.pointer("/_meta/io.modelcontextprotocol~1protocolVersion").and_then(Value::as_str);
    let version = header("mcp-protocol-version");
    if version.or(asked).is_none_or(|v| v != REVISION) {
        let data = json!({"supported": [REVISION], "requested": version.or(asked)});
        return Err((-32022, "Unsupported protocol version", Some(data)));
    }
    if asked.is_none() || params.pointer("/_meta/io.modelcontextprotocol~1clientCapabilities").is_none() {
        return Err((-32602, "Invalid _meta envelope", None));
    }
    let named = match method {
        "tools/call" => params.get("name").and_then(Value::as_str),
        _ => None,
    };
    if version != asked || header("mcp-method") != Some(method) || named.is_some_and(|n| header("mcp-name") != Some(n)) {
        return Err((-32020, "Header mismatch", None));
    }
    Ok(())
}

fn complete(part: &Part, mut result: Value) -> Value {
    if let Some(fields) = result.as_object_mut() {
        fields.insert("resultType".to_owned(), json!("complete"));
        fields.insert("_meta".to_owned(), json!({"io.modelcontextprotocol/serverInfo": part.implementation()}));
    }
    result
}

/// An acknowledgement, then a sign of life four times a second, for as long as the client stays.
fn listen(id: Value) -> Response {
    let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": {}, "_meta": {"io.modelcontextprotocol/subscriptionId": id}}});
    let first = Event::default().event("message").data(acknowledged.to_string());
    let then = stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        Event::default().comment("still here")
    });
    Sse::new(stream::iter([first]).chain(then).map(Ok::<_, Infallible>)).into_response()
}
