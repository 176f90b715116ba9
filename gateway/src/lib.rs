//! The gateway: `POST /mcp/v1/tools/<slug>/rpc` in front of registered MCP servers.
//!
//! A request passes [`pipeline`] from top to bottom: authenticate, authorize, limit, validate, forward, audit. There is no
//! other way to a backend. What it decides by arrives as a signed [`bundle`]; gateways share nothing else.

pub mod authenticate;
pub mod bundle;
pub mod config;
mod hex;
mod listen;

pub use config::Config;

use rules::wire::v1::Signed;
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};
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
    #[error("cannot keep the audit log in {path}: {source}. The gateway refuses calls it cannot record")]
    Audit { path: PathBuf, source: io::Error },
    #[error("the gateway's task ended unexpectedly: {0}")]
    Task(String),
}

/// Serves until `shutdown`, then lets open exchanges end for [`config::Bounds::drain_time`].
pub async fn run(config: Config, bundle: watch::Receiver<Option<Arc<Signed>>>, shutdown: CancellationToken) -> Result<(), Error> {
    start(config, bundle, shutdown).await?.wait().await
}

/// As [`run`], but returns as soon as clients can connect.
pub async fn start(config: Config, bundle: watch::Receiver<Option<Arc<Signed>>>, shutdown: CancellationToken) -> Result<Running, Error> {
    let verifier = bundle::Verifier::new(&config.bundle_keys)?;
    let listener = listen::bind(config.listen).await?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address: config.listen, source })?;
    let (books, book) = watch::channel(None);
    let follow = bundle::follow(verifier, bundle, books, shutdown.clone());
    let task = tokio::spawn(async move {
        tokio::join!(follow, listen::serve(listener, config.bounds, book, shutdown));
        Ok(())
    });
    tracing::info!(%address, "the gateway accepts calls");
    Ok(Running { address, task })
}

/// A gateway that serves. Dropping it does not stop it: cancel the token given to [`start`].
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Where it listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Until it has stopped.
    pub async fn wait(self) -> Result<(), Error> {
        self.task.await.map_err(|e| Error::Task(e.to_string()))?
    }
}
