//! `/v1/keys` and `/v1/grants`: who may use which registered server through the gateway.

use super::{Api, body, problem::Problem};
use crate::keys;
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
    let all = api.read(|state| {
        let of = |(name, t): (&String, &keys::Tenancy)| json!({"tenant": name, "keys": t.keys});
        state.tenants.iter().map(of).collect()
    });
    Ok(Json(all.await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    tenant: String,
    #[serde(default)]
    label: String,
}

/// The answer holds the key; it cannot be shown again.
pub(super) async fn issue_key(State(api): State<Api>, bytes: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let Ask { tenant, label } = body(&bytes)?;
    let key = api.write(move |turn| keys::issue(turn, &tenant, &label)).await?;
    Ok((StatusCode::CREATED, Json(json!({"key": key}))))
}

pub(super) async fn revoke_key(State(api): State<Api>, Path((tenant, nonce)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    api.write(move |turn| keys::revoke(turn, &tenant, &nonce)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rotate(State(api): State<Api>, Path(tenant): Path<String>) -> Result<Json<Value>, Problem> {
    let ended = api.write(move |turn| keys::rotate(turn, &tenant)).await?;
    Ok(Json(json!({"keys_ended": ended})))
}

pub(super) async fn grants(State(api): State<Api>) -> Result<Json<Vec<Grant>>, Problem> {
    Ok(Json(api.read(|state| state.grants.values().cloned().collect()).await?))
}

pub(super) async fn grant(State(api): State<Api>, bytes: Bytes) -> Result<(StatusCode, Json<Grant>), Problem> {
    let grant: Grant = body(&bytes)?;
    let made = grant.clone();
    api.write(move |turn| keys::grant(turn, grant)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn ungrant(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    api.write(move |turn| keys::ungrant(turn, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
