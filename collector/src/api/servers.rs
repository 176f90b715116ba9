//! `/v1/servers`: the servers that were seen.

use super::Api;
use crate::http::{problem::Problem, read::query};
use axum::{
    Json,
    extract::{Path, State},
    http::Uri,
};
use rules::{confidence::Confidence, nomination, wire::v1::ServerReport};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    site: Option<String>,
    /// At least this sure.
    confidence: Option<Confidence>,
    limit: Option<usize>,
    /// Also places where somebody only tried.
    #[serde(default)]
    attempts: bool,
}

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Vec<ServerReport>>, Problem> {
    let Filter { site, confidence, limit, attempts } = query(&uri)?;
    let now = api.now();
    let reports = api.read(move |image| {
        let sites = image.sites.iter().filter(|(name, _)| site.as_ref().is_none_or(|s| s == *name));
        let servers = sites.flat_map(|(_, site)| site.inventory.servers().map(|s| (s, image.policy(site))));
        let servers = servers.filter(|(s, policy)| attempts || !s.is_attempt(&image.pack) || nomination::nominates(s, policy));
        let sure = servers.filter(|(s, _)| confidence.is_none_or(|least| s.judgement(&image.pack).confidence >= least));
        let report = |(s, policy)| ServerReport::new(s, &image.pack).registered(s, &image.registry, now).named(s, policy);
        sure.take(limit.unwrap_or(usize::MAX)).map(report).collect()
    });
    Ok(Json(reports.await?))
}

pub(super) async fn one(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<ServerReport>, Problem> {
    let now = api.now();
    let wanted = key.clone();
    let found = api.read(move |image| {
        let (server, site) = image.sites.values().find_map(|site| Some((site.inventory.find(&wanted)?, site)))?;
        Some(ServerReport::new(server, &image.pack).registered(server, &image.registry, now).named(server, image.policy(site)))
    });
    found.await?.map(Json).ok_or_else(|| Problem::missing(format!("no server `{key}` is known (SITE/ADDRESS:PORT/PATH)")))
}
