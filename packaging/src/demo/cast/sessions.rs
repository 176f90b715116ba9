//! Streamable HTTP with sessions, revisions 2025-03-26 to 2025-11-25.

use super::{Part, answer, complaint};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::post,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Sessions kept at once; a further one is refused.
const MAX_SESSIONS: usize = 256;

#[derive(Debug)]
struct Server {
    part: Part,
    sessions: Mutex<BTreeSet<String>>,
}

type Shared = State<Arc<Server>>;

pub(super) fn app(part: Part) -> Router {
    let server = Arc::new(Server { part, sessions: Mutex::default() });
    Router::new().route("/mcp", post(message).get(listen).delete(end)).with_state(server)
}

async fn message(State(server): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let method = body.get("method").and_then(Value::as_str).unwrap_or_default();
    let params = body.get("params").unwrap_or(&Value::Null);
    let id = body.get("id").unwrap_or(&Value::Null);
    if method == "initialize" {
        return server.initialize(id, params);
    }
    if let Err(refused) = server.known(&headers) {
        return refused.into_response();
    }
    if id.is_null() {
        return StatusCode::ACCEPTED.into_response();
    }
    match method {
        "ping" => Json(answer(id, &json!({}))).into_response(),
        "tools/list" => Json(answer(id, &json!({"tools": server.part.listed()}))).into_response(),
        "tools/call" => match server.part.call(params) {
            Some(content) => call(id, params, &json!({"content": content, "isError": false})),
            None => Json(complaint(id, -32602, "Unknown tool", None)).into_response(),
        },
        _ => Json(complaint(id, -32601, "Method not found", None)).into_response(),
    }
}

/// A call that wants progress is answered as a stream: three steps, then the result.
fn call(id: &Value, params: &Value, result: &Value) -> Response {
    let Some(token) = params.pointer("/_meta/progressToken") else { return Json(answer(id, result)).into_response() };
    let step = |n: u32| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
               "params": {"progressToken": token, "progress": n, "total": 3}})
    };
    let messages = [step(1), step(2), step(3), answer(id, result)];
    let events = stream::iter(messages).then(|message| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        event(&message)
    });
    Sse::new(events).into_response()
}

/// The stream from the server: a word twice a second, for as long as the client stays.
async fn listen(State(server): Shared, headers: HeaderMap) -> Response {
    if let Err(refused) = server.known(&headers) {
        return refused.into_response();
    }
    let words = stream::unfold(0_u64, |n| async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let params = json!({"level": "info", "data": format!("still here ({n})")});
        Some((event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})), n.saturating_add(1)))
    });
    Sse::new(words).into_response()
}

async fn end(State(server): Shared, headers: HeaderMap) -> Response {
    match server.known(&headers) {
        Ok(session) => {
            server.sessions().remove(&session);
            StatusCode::OK.into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

impl Server {
    fn initialize(&self, id: &Value, params: &Value) -> Response {
        let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let revision = REVISIONS.iter().find(|r| **r == asked).unwrap_or(&"2025-11-25");
        let mut sessions = self.sessions();
        if sessions.len() >= MAX_SESSIONS {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let Some(session) = fresh() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        sessions.insert(session.clone());
        let result = json!({"protocolVersion": revision, "capabilities": {"tools": {}, "logging": {}},
                            "serverInfo": self.part.implementation()});
        ([(SESSION, session)], Json(answer(id, &result))).into_response()
    }

    /// The session a request belongs to, or why it may not be served.
    fn known(&self, headers: &HeaderMap) -> Result<String, Unknown> {
        let asked = headers.get(SESSION).and_then(|v| v.to_str().ok()).ok_or(Unknown::Missing)?;
        if self.sessions().contains(asked) { Ok(asked.to_owned()) } else { Err(Unknown::Ended) }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request has no session.
enum Unknown {
    Missing,
    Ended,
}

impl IntoResponse for Unknown {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Unknown::Missing => (StatusCode::BAD_REQUEST, "Bad Request: Mcp-Session-Id header is required"),
            Unknown::Ended => (StatusCode::NOT_FOUND, "Session not found"),
        };
        (status, Json(complaint(&Value::Null, -32000, why, None))).into_response()
    }
}

fn fresh() -> Option<String> {
    let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new()).ok()?.expose();
    Some(random.iter().map(|b| format!("{b:02x}")).collect())
}

fn event(message: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().event("message").data(message.to_string()))
}
