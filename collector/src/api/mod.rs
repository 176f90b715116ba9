//! The doors of the collector: the admin API with the status page on loopback, and the intake for remote roles.
//!
//! Who may ask is settled before a handler runs ([`guard`], `remote`); what goes wrong has one shape ([`problem::Problem`]).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod enforce;
mod findings;
mod guard;
mod journal;
pub(crate) mod listen;
mod peer;
pub(crate) mod problem;
mod registry;
mod remote;
pub(crate) mod sensors;
mod servers;
pub(crate) mod status;

use crate::{
    enrol::Authority,
    run::Handle,
    state::State,
    store::{Outcome, Turn, open_reader},
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Uri,
    routing::{delete, get, post},
};
use problem::Problem;
use rusqlite::Connection;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What handlers work with. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) handle: Handle,
    pub(crate) authority: Arc<Authority>,
    /// SHA-256 of the admin token and of the status page's cookie.
    pub(crate) admin: Admin,
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

/// The admin API and the status page.
pub(crate) fn admin(api: Api) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(status::metrics))
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
        .route("/v1/enforce/plan", get(enforce::plan))
        .route("/v1/enforce/approve", post(enforce::approve))
        .route("/v1/enforce/wave", post(enforce::wave))
        .route("/v1/explain", get(enforce::explain))
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
        .layer(axum::middleware::from_fn_with_state(api.clone(), guard::token));
    Router::new()
        .route("/", get(crate::console::page))
        .route("/style.css", get(crate::console::style))
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(guarded)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(guard::loopback_names))
        .layer(axum::middleware::from_fn(guard::in_time))
        .with_state(api)
}

pub(crate) use guard::{Admin, COOKIE};
pub(crate) use remote::routes as intake;

impl Api {
    /// A job of the writer, with its refusal as a problem.
    pub(crate) async fn write<T: Send + 'static, R: Into<Problem> + Send + 'static>(
        &self,
        act: impl FnOnce(&mut Turn<'_>) -> Outcome<Result<T, R>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.handle.inner.writer.write(act).await?.map_err(Into::into)
    }

    pub(crate) async fn read<T: Send + 'static>(&self, look: impl FnOnce(&State) -> T + Send + 'static) -> Result<T, Problem> {
        Ok(self.handle.inner.writer.read(look).await?)
    }

    /// A question to the database itself.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let path = crate::run::database(&self.handle.inner.config.data);
        let asked = tokio::task::spawn_blocking(move || {
            let db = open_reader(&path)?;
            ask(&db).map_err(crate::Unavailable::from)
        });
        Ok(asked.await.map_err(|_| crate::Unavailable::Stopping)??)
    }

    pub(crate) fn now(&self) -> rules::Timestamp {
        self.handle.inner.config.clock.now()
    }

    /// The site that was asked about; this process's when none was named.
    pub(crate) fn site(&self, asked: Option<String>) -> String {
        asked.unwrap_or_else(|| self.handle.inner.config.site.clone())
    }
}

/// A JSON body, or a problem that says where it is wrong.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|why| Problem::bad(format!("the body is not what is expected here: {why}")))
}

/// Query parameters, or a problem that names the unknown one.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri).map(|axum::extract::Query(q)| q).map_err(|why| Problem::bad(why.body_text()))
}
