//! The gateway: `POST /mcp/v1/tools/<slug>/rpc` in front of registered MCP servers.
//!
//! A request passes `pipeline` from top to bottom: host_check, authenticate, read, authorize, limit, validate, forward, audit.
//! There is no other way to a backend. What it decides by arrives as a signed [`bundle`]; gateways share nothing else.

// Strangers' bytes reach nearly every room here. Tests may fail loudly.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod answer;
pub mod audit;
pub mod authenticate;
mod authorize;
pub mod bundle;
pub mod config;
mod forward;
mod hex;
mod host_check;
mod lifecycle;
mod limit;
mod listen;
mod metrics;
mod pipeline;
mod read;
mod route;
mod validate;

pub use config::Config;

use rules::{
    Timestamp,
    wire::v1::{Keys, Signed},
};
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Why a gateway could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}. Another process may hold the port: `ss -ltnp` names it; `listen` chooses another")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("bundle_keys: {0}")]
    BundleKey(#[from] bundle::BundleError),
    #[error("{field}: {why}")]
    Config { field: &'static str, why: String },
    #[error(
        "cannot keep the audit log in {path}: {source}. Calls that cannot be recorded are not let through, so the gateway does not start"
    )]
    Audit { path: PathBuf, source: io::Error },
    #[error("the gateway's task ended unexpectedly: {0}")]
    Task(String),
}

/// Serves until `shutdown`, then lets open HTTP transactions end for [`config::Bounds::drain_time`].
pub async fn run(config: Config, bundle: watch::Receiver<Option<Arc<Signed>>>, shutdown: CancellationToken) -> Result<(), Error> {
    start(config, bundle, shutdown).await?.wait().await
}

/// As [`run`], but returns as soon as clients can connect.
pub async fn start(config: Config, bundle: watch::Receiver<Option<Arc<Signed>>>, shutdown: CancellationToken) -> Result<Running, Error> {
    let keys = Keys::parse(&config.bundle_keys).map_err(bundle::BundleError::from)?;
    let sealer = forward::session::Sealer::new(config.session_key.as_deref()).map_err(|why| Error::Config { field: "session_key", why })?;
    let path = config.data.join("audit");
    // Each connection has one HTTP transaction at a time, and a few records are on their way to the disk.
    let places = config.bounds.connections.saturating_add(4096);
    let opened = audit::Writer::open(&path, &config.audit, places, Timestamp::now());
    let (log, writer) = opened.map_err(|source| Error::Audit { path, source })?;
    let listener = listen::bind(config.listen).await?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address: config.listen, source })?;

    let (policies, policy) = watch::channel(None);
    let refused = Arc::new(AtomicU64::new(0));
    let follow = bundle::follow(keys, bundle, bundle::Keep::new(&config.data), policies, refused.clone(), shutdown.clone());
    let gateway = Arc::new(pipeline::Gateway {
        policy,
        bundles_refused: refused,
        host_check: host_check::HostCheck::new(&config.public_names, &config.origins),
        limiter: Mutex::new(limit::Limiter::new(&config.limit)),
        openings: limit::Openings::default(),
        limit: config.limit,
        forward: forward::Forward::new(&config.forward),
        sealer: Arc::new(sealer),
        log,
        bounds: config.bounds,
        closing: shutdown,
    });
    let task = tokio::spawn(async move {
        let tidy = tidy(gateway.clone());
        let serve = listen::serve(listener, gateway);
        // The writer ends when the last of the others has let go of the log.
        tokio::join!(async { tokio::join!(follow, tidy, serve) }, writer.run());
    });
    tracing::info!(%address, "the gateway accepts calls");
    Ok(Running { address, task })
}

/// Lets go of connections to backends that are no longer registered.
async fn tidy(gateway: Arc<pipeline::Gateway>) {
    let mut policy = gateway.policy.clone();
    loop {
        tokio::select! {
            () = gateway.closing.cancelled() => return,
            Ok(()) = policy.changed() => {}
        }
        if let Some(policy) = &*policy.borrow_and_update() {
            gateway.forward.keep(policy.all_targets());
        }
    }
}

/// A gateway that serves. Dropping it does not stop it: cancel the token given to [`start`].
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Until it has stopped and its audit log is on the disk.
    pub async fn wait(self) -> Result<(), Error> {
        self.task.await.map_err(|e| Error::Task(e.to_string()))
    }
}
