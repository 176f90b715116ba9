//! Connections to one backend, kept for the next request while they are whole.

use super::{cause::chain_of, dial, target::Target};
use crate::config::Forward;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, client::conn::http1::SendRequest};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    task::AbortHandle,
    time::{error::Elapsed, timeout, timeout_at},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot be connected to: {0}")]
    Unreachable(String),
    /// The request may have been executed: it is never sent again.
    #[error("broke off before it answered: {0}")]
    BrokeOff(String),
    #[error("did not answer within {}", rules::period::Period(*.0))]
    Silent(Duration),
}

/// All backends' connections.
#[derive(Debug)]
pub(super) struct Pools {
    config: Forward,
    tls: OnceLock<Result<Arc<rustls::ClientConfig>, String>>,
    pools: Mutex<HashMap<Arc<Target>, Arc<Pool>>>,
}

#[derive(Debug)]
pub(crate) struct Pool {
    keep_alive: Duration,
    bound: usize,
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    lease: Lease,
    since: Instant,
}

/// A connection in use by one HTTP transaction. Dropped, it is closed at once, which tells the backend that nobody waits any more.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) peer: SocketAddr,
    driver: AbortHandle,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A started answer: its head, and the connection its body comes from.
#[derive(Debug)]
pub(super) struct BackendResponse {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) pool: Arc<Pool>,
}

impl Pools {
    pub(super) fn new(config: &Forward) -> Pools {
        Pools { config: config.clone(), tls: OnceLock::new(), pools: Mutex::default() }
    }

    pub(super) fn keep(&self, targets: &HashSet<&Arc<Target>>) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).retain(|t, _| targets.contains(t));
    }

    pub(super) async fn send(&self, target: &Arc<Target>, request: Request<Full<Bytes>>) -> Result<BackendResponse, Failure> {
        let pool = self.pool(target);
        let within = self.config.answer_time.0;
        let deadline = tokio::time::Instant::now() + within;
        let silent = |_: Elapsed| Failure::Silent(within);
        let mut request = request;
        // An idle connection may have been closed under way. What was certainly not sent goes out again on a new one.
        if let Some(mut lease) = pool.take().await {
            let sent = timeout_at(deadline, lease.sender.try_send_request(request)).await.map_err(silent)?;
            match sent {
                Ok(response) => return Ok(BackendResponse { response, lease, pool }),
                Err(mut why) => match why.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broke_off(why.into_error())),
                },
            }
        }
        let mut lease = self.open(target).await?;
        let sent = timeout_at(deadline, lease.sender.send_request(request)).await.map_err(silent)?;
        Ok(BackendResponse { response: sent.map_err(broke_off)?, lease, pool })
    }

    fn pool(&self, target: &Arc<Target>) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(target) {
            return pool.clone();
        }
        let pool = Arc::new(Pool { keep_alive: self.config.keep_alive.0, bound: self.config.idle_connections, idle: Mutex::default() });
        pools.insert(target.clone(), pool.clone());
        pool
    }

    async fn open(&self, target: &Target) -> Result<Lease, Failure> {
        let tls = match target.tls {
            false => None,
            true => Some(self.tls.get_or_init(|| dial::tls(&self.config.roots)).clone().map_err(Failure::Unreachable)?),
        };
        let (sender, peer, driver) = dial::open(target, tls, self.config.connect_time.0).await.map_err(Failure::Unreachable)?;
        Ok(Lease { sender, peer, driver })
    }
}

impl Pool {
    /// The youngest idle connection that still stands.
    async fn take(&self) -> Option<Lease> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()?;
            let mut lease = idle.lease;
            if idle.since.elapsed() >= self.keep_alive || lease.sender.is_closed() {
                continue;
            }
            // Its last answer was read to the end; the connection only has to notice that.
            if let Ok(Ok(())) = timeout(Duration::from_secs(1), lease.sender.ready()).await {
                return Some(lease);
            }
        }
    }

    /// Gives a connection back whose answer was read to its end.
    pub(crate) fn put(&self, lease: Lease) {
        if lease.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle.front().is_some_and(|i| i.since.elapsed() >= self.keep_alive) {
            idle.pop_front();
        }
        if idle.len() < self.bound {
            idle.push_back(Idle { lease, since: Instant::now() });
        }
    }
}

fn broke_off(why: hyper::Error) -> Failure {
    Failure::BrokeOff(rules::printable::printable(&chain_of(&why), 200))
}
