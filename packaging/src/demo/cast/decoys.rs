//! Hard negatives: what a careless detector calls MCP.

use super::{answer, complaint};
use axum::{
    Json, Router,
    response::{
        Html, IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};

/// A build monitor: `/sse` streams progress, `/message` takes comments.
pub(super) fn events() -> Router {
    Router::new()
        .route("/", get(async || "build monitor"))
        .route("/sse", get(progress))
        .route("/message", post(async || Json(json!({"ok": true}))))
}

async fn progress() -> Response {
    let ticks = stream::unfold(0_u64, |n| async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let event = Event::default().event("progress").data(json!({"build": 4711, "step": n}).to_string());
        Some((Ok::<_, Infallible>(event), n.saturating_add(1)))
    });
    Sse::new(ticks).into_response()
}

/// A JSON-RPC 2.0 service of its own kind; its `initialize` opens a till.
pub(super) fn json_rpc() -> Router {
    Router::new().route("/", get(async || "till").post(till)).route("/rpc", post(till))
}

async fn till(Json(body): Json<Value>) -> Response {
    let id = body.get("id").unwrap_or(&Value::Null);
    let reply = match body.get("method").and_then(Value::as_str) {
        Some("initialize") => answer(id, &json!({"till": 7, "currency": "EUR", "capabilities": ["sale", "refund"]})),
        Some("ping") => answer(id, &json!("pong")),
        Some("tools/list") => answer(id, &json!([{"id": 1, "label": "barcode reader"}])),
        _ => complaint(id, -32601, "method not found", None),
    };
    Json(reply).into_response()
}

/// Documentation that quotes the protocol word for word.
pub(super) fn docs() -> Router {
    Router::new().route("/", get(page)).route("/mcp", get(page)).route("/.well-known/mcp.json", get(page))
}

async fn page() -> Html<&'static str> {
    Html(
        "<!doctype html><title>MCP</title><h1>How to call an MCP server</h1><pre>POST /mcp\nMcp-Session-Id: 1868a90c\n\n\
         {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"2025-11-25\",\"serverInfo\":{\"name\":\"example\"}}}\n\n\
         event: endpoint\ndata: /messages?session_id=1868a90c</pre>",
    )
}
