//! `/v1/policy`, `/v1/enforce`: people's decisions on blocks.

use super::{Api, OfSite, plan};
use crate::{
    VerifyingKey,
    commit::Transaction,
    http::{
        problem::Problem,
        read::{body, query},
    },
    journal::{self, Actor, Verb},
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use rules::policy::Policy;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    site: Option<String>,
    by: String,
    reason: String,
}

/// Lets all blocks that are due pass at once, this time.
pub(super) async fn approve(State(api): State<Api>, bytes: Bytes) -> Result<Json<plan::Plan>, Problem> {
    let Approval { site, by, reason } = body(&bytes)?;
    if by.trim().is_empty() || reason.trim().is_empty() {
        return Err(Problem::bad("`by` and `reason` must say who lets the blocks pass, and why"));
    }
    let name = api.site(site);
    let asked = name.clone();
    let job = move |tx: &mut Transaction<'_>| {
        if !tx.image.sites.contains_key(&asked) {
            return Ok(Err(Problem::missing(format!("there is no site `{asked}`"))));
        }
        journal::write(tx, Actor::person(&by), Verb::BlocksApproved, &asked, &reason, json!({}))?;
        tx.touched.let_pass.insert(asked);
        Ok(Ok(()))
    };
    api.write(job).await?;
    plan::of_site(&api, name).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaveOrder {
    site: Option<String>,
    /// On to the next points at once; otherwise: stand still.
    go: bool,
    by: String,
    reason: String,
}

/// A person's word on the wave under way.
pub(super) async fn wave(State(api): State<Api>, bytes: Bytes) -> Result<Json<plan::Plan>, Problem> {
    let WaveOrder { site, go, by, reason } = body(&bytes)?;
    if by.trim().is_empty() || reason.trim().is_empty() {
        return Err(Problem::bad("`by` and `reason` must say who holds the wave or lets it go, and why"));
    }
    let name = api.site(site);
    let asked = name.clone();
    let job = move |tx: &mut Transaction<'_>| {
        let Some(site) = tx.image.sites.get_mut(&asked) else {
            return Ok(Err(Problem::missing(format!("there is no site `{asked}`"))));
        };
        if site.kept.wave.is_none() {
            return Ok(Err(Problem::missing(format!("no wave of new blocks is under way at site `{asked}`"))));
        }
        let verb = if go { Verb::WaveGo } else { Verb::WaveHold };
        site.change(tx.records, &asked, |kept| match &mut kept.wave {
            Some(wave) if go => wave.go(),
            Some(wave) => wave.hold(format!("held by {by}: {reason}")),
            None => {}
        })?;
        journal::write(tx, Actor::person(&by), verb, &asked, &reason, json!({}))?;
        tx.touched.sites.insert(asked);
        Ok(Ok(()))
    };
    api.write(job).await?;
    plan::of_site(&api, name).await
}

pub(super) async fn policy(State(api): State<Api>, uri: Uri) -> Result<Json<Policy>, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let image = api.snapshot();
    let found = image.sites.get(&name).map(|site| image.policy(site).clone());
    found.map(Json).ok_or_else(|| Problem::missing(format!("there is no site `{name}`")))
}

/// Replaces the whole policy of a site.
pub(super) async fn set_policy(State(api): State<Api>, uri: Uri, bytes: Bytes) -> Result<Json<Policy>, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let policy: Policy = body(&bytes)?;
    let kept = policy.clone();
    let job = move |tx: &mut Transaction<'_>| {
        let Some(site) = tx.image.sites.get_mut(&name) else {
            return Ok(Err(Problem::missing(format!("there is no site `{name}`"))));
        };
        site.change(tx.records, &name, |settings| settings.policy = Some(kept.clone()))?;
        let reason = format!("mode {}, grace {}, soft phase {}", kept.mode.as_str(), kept.grace.period, kept.grace.soft_phase);
        journal::write(tx, Actor::Admin, Verb::PolicyChanged, &name, &reason, serde_json::to_value(&kept).unwrap_or_default())?;
        tx.touched.sites.insert(name);
        Ok(Ok(()))
    };
    api.write(job).await?;
    Ok(Json(policy))
}

/// The newest signed set of a site.
pub(super) async fn decisions(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let shown = api.handle.inner.windows.decisions(&name).borrow().clone();
    Ok(shown.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |signed| Json(&*signed).into_response()))
}

pub(super) async fn verifying_key(State(api): State<Api>) -> Json<VerifyingKey> {
    Json(api.handle.verifying_key())
}
