//! `/v1/status`: how it goes, in counts.

use super::Api;
use crate::{http::problem::Problem, image::Image, losses::Loss};
use axum::{Json, extract::State};
use rules::{
    Timestamp,
    admission::Escalation,
    confidence::Confidence,
    decision::Action,
    fleet::{Fleet, FleetCoverage, Wave},
    policy::Mode,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) version: &'static str,
    pub(crate) now: Timestamp,
    pub(crate) sites: BTreeMap<String, SiteStatus>,
    pub(crate) registrations: usize,
    pub(crate) sensors: usize,
    pub(crate) observations: u64,
    pub(crate) outbox_waiting: u64,
    pub(crate) journal: Newest,
    pub(crate) bundle_generation: Option<u64>,
    pub(crate) verifying_key: crate::VerifyingKey,
    /// The site's own signature packs, when a directory is named.
    pub(crate) packs: Option<Arc<crate::packs::InForce>>,
    /// What did not fit or was refused since the start, by reason.
    pub(crate) lost: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Newest {
    pub(crate) id: i64,
    pub(crate) hash: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SiteStatus {
    pub(crate) mode: Mode,
    pub(crate) first_used: Timestamp,
    /// No block before this.
    pub(crate) hard_from: Timestamp,
    pub(crate) servers: BTreeMap<&'static str, usize>,
    pub(crate) findings: BTreeMap<&'static str, usize>,
    pub(crate) generation: Option<u64>,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) blocks: usize,
    pub(crate) shadows: usize,
    pub(crate) held: usize,
    pub(crate) waits_for_approval: Option<String>,
    pub(crate) coverage: FleetCoverage,
    pub(crate) wave: Option<Wave>,
}

pub(crate) async fn gather(api: &Api) -> Result<Status, Problem> {
    let (observations, outbox_waiting) = api.query(|read| Ok((read.observations()?, read.letters_waiting()?))).await?;
    let (now, key, refused) = (api.now(), api.handle.verifying_key(), api.handle.inner.writer.refused());
    let turned = api.turned.counts();
    api.read(move |image| {
        let counted = image.lost.iter().chain([(Loss::WriterBusy, refused)]).chain(turned);
        let mut lost: BTreeMap<String, u64> = counted.map(|(loss, n)| (loss.as_str().to_owned(), n)).collect();
        for site in image.sites.values() {
            for (reason, n) in site.inventory.lost() {
                *lost.entry(format!("inventory-{}", reason.as_str())).or_default() += n;
            }
        }
        Status {
            version: env!("CARGO_PKG_VERSION"),
            now,
            sites: image.sites.keys().filter_map(|name| Some((name.clone(), site_status(image, name, now)?))).collect(),
            registrations: image.registry.registrations.len(),
            sensors: image.sensors.size(),
            observations,
            outbox_waiting,
            journal: Newest { id: image.journal.id, hash: crate::hex(&image.journal.hash) },
            bundle_generation: image.bundle.as_ref().map(|(g, _)| *g),
            verifying_key: key,
            packs: image.packs.clone(),
            lost,
        }
    })
    .await
}

fn site_status(image: &Image, name: &str, now: Timestamp) -> Option<SiteStatus> {
    let site = image.sites.get(name)?;
    let policy = image.policy(site);
    let mut servers: BTreeMap<_, usize> =
        [Confidence::Confirmed, Confidence::Probable, Confidence::Candidate].map(|c| (c.as_str(), 0)).into();
    for server in site.inventory.servers() {
        *servers.entry(server.judgement(&image.pack).confidence.as_str()).or_default() += 1;
    }
    let mut findings: BTreeMap<_, usize> = BTreeMap::new();
    for matter in site.matters.values().filter(|m| m.case.escalation != Escalation::Closed) {
        *findings.entry(matter.finding.kind.as_str()).or_default() += 1;
    }
    let set = site.issued.as_ref().map(|i| &i.set);
    let count = |action| set.map_or(0, |s| s.decisions.iter().filter(|d| d.action == action).count());
    Some(SiteStatus {
        mode: policy.mode,
        first_used: site.kept.first_used,
        hard_from: policy.grace.hard_from.unwrap_or_else(|| policy.grace.soft_phase.after(site.kept.first_used)),
        servers,
        findings,
        generation: set.map(|s| s.generation),
        not_after: set.map(|s| s.not_after),
        blocks: count(Action::Block),
        shadows: count(Action::Shadow),
        held: site.held.len(),
        waits_for_approval: site.hold.as_deref().map(str::to_owned),
        coverage: Fleet { points: &image.points(name), wave: None }.coverage(policy, now),
        wave: site.kept.wave.clone(),
    })
}

pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, Problem> {
    gather(&api).await.map(Json)
}
