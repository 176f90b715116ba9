//! The roles of one process, and the channels between them.

use crate::{
    config::Config,
    role::{self, channels},
};
use collector_client::Statements;
use gnomon_enforcer::{Links, Point};
use launch::Failure;
use rules::evidence::Evidence;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// What was started, for the start screen.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) config: Config,
    pub(super) data: PathBuf,
    pub(super) admin: SocketAddr,
    pub(super) gateway: SocketAddr,
    pub(super) key_id: String,
}

/// A role that ended before it was asked to.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) role: &'static str,
    pub(super) why: String,
}

#[derive(Debug)]
pub(super) struct Roles {
    pub(super) started: Started,
    running: JoinSet<Ended>,
    /// Roles of `running` that have not ended.
    alive: Vec<&'static str>,
    collector: collector::Running,
    /// Ends the collector: after all who speak to it.
    last: CancellationToken,
}

/// Evidence on its way to the screen. The screen may miss some when it is slow; the collector does not.
const TO_SCREEN: usize = 4096;

impl Roles {
    /// Starts all, or none. Evidence is shown to the receiver as it passes.
    pub(super) async fn start(
        config: Config,
        data: &Path,
        shutdown: CancellationToken,
    ) -> Result<(Roles, mpsc::Receiver<Evidence>), Failure> {
        let last = CancellationToken::new();
        let settings = config.collector_at(data);
        let collector = role::collector::start(settings, data, last.clone()).await?;
        let started = Roles::beside(config, data, &collector, shutdown).await;
        match started {
            Ok((started, running, news)) => {
                let alive = vec!["sensor", "enforcer", "gateway"];
                Ok((Roles { started, running, alive, collector, last }, news))
            }
            Err(failure) => {
                last.cancel();
                drop(collector.wait().await);
                Err(failure)
            }
        }
    }

    /// All but the collector.
    async fn beside(
        mut config: Config,
        data: &Path,
        collector: &collector::Running,
        shutdown: CancellationToken,
    ) -> Result<(Started, JoinSet<Ended>, mpsc::Receiver<Evidence>), Failure> {
        let handle = collector.handle();
        let key = handle.verifying_key();
        let statements = Statements::begin(data, rules::Timestamp::now()).map_err(gnomon_sensor::join::failed)?;
        config.sensor = config.sensor_at(data);
        config.enforcer = config.enforcer_at(data);
        config.enforcer.trusted_keys = vec![key.public_key.clone()];
        let point = Point::prepare(config.enforcer.clone(), data)?;
        config.gateway = config.gateway_at(data);
        config.gateway.bundle_keys = vec![key.public_key.clone()];

        let gateway = role::gateway::start(config.gateway.clone(), handle.bundle(), shutdown.clone()).await?;
        let address = gateway.address();
        let mut running = JoinSet::new();
        running.spawn(async move { ended("gateway", gateway.wait().await) });

        let (reports, applied) = mpsc::channel(64);
        let (onward, carried) = mpsc::channel(64);
        let (shown, seen_by_health) = mpsc::channel(8);
        let (told, health) = watch::channel(None);
        let health = config.health.enabled.then_some(health);
        let (hand, sets) = mpsc::channel(1);
        tokio::spawn(channels::hand_on(handle.decisions(), hand));
        let enforcer = point.run(Links { sets, health, reports }, shutdown.clone());
        running.spawn(async move { ended("enforcer", enforcer.await.map_err(reason)) });
        tokio::spawn(channels::tee(applied, onward, shown));
        let at = collector.admin_address().to_string();
        tokio::spawn(crate::health::watch(config.health.clone(), Some(at), seen_by_health, told));
        tokio::spawn(channels::report(statements, carried, handle.clone()));

        let (deliveries, batches) = mpsc::channel(4);
        let (seen, news) = mpsc::channel(TO_SCREEN);
        let sensor = gnomon_sensor::start(config.sensor.clone(), sensor::Uplink::InProcess(deliveries), shutdown);
        running.spawn(async move { ended("sensor", sensor.await.map_err(reason)) });
        tokio::spawn(channels::feed(batches, handle, Some(seen)));

        let admin = collector.admin_address();
        let started = Started { config, data: data.to_owned(), admin, gateway: address, key_id: key.key_id };
        Ok((started, running, news))
    }

    /// The next role to end. `None` when all have.
    pub(super) async fn next_ended(&mut self) -> Option<Ended> {
        let ended = self.running.join_next().await?;
        Some(self.note(ended))
    }

    fn note(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Ended {
        let ended = ended.unwrap_or_else(|why| Ended { role: "a role", why: format!("stopped: {why}") });
        self.alive.retain(|r| *r != ended.role);
        ended
    }

    /// Waits for the roles, then for the collector. Gives those that did not end in time.
    pub(super) async fn end(mut self, roles: Duration, collector: Duration) -> Vec<&'static str> {
        let by = Instant::now() + roles;
        while let Ok(Some(ended)) = timeout_at(by, self.running.join_next()).await {
            self.note(ended);
        }
        let mut late = std::mem::take(&mut self.alive);
        self.last.cancel();
        match tokio::time::timeout(collector, self.collector.wait()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::error!(%why, "the collector did not end well");
                late.push("collector");
            }
            Err(_) => late.push("collector"),
        }
        late
    }
}

/// The event alone: its place and its repair are for somebody who starts a role by hand.
fn reason(failure: Failure) -> String {
    match failure {
        Failure::Because { what, .. } => what,
        gone @ Failure::ReaderGone => gone.to_string(),
    }
}

fn ended<E: std::fmt::Display>(role: &'static str, result: Result<(), E>) -> Ended {
    Ended { role, why: result.map_or_else(|why| why.to_string(), |()| "ended by itself".to_owned()) }
}
