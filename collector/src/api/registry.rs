//! `/v1/registry`: registered servers.

use super::{Api, findings};
use crate::{
    http::{problem::Problem, read::body},
    journal::Actor,
    registry::{self, Draft},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use rules::registry::{Registration, Registry};

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Registry>, Problem> {
    Ok(Json((*api.snapshot().registry).clone()))
}

pub(super) async fn one(State(api): State<Api>, Path(slug): Path<String>) -> Result<Json<Registration>, Problem> {
    let found = api.snapshot().registry.registrations.get(&slug).cloned();
    found.map(Json).ok_or_else(|| Problem::missing(format!("nothing is registered as `{slug}`")))
}

pub(super) async fn create(State(api): State<Api>, bytes: Bytes) -> Result<(StatusCode, Json<Registration>), Problem> {
    let registration = sound(&api, &bytes).await?;
    let made = api.write(move |tx| registry::create(tx, registration)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn replace(State(api): State<Api>, Path(slug): Path<String>, bytes: Bytes) -> Result<Json<Registration>, Problem> {
    let registration = sound(&api, &bytes).await?;
    Ok(Json(api.write(move |tx| registry::replace(tx, &slug, registration)).await?))
}

pub(super) async fn remove(State(api): State<Api>, Path(slug): Path<String>) -> Result<StatusCode, Problem> {
    api.write(move |tx| registry::delete(tx, &slug, Actor::Admin)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// "Register this server": a draft filled in from the inventory.
pub(super) async fn draft(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Draft>, Problem> {
    let id = findings::resolve(&api, &id)?;
    let image = api.snapshot();
    let draft = || {
        let (name, site, matter) = image.matter(&id)?;
        let place = matter.finding.place.as_ref()?;
        site.inventory.find(&format!("{name}/{place}")).map(Draft::of)
    };
    draft().map(Json).ok_or_else(|| Problem::missing(format!("no server is known to finding {id}")))
}

/// Checked before names are resolved: nothing is looked up for a draft that will be refused.
async fn sound(api: &Api, bytes: &[u8]) -> Result<Registration, Problem> {
    let draft: Draft = body(bytes)?;
    let registration = draft.into_registration(api.now());
    registration.check().map_err(|why| Problem::bad(why.to_string()))?;
    Ok(registry::resolve(registration).await)
}
