//! `/v1/enforce/plan`: the blocks, and the clients they would break.

use super::{Api, OfSite};
use crate::{
    http::{problem::Problem, read::query},
    image::Image,
};
use axum::{Json, extract::State, http::Uri};
use rules::{
    Timestamp,
    blast::{BlastRadius, RecentClient},
    compose::WithheldBlock,
    decision::Decision,
    fleet::{Fleet, FleetCoverage, Tried, Wave},
    observation::Applied,
};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

/// Clients shown with one decision.
const MOST_TRIED: usize = 50;

/// The newest set of a site, and the meaning of each decision for people.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Plan {
    site: String,
    generation: u64,
    issued_at: Timestamp,
    not_after: Timestamp,
    agents: Vec<ipnet::IpNet>,
    entries: Vec<Planned>,
    /// Wanted, and not made.
    held: Vec<WithheldBlock>,
    /// Why no new block was made in the last round; a person lets them pass with POST /v1/enforce/approve.
    waits_for_approval: Option<String>,
    /// The wave of new blocks under way.
    wave: Option<Wave>,
    coverage: FleetCoverage,
    /// The last report of each enforcement point.
    points: BTreeMap<String, Option<Applied>>,
    /// When each of them was heard last.
    heard: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug, Serialize)]
struct Planned {
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
    of_site(&api, name).await
}

/// The plan of a site as of now.
pub(super) async fn of_site(api: &Api, name: String) -> Result<Json<Plan>, Problem> {
    let (asked, now) = (name.clone(), api.now());
    let found = api.read(move |image| make_plan(image, &asked, now)).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("nothing was issued for site `{name}` yet")))
}

fn make_plan(image: &Image, name: &str, now: Timestamp) -> Option<Plan> {
    let site = image.sites.get(name)?;
    let set = &site.issued.as_ref()?.set;
    let fleet_points = image.points(name);
    let fleet = Fleet { points: &fleet_points, wave: site.kept.wave.as_ref() };
    let coverage = fleet.coverage(image.policy(site), now);
    let planned = |decision: &Decision| {
        let known = site.inventory.record(decision.endpoint);
        let radius = BlastRadius::of(known.into_iter().flat_map(|record| record.servers()), &set.agents, now);
        let client = |c: RecentClient| Client { address: c.address, last_seen: c.last, software: c.software.map(|s| s.name) };
        let breaks = radius.breaks.into_iter().map(client).collect();
        let unaffected = radius.spares.into_iter().map(|c| c.address).collect();
        let why = site.matters.get(&decision.finding).map(|m| m.finding.reasons.clone()).unwrap_or_default();
        let (tried, tried_more) = fleet.tried(&decision.finding, MOST_TRIED);
        Planned { tried, tried_more, decision: decision.clone(), breaks, unaffected, why }
    };
    Some(Plan {
        site: name.to_owned(),
        generation: set.generation,
        issued_at: set.issued_at,
        not_after: set.not_after,
        agents: set.agents.clone(),
        entries: set.decisions.iter().map(planned).collect(),
        held: site.held.to_vec(),
        waits_for_approval: site.hold.as_deref().map(str::to_owned),
        wave: site.kept.wave.clone(),
        coverage,
        heard: image.enforcers(name).filter_map(|(n, s)| Some((n.clone(), s.heard_at?))).collect(),
        points: image.enforcers(name).map(|(n, s)| (n.clone(), s.applied.clone())).collect(),
    })
}
