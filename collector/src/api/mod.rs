//! The admin API on loopback, and the intake for remote roles.
//!
//! Permission is checked before a handler runs ([`guard`], `remote`); errors have one shape ([`Problem`]).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod enforce;
mod explain;
mod findings;
mod journal;
mod metrics;
mod plan;
mod registry;
mod remote;
pub(crate) mod sensors;
mod servers;
pub(crate) mod status;

use crate::{
    commit::{Outcome, Transaction},
    enrol::Authority,
    handle::Handle,
    http::{
        guard::{self, Gate},
        listen::TurnedAway,
        problem::{self, Problem},
    },
    image::Image,
    store::Read,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post},
};
pub(crate) use remote::routes as intake;
use serde::Deserialize;
use std::sync::Arc;

/// The tools of a handler. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) handle: Handle,
    pub(crate) authority: Arc<Authority>,
    pub(crate) turned: Arc<TurnedAway>,
    pub(crate) gate: Gate,
}

/// Largest body of the admin API.
const MAX_BODY: usize = 1 << 20;

/// Every route that needs the token. The tests walk this list, and that it is whole.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &str)] = &[
    ("GET", "/metrics"),
    ("GET", "/v1/status"),
    ("GET", "/v1/servers"),
    ("GET", "/v1/servers/default%2F10.0.0.5:3001%2Fmcp"),
    ("GET", "/v1/findings"),
    ("GET", "/v1/findings/F-00000000"),
    ("GET", "/v1/findings/F-00000000/registration"),
    ("POST", "/v1/findings/F-00000000/exempt"),
    ("DELETE", "/v1/findings/F-00000000/exempt"),
    ("POST", "/v1/findings/F-00000000/snooze"),
    ("GET", "/v1/registry"),
    ("POST", "/v1/registry"),
    ("GET", "/v1/registry/x"),
    ("PUT", "/v1/registry/x"),
    ("DELETE", "/v1/registry/x"),
    ("GET", "/v1/policy"),
    ("PUT", "/v1/policy"),
    ("GET", "/v1/enforce/plan"),
    ("POST", "/v1/enforce/approve"),
    ("POST", "/v1/enforce/wave"),
    ("GET", "/v1/explain?subject=10.0.0.5"),
    ("GET", "/v1/decisions"),
    ("GET", "/v1/verifying-key"),
    ("GET", "/v1/journal"),
    ("GET", "/v1/journal/verify"),
    ("GET", "/v1/tokens"),
    ("POST", "/v1/tokens"),
    ("DELETE", "/v1/tokens/x"),
    ("GET", "/v1/sensors"),
    ("POST", "/v1/sensors/x/revoke"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("DELETE", "/v1/keys/x/y"),
    ("POST", "/v1/keys/x/rotate"),
    ("GET", "/v1/grants"),
    ("POST", "/v1/grants"),
    ("DELETE", "/v1/grants/x"),
];

/// The admin API, and a page that does not ask for the token by a header.
pub(crate) fn admin(api: Api, page: Router<Api>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/v1/status", get(status::status))
        .route("/v1/servers", get(servers::list))
        .route("/v1/servers/{*key}", get(servers::one))
        .route("/v1/findings", get(findings::list))
        .route("/v1/findings/{id}", get(findings::one))
        .route("/v1/findings/{id}/registration", get(registry::draft))
        .route("/v1/findings/{id}/exempt", post(findings::exempt).delete(findings::end_exemption))
        .route("/v1/findings/{id}/snooze", post(findings::snooze))
        .route("/v1/registry", get(registry::list).post(registry::create))
        .route("/v1/registry/{slug}", get(registry::one).put(registry::replace).delete(registry::remove))
        .route("/v1/policy", get(enforce::policy).put(enforce::set_policy))
        .route("/v1/enforce/plan", get(plan::plan))
        .route("/v1/enforce/approve", post(enforce::approve))
        .route("/v1/enforce/wave", post(enforce::wave))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/decisions", get(enforce::decisions))
        .route("/v1/verifying-key", get(enforce::verifying_key))
        .route("/v1/journal", get(journal::list))
        .route("/v1/journal/verify", get(journal::verify))
        .route("/v1/tokens", get(sensors::tokens).post(sensors::issue_token))
        .route("/v1/tokens/{hash}", delete(sensors::withdraw_token))
        .route("/v1/sensors", get(sensors::list))
        .route("/v1/sensors/{name}/revoke", post(sensors::revoke))
        .route("/v1/keys", get(access::keys).post(access::issue_key))
        .route("/v1/keys/{tenant}/{nonce}", delete(access::revoke_key))
        .route("/v1/keys/{tenant}/rotate", post(access::rotate))
        .route("/v1/grants", get(access::grants).post(access::grant))
        .route("/v1/grants/{id}", delete(access::ungrant))
        .layer(axum::middleware::from_fn_with_state(api.gate.clone(), guard::token));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(page)
        .merge(guarded)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(guard::loopback_names))
        .layer(axum::middleware::from_fn(guard::in_time))
        .with_state(api)
}

/// A question about one site; this process's when none is named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSite {
    site: Option<String>,
}

impl Api {
    /// A job of the writer, with its refusal as a problem.
    pub(crate) async fn write<T: Send + 'static, R: Into<Problem> + Send + 'static>(
        &self,
        act: impl FnOnce(&mut Transaction<'_>) -> Outcome<Result<T, R>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.handle.inner.writer.write(act).await?.map_err(Into::into)
    }

    /// A longer look at the snapshot, off the runtime's threads. It waits for no writer.
    pub(crate) async fn read<T: Send + 'static>(&self, look: impl FnOnce(&Image) -> T + Send + 'static) -> Result<T, Problem> {
        Ok(self.handle.inner.writer.read(look).await?)
    }

    /// All that is known, for a short look.
    pub(crate) fn snapshot(&self) -> Arc<Image> {
        self.handle.inner.writer.snapshot()
    }

    /// A question to the database itself.
    pub(crate) async fn query<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Read) -> Outcome<T> + Send + 'static) -> Result<T, Problem> {
        Ok(self.handle.inner.reader.ask(ask).await.flatten()?)
    }

    pub(crate) fn now(&self) -> rules::Timestamp {
        self.handle.inner.config.clock.now()
    }

    /// The site that was asked about; this process's when none was named.
    pub(crate) fn site(&self, asked: Option<String>) -> String {
        asked.unwrap_or_else(|| self.handle.inner.config.site.clone())
    }
}
