//! `/metrics`: the status, for Prometheus.

use super::{
    Api,
    sensors::{self, SensorReport},
    status::{self, Status},
};
use crate::{http::problem::Problem, store::Unavailable};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::sync::atomic::AtomicU64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;
type Gauges = Family<Labels, Number>;
type Counters = Family<Labels, Counter>;

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let status = status::gather(&api).await?;
    let sensors = api.read(sensors::reports).await?;
    let mut registry = Registry::with_prefix("gnomon");
    sites(&mut registry, &status);
    totals(&mut registry, &status);
    silence(&mut registry, &sensors, &status);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|why| Unavailable::Failed(why.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    let family = Gauges::default();
    registry.register(name, help, family.clone());
    family
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Counters {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

fn sites(registry: &mut Registry, status: &Status) {
    let servers = gauges(registry, "servers", "Servers known, by confidence");
    let findings = gauges(registry, "findings", "Open findings, by kind");
    let generations = gauges(registry, "decision_generation", "Generation of the newest decision set");
    let decisions = gauges(registry, "decisions", "Decisions in the newest set, and blocks held back");
    let covered = gauges(registry, "enforcement", "Blocks that enforcement points should hold, and do, by their own word");
    for (name, site) in &status.sites {
        let set = |family: &Gauges, label: &'static str, value: &str, n: f64| {
            family.get_or_create(&vec![("site", name.clone()), (label, value.to_owned())]).set(n);
        };
        site.servers.iter().for_each(|(confidence, n)| set(&servers, "confidence", confidence, *n as f64));
        site.findings.iter().for_each(|(kind, n)| set(&findings, "kind", kind, *n as f64));
        if let Some(generation) = site.generation {
            generations.get_or_create(&vec![("site", name.clone())]).set(generation as f64);
        }
        set(&decisions, "action", "block", site.blocks as f64);
        set(&decisions, "action", "shadow", site.shadows as f64);
        set(&decisions, "action", "held", site.held as f64);
        set(&covered, "what", "desired", site.coverage.desired as f64);
        set(&covered, "what", "enforced", site.coverage.enforced as f64);
    }
}

fn totals(registry: &mut Registry, status: &Status) {
    let mut one = |name: &str, help: &str, n: f64| {
        let number = Number::default();
        number.set(n);
        registry.register(name, help, number);
    };
    one("registrations", "Registered servers", status.registrations as f64);
    one("observations_stored", "Raw observations kept", status.observations as f64);
    one("outbox_waiting", "Messages not delivered yet", status.outbox_waiting as f64);
    one("journal_rows", "Rows of the journal", status.journal.id as f64);
    let lost = counters(registry, "lost", "Counts of what did not fit or was refused since the start");
    for (reason, n) in &status.lost {
        lost.get_or_create(&vec![("what", reason.clone())]).inc_by(*n);
    }
}

fn silence(registry: &mut Registry, sensors: &[SensorReport], status: &Status) {
    let gaps = counters(registry, "sensor_gaps", "Observations a sensor lost before sending");
    let silent = gauges(registry, "sensor_silent_seconds", "Since a sensor was heard");
    for sensor in sensors {
        let labels = vec![("sensor", sensor.name.clone())];
        gaps.get_or_create(&labels).inc_by(sensor.gaps);
        if let Some(at) = sensor.heard_at {
            silent.get_or_create(&labels).set(status.now.duration_since(at).as_secs_f64());
        }
    }
}
