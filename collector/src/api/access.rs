//! `/v1/keys` and `/v1/grants`: the right to use a registered server through the gateway.

use super::Api;
use crate::{
    access,
    http::{problem::Problem, read::body},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use rules::access::Grant;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn keys(State(api): State<Api>) -> Result<Json<Vec<Value>>, Problem> {
    let of = |(name, t): (&String, &access::Tenancy)| json!({"tenant": name, "keys": t.keys});
    Ok(Json(api.snapshot().tenants.iter().map(of).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    tenant: String,
    #[serde(default)]
    label: String,
}

/// The response holds the key; it cannot be shown again.
pub(super) async fn issue_key(State(api): State<Api>, bytes: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let KeyRequest { tenant, label } = body(&bytes)?;
    let key = api.write(move |tx| access::issue(tx, &tenant, &label)).await?;
    Ok((StatusCode::CREATED, Json(json!({"key": key}))))
}

pub(super) async fn revoke_key(State(api): State<Api>, Path((tenant, nonce)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    api.write(move |tx| access::revoke(tx, &tenant, &nonce)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rotate(State(api): State<Api>, Path(tenant): Path<String>) -> Result<Json<Value>, Problem> {
    let ended = api.write(move |tx| access::rotate(tx, &tenant)).await?;
    Ok(Json(json!({"keys_ended": ended})))
}

pub(super) async fn grants(State(api): State<Api>) -> Result<Json<Vec<Grant>>, Problem> {
    Ok(Json(api.snapshot().grants.values().cloned().collect()))
}

pub(super) async fn grant(State(api): State<Api>, bytes: Bytes) -> Result<(StatusCode, Json<Grant>), Problem> {
    let grant: Grant = body(&bytes)?;
    let made = grant.clone();
    api.write(move |tx| access::grant(tx, grant)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn ungrant(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    api.write(move |tx| access::ungrant(tx, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
