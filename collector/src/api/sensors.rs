//! `/v1/sensors` and `/v1/tokens`: the reporting roles, and join tokens.

use super::Api;
use crate::{
    enrol,
    http::{problem::Problem, read::body},
    image::Image,
    sensors::{Role, Sensor},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use rules::{
    Timestamp,
    observation::{Applied, Coverage},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A sensor, enforcer or gateway, for people.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SensorReport {
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) role: Role,
    /// In this process, or by certificate.
    pub(crate) local: bool,
    pub(crate) revoked: Option<Timestamp>,
    pub(crate) heard_at: Option<Timestamp>,
    pub(crate) certificate_until: Option<Timestamp>,
    pub(crate) epoch: u64,
    pub(crate) acked: u64,
    /// Numbers are missing in between; the sensor sends them again.
    pub(crate) waiting_for_missing: bool,
    /// Observations it lost before it could send them.
    pub(crate) gaps: u64,
    pub(crate) refused_batches: u64,
    pub(crate) coverage: Vec<Coverage>,
    pub(crate) applied: Option<Applied>,
}

pub(crate) fn reports(image: &Image) -> Vec<SensorReport> {
    let report = |(name, s): (&String, &Arc<Sensor>)| SensorReport {
        name: name.clone(),
        site: s.site.clone(),
        role: s.role,
        local: s.enrolled.is_none(),
        revoked: s.revoked,
        heard_at: s.heard_at,
        certificate_until: s.enrolled.as_ref().map(|e| e.not_after),
        epoch: s.received.epoch,
        acked: s.received.acked(),
        waiting_for_missing: s.received.has_holes(),
        gaps: s.gaps,
        refused_batches: s.stale,
        coverage: s.captures.values().map(|e| e.last.clone()).collect(),
        applied: s.applied.clone(),
    };
    image.sensors.iter().map(report).collect()
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<SensorReport>>, Problem> {
    Ok(Json(api.read(reports).await?))
}

pub(super) async fn revoke(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    api.write(move |tx| enrol::revoke(tx, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn tokens(State(api): State<Api>) -> Result<Json<Vec<Value>>, Problem> {
    let now = api.now();
    let all = api.query(move |read| enrol::open(read, now)).await?;
    Ok(Json(all.into_iter().map(|(hash, token)| json!({"hash": hash, "token": token})).collect()))
}

/// The response holds the token; it is not kept and cannot be shown again.
pub(super) async fn issue_token(State(api): State<Api>, bytes: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let request: enrol::TokenRequest = if bytes.is_empty() { enrol::TokenRequest::default() } else { body(&bytes)? };
    let ttl = request.ttl;
    let secret = api.write(move |tx| enrol::issue(tx, request)).await?;
    let token = api.authority.token(&secret);
    let intake = api.handle.inner.config.intake;
    Ok((StatusCode::CREATED, Json(json!({"token": token, "expires_at": ttl.after(api.now()), "intake": intake}))))
}

pub(super) async fn withdraw_token(State(api): State<Api>, Path(hash): Path<String>) -> Result<StatusCode, Problem> {
    api.write(move |tx| enrol::withdraw(tx, &hash)).await?;
    Ok(StatusCode::NO_CONTENT)
}
