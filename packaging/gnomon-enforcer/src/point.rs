//! The enforcement point of one data directory, from its settings to its end.

use crate::memory;
use enforcer::{Config, health::Health};
use launch::{Failure, Side};
use rules::{observation::Applied, wire::v1::Signed};
use std::{path::Path, sync::Arc};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Ready to run.
#[derive(Debug)]
pub struct Point {
    config: Config,
}

/// The channels of an enforcement point.
#[derive(Debug)]
pub struct Links {
    pub sets: mpsc::Receiver<Arc<Signed>>,
    /// Whether the services that this host needs still answer; without it new blocks have their full lease at once.
    pub health: Option<watch::Receiver<Option<Health>>>,
    pub reports: mpsc::Sender<Applied>,
}

impl Point {
    /// Keeps keys and settings for `gnomon enforce` on this host: it is not told of `--trust` again, and would else judge packets
    /// somewhere else than the enforcer does.
    pub fn prepare(config: Config, data: &Path) -> Result<Point, Failure> {
        memory::remember_keys(data, &config.trusted_keys)?;
        memory::remember_point(data, &config)?;
        Ok(Point { config })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bounds this thread and those it starts; gives what came of it.
    pub fn confine(&self) -> enforcer::confine::Confinement {
        enforcer::confine(&self.config)
    }

    pub async fn run(self, links: Links, shutdown: CancellationToken) -> Result<(), Failure> {
        let Links { sets, health, reports } = links;
        let ended = enforcer::run_gated(self.config, sets, health, reports, shutdown).await;
        ended.map_err(|why| Failure::new(Side::Machine, why, "`gnomon doctor enforcer` names what this machine lacks"))
    }
}
