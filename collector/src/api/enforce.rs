//! `/v1/policy`, `/v1/enforce`, `/v1/explain`: what would be blocked, whom it would break, and why.

use super::{Api, body, problem::Problem, query};
use crate::{VerifyingKey, journal, state::State as Known, store::rows};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use rules::{
    Timestamp,
    blast::{BlastRadius, RecentClient},
    compose::WithheldBlock,
    decision::Decision,
    explain::{self, Subject},
    fleet::{Fleet, FleetCoverage, Tried, Wave},
    observation::Applied,
    policy::Policy,
    server::Server,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, net::IpAddr};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfSite {
    site: Option<String>,
}

/// What stands in the newest set, and what each entry means to people.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Plan {
    site: String,
    generation: u64,
    issued_at: Timestamp,
    not_after: Timestamp,
    agents: Vec<ipnet::IpNet>,
    entries: Vec<Entry>,
    /// Wanted, and not made.
    held: Vec<WithheldBlock>,
    /// Why no new block was made in the last round; a person lets them pass with POST /v1/enforce/approve.
    waits_for_approval: Option<String>,
    /// The wave of new blocks under way.
    wave: Option<Wave>,
    coverage: FleetCoverage,
    /// What each enforcement point said last.
    points: BTreeMap<String, Option<Applied>>,
    /// When each of them was heard last.
    heard: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    decision: Decision,
    /// Clients seen at this address and port in the last thirty days that are in the agents' ranges: a block cuts them off.
    breaks: Vec<Client>,
    /// Other clients seen there: a block does not bind them.
    unaffected: Vec<IpAddr>,
    /// Clients that a block stopped, or that were counted: sampled.
    tried: Vec<Tried>,
    /// Clients that tried, and are not in that list.
    tried_more: usize,
    why: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Client {
    address: IpAddr,
    last_seen: Timestamp,
    software: Option<String>,
}

pub(super) async fn plan(State(api): State<Api>, uri: Uri) -> Result<Json<Plan>, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let (asked, now) = (name.clone(), api.now());
    let found = api.read(move |state| make_plan(state, &asked, now)).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("nothing was issued for site `{name}` yet")))
}

fn make_plan(state: &Known, name: &str, now: Timestamp) -> Option<Plan> {
    let site = state.sites.get(name)?;
    let set = &site.issued.as_ref()?.set;
    let known = state.points(name);
    let fleet = Fleet { points: &known, wave: site.kept.wave.as_ref() };
    let coverage = fleet.coverage(state.policy(site), now);
    let entry = |decision: &Decision| {
        let door = site.inventory.door(decision.endpoint);
        let radius = BlastRadius::of(door.into_iter().flat_map(|d| d.servers()), &set.agents, now);
        let client = |c: RecentClient| Client { address: c.address, last_seen: c.last, software: c.software.map(|s| s.name) };
        let breaks = radius.breaks.into_iter().map(client).collect();
        let unaffected = radius.spares.into_iter().map(|c| c.address).collect();
        let why = site.matters.get(&decision.finding).map(|m| m.finding.reasons.clone()).unwrap_or_default();
        let (tried, tried_more) = fleet.tried(&decision.finding, MOST_TRIED);
        Entry { tried, tried_more, decision: decision.clone(), breaks, unaffected, why }
    };
    let points = state.sensors.iter().filter(|(_, s)| s.site == name && (s.applied.is_some() || s.role == crate::Role::Enforcer));
    Some(Plan {
        site: name.to_owned(),
        generation: set.generation,
        issued_at: set.issued_at,
        not_after: set.not_after,
        agents: set.agents.clone(),
        entries: set.decisions.iter().map(entry).collect(),
        held: site.held.clone(),
        waits_for_approval: site.hold.clone(),
        wave: site.kept.wave.clone(),
        coverage,
        heard: points.clone().filter_map(|(n, s)| Some((n.clone(), s.heard_at?))).collect(),
        points: points.map(|(n, s)| (n.clone(), s.applied.clone())).collect(),
    })
}

/// Clients shown with one entry.
const MOST_TRIED: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    site: Option<String>,
    by: String,
    reason: String,
}

/// Lets all blocks that are due pass at once, this time.
pub(super) async fn approve(State(api): State<Api>, bytes: Bytes) -> Result<Json<Plan>, Problem> {
    let Approval { site, by, reason } = body(&bytes)?;
    if by.trim().is_empty() || reason.trim().is_empty() {
        return Err(Problem::bad("`by` and `reason` must say who lets the blocks pass, and why"));
    }
    let name = api.site(site);
    let asked = name.clone();
    let job = move |turn: &mut crate::store::Turn<'_>| {
        if !turn.state.sites.contains_key(&asked) {
            return Ok(Err(Problem::missing(format!("there is no site `{asked}`"))));
        }
        journal::write(turn, &by, "blocks-approved", &asked, &reason, json!({}))?;
        turn.state.touched.let_pass.insert(asked);
        Ok(Ok(()))
    };
    api.write(job).await?;
    let (asked, now) = (name.clone(), api.now());
    let found = api.read(move |state| make_plan(state, &asked, now)).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("nothing was issued for site `{name}` yet")))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    site: Option<String>,
    /// On to the next points at once; otherwise: stand still.
    go: bool,
    by: String,
    reason: String,
}

/// A person's word on the wave under way.
pub(super) async fn wave(State(api): State<Api>, bytes: Bytes) -> Result<Json<Plan>, Problem> {
    let Word { site, go, by, reason } = body(&bytes)?;
    if by.trim().is_empty() || reason.trim().is_empty() {
        return Err(Problem::bad("`by` and `reason` must say who holds the wave or lets it go, and why"));
    }
    let (name, now) = (api.site(site), api.now());
    let asked = name.clone();
    let job = move |turn: &mut crate::store::Turn<'_>| {
        let Some(site) = turn.state.sites.get_mut(&asked) else {
            return Ok(Err(Problem::missing(format!("there is no site `{asked}`"))));
        };
        let Some(wave) = &mut site.kept.wave else {
            return Ok(Err(Problem::missing(format!("no wave of new blocks is under way at site `{asked}`"))));
        };
        let verb = if go { "wave-go" } else { "wave-hold" };
        if go {
            wave.go()
        } else {
            wave.hold(format!("held by {by}: {reason}"))
        }
        let kept = site.kept.clone();
        rows::SITES.put(turn.db, &asked, &kept)?;
        journal::write(turn, &by, verb, &asked, &reason, json!({}))?;
        turn.state.touched.sites.insert(asked);
        Ok(Ok(()))
    };
    api.write(job).await?;
    let asked = name.clone();
    let found = api.read(move |state| make_plan(state, &asked, now)).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("nothing was issued for site `{name}` yet")))
}

pub(super) async fn policy(State(api): State<Api>, uri: Uri) -> Result<Json<Policy>, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let asked = name.clone();
    let found = api.read(move |state| state.sites.get(&asked).map(|site| state.policy(site).clone())).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("there is no site `{name}`")))
}

/// Replaces the whole policy of a site.
pub(super) async fn set_policy(State(api): State<Api>, uri: Uri, bytes: Bytes) -> Result<Json<Policy>, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let policy: Policy = body(&bytes)?;
    let kept = policy.clone();
    let job = move |turn: &mut crate::store::Turn<'_>| {
        let Some(site) = turn.state.sites.get_mut(&name) else {
            return Ok(Err(Problem::missing(format!("there is no site `{name}`"))));
        };
        site.kept.policy = Some(kept.clone());
        rows::SITES.put(turn.db, &name, &site.kept)?;
        let reason = format!("mode {}, grace {}, soft phase {}", kept.mode.as_str(), kept.grace.period, kept.grace.soft_phase);
        journal::write(turn, "admin", "policy-changed", &name, &reason, serde_json::to_value(&kept).unwrap_or_default())?;
        turn.state.touched.sites.insert(name);
        Ok(Ok(()))
    };
    api.write(job).await?;
    Ok(Json(policy))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    subject: String,
}

/// The chain from what was seen to what was decided, as lines.
pub(super) async fn explain(State(api): State<Api>, uri: Uri) -> Result<Json<serde_json::Value>, Problem> {
    let About { subject } = query(&uri)?;
    let wanted: Subject = subject.parse().map_err(Problem::bad)?;
    let now = api.now();
    let lines = api.read(move |state| {
        let mut lines = Vec::new();
        for (name, site) in &state.sites {
            let servers: Vec<&Server> = site.inventory.servers().collect();
            let policy = state.policy(site);
            let points = state.points(name);
            let known = explain::Known {
                site: state.view(name, site, policy, &points),
                servers: &servers,
                matters: &site.matters,
                set: site.issued.as_ref().map(|i| &i.set),
                held: &site.held,
            };
            lines.extend(explain::explain(&wanted, &known, now));
        }
        lines
    });
    Ok(Json(json!({"subject": subject, "lines": lines.await?})))
}

/// The newest signed set of a site.
pub(super) async fn decisions(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let name = api.site(query::<OfSite>(&uri)?.site);
    let shown = api.handle.inner.shown.decisions(&name).borrow().clone();
    Ok(shown.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |signed| Json(&*signed).into_response()))
}

pub(super) async fn verifying_key(State(api): State<Api>) -> Json<VerifyingKey> {
    Json(api.handle.verifying_key())
}
