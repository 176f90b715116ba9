//! `/v1/status` and `/metrics`: how it goes, in counts.

use super::{Api, problem::Problem};
use crate::state::State as Known;
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use rules::{
    Timestamp,
    admission::Escalation,
    confidence::Confidence,
    decision::Action,
    fleet::{Fleet, FleetCoverage, Wave},
    policy::Mode,
};
use rusqlite::Connection;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

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
    pub(crate) packs: Option<crate::packs::InForce>,
    /// What did not fit or was refused since the start, by what it was.
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

/// What only the database knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    observations: u64,
    waiting: u64,
}

fn stored(db: &Connection) -> crate::store::Outcome<Stored> {
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).map(i64::unsigned_abs);
    Ok(Stored {
        observations: count("SELECT count(*) FROM observations")?,
        waiting: count("SELECT count(*) FROM outbox WHERE state = 'waiting'")?,
    })
}

pub(crate) async fn gather(api: &Api) -> Result<Status, Problem> {
    let stored = api.query(stored).await?;
    let (now, key, refused) = (api.now(), api.handle.verifying_key(), api.handle.inner.writer.refused());
    let turned = api.handle.inner.turned.counts();
    api.read(move |state| {
        let mut lost: BTreeMap<String, u64> = state.lost.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect();
        lost.insert("writer-busy".to_owned(), refused);
        lost.extend(turned.map(|(what, n)| (what.to_owned(), n)));
        for site in state.sites.values() {
            for (what, n) in site.inventory.lost() {
                *lost.entry(format!("inventory-{what}")).or_default() += n;
            }
        }
        Status {
            version: env!("CARGO_PKG_VERSION"),
            now,
            sites: state.sites.keys().filter_map(|name| Some((name.clone(), site_status(state, name, now)?))).collect(),
            registrations: state.registry.registrations.len(),
            sensors: state.sensors.len(),
            observations: stored.observations,
            outbox_waiting: stored.waiting,
            journal: Newest { id: state.journal.id, hash: crate::hex(&state.journal.hash) },
            bundle_generation: state.bundle.as_ref().map(|(g, _)| *g),
            verifying_key: key,
            packs: state.packs.clone(),
            lost,
        }
    })
    .await
}

fn site_status(state: &Known, name: &str, now: Timestamp) -> Option<SiteStatus> {
    let site = state.sites.get(name)?;
    let policy = state.policy(site);
    let mut servers: BTreeMap<_, usize> =
        [Confidence::Confirmed, Confidence::Probable, Confidence::Candidate].map(|c| (c.as_str(), 0)).into();
    for server in site.inventory.servers() {
        *servers.entry(server.judgement(&state.pack).confidence.as_str()).or_default() += 1;
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
        waits_for_approval: site.hold.clone(),
        coverage: Fleet { points: &state.points(name), wave: None }.coverage(policy, now),
        wave: site.kept.wave.clone(),
    })
}

pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, Problem> {
    gather(&api).await.map(Json)
}

/// Prometheus text format 0.0.4.
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let s = gather(&api).await?;
    let sensors = api.read(super::sensors::reports).await?;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, f64)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP gnomon_{name} {help}\n# TYPE gnomon_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "gnomon_{name}{labels} {value}");
        }
    };
    let mut servers = Vec::new();
    let (mut findings, mut sets, mut blocks, mut covered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (site, st) in &s.sites {
        servers.extend(st.servers.iter().map(|(c, n)| (format!("{{site=\"{site}\",confidence=\"{c}\"}}"), *n as f64)));
        findings.extend(st.findings.iter().map(|(k, n)| (format!("{{site=\"{site}\",kind=\"{k}\"}}"), *n as f64)));
        sets.extend(st.generation.map(|g| (format!("{{site=\"{site}\"}}"), g as f64)));
        covered.push((format!("{{site=\"{site}\",what=\"desired\"}}"), st.coverage.desired as f64));
        covered.push((format!("{{site=\"{site}\",what=\"enforced\"}}"), st.coverage.enforced as f64));
        blocks.push((format!("{{site=\"{site}\",action=\"block\"}}"), st.blocks as f64));
        blocks.push((format!("{{site=\"{site}\",action=\"shadow\"}}"), st.shadows as f64));
        blocks.push((format!("{{site=\"{site}\",action=\"held\"}}"), st.held as f64));
    }
    family("servers", "gauge", "Servers known, by confidence.", servers);
    family("findings", "gauge", "Open findings, by kind.", findings);
    family("decision_generation", "gauge", "Generation of the newest decision set.", sets);
    family("decisions", "gauge", "Decisions in the newest set, and blocks held back.", blocks);
    family("enforcement", "gauge", "Blocks that enforcement points should hold, and do, by their own word.", covered);
    family("registrations", "gauge", "Registered servers.", vec![(String::new(), s.registrations as f64)]);
    family("observations_stored", "gauge", "Raw observations kept.", vec![(String::new(), s.observations as f64)]);
    family("outbox_waiting", "gauge", "Messages not delivered yet.", vec![(String::new(), s.outbox_waiting as f64)]);
    family("journal_rows", "counter", "Rows of the journal.", vec![(String::new(), s.journal.id as f64)]);
    let lost = s.lost.iter().map(|(what, n)| (format!("{{what=\"{what}\"}}"), *n as f64)).collect();
    family("lost_total", "counter", "What did not fit or was refused since the start.", lost);
    let gaps = sensors.iter().map(|r| (format!("{{sensor=\"{}\"}}", r.name), r.gaps as f64)).collect();
    family("sensor_gaps_total", "counter", "Observations a sensor lost before sending.", gaps);
    let age = |at: Timestamp| s.now.duration_since(at).as_secs_f64();
    let heard = sensors.iter().filter_map(|r| Some((format!("{{sensor=\"{}\"}}", r.name), age(r.heard_at?)))).collect();
    family("sensor_silent_seconds", "gauge", "Since a sensor was heard.", heard);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
