//! `GET /healthz` and `GET /metrics`: what the gateway says of itself. Metrics only to this machine.

use crate::{
    answer::{Body, full},
    pipeline::Gateway,
};
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use std::{
    fmt::Write,
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What the door counts.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicU64,
    /// Turned away because too many were open.
    pub(crate) full: AtomicU64,
    /// Ended by a head that was no HTTP, or too large.
    pub(crate) malformed: AtomicU64,
    /// Closed because no request, or not a whole one's head, came in time.
    pub(crate) silent: AtomicU64,
    /// Closed because the client did not read what waited for it.
    pub(crate) unread: AtomicU64,
    /// `accept` failed (out of file descriptors).
    pub(crate) failed: AtomicU64,
}

/// 200 when calls can be served, else 503 and why not.
pub(crate) fn health(gateway: &Gateway) -> Response<Body> {
    let generation = gateway.policy.borrow().as_ref().map(|b| b.generation());
    let status = match (generation, gateway.log.failing()) {
        (_, true) => "the audit log cannot be written",
        (None, _) => "no bundle yet",
        _ => "ok",
    };
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "status": status, "generation": generation });
    respond(code, "application/json", format!("{body}\n"))
}

pub(crate) fn metrics(gateway: &Gateway, door: &ListenerCounters) -> Response<Body> {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP gnomon_gateway_{name} {help}\n# TYPE gnomon_gateway_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "gnomon_gateway_{name}{labels} {value}");
        }
    };
    let one = |n: u64| [(String::new(), n)];
    let outcomes: Vec<_> = gateway.log.outcomes().map(|(o, n)| (format!("{{outcome=\"{}\"}}", o.word()), n)).collect();
    let generation = gateway.policy.borrow().as_ref().map_or(0, |b| b.generation());
    let forgotten = gateway.limiter.lock().unwrap_or_else(PoisonError::into_inner).forgotten;
    metric("requests_total", "counter", "Requests by how they ended.", &outcomes);
    metric("connections_total", "counter", "Connections accepted.", &one(door.accepted.load(Relaxed)));
    metric("connections_open", "gauge", "Connections open now.", &one(door.open.load(Relaxed)));
    metric("connections_turned_away_total", "counter", "Connections closed because too many were open.", &one(door.full.load(Relaxed)));
    metric(
        "connections_malformed_total",
        "counter",
        "Connections ended by a head that was no HTTP, or too large.",
        &one(door.malformed.load(Relaxed)),
    );
    metric(
        "connections_silent_total",
        "counter",
        "Connections closed because no whole head came in time.",
        &one(door.silent.load(Relaxed)),
    );
    metric(
        "connections_unread_total",
        "counter",
        "Connections closed because the client did not take its answer in time.",
        &one(door.unread.load(Relaxed)),
    );
    metric("accept_failures_total", "counter", "Connections that could not be accepted.", &one(door.failed.load(Relaxed)));
    metric("bundle_generation", "gauge", "Generation of the bundle in force; 0 for none.", &one(generation));
    metric(
        "bundles_refused_total",
        "counter",
        "Bundles that were not trusted, not readable or not newer.",
        &one(gateway.bundles_refused.load(Relaxed)),
    );
    metric("limit_forgotten_total", "counter", "Principals whose bucket made room before it was full.", &one(forgotten));
    metric("audit_records_total", "counter", "Lines written to the audit log.", &one(gateway.log.written()));
    metric("audit_failing", "gauge", "1 while the audit log cannot be written.", &one(gateway.log.failing().into()));
    respond(StatusCode::OK, "text/plain; version=0.0.4", text)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
