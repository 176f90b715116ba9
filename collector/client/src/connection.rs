//! One collector, one identity: HTTPS with our certificate, no redirect, no proxy, bounded answers.

use crate::{Error, Identity};
use rules::wire::printable;
use rustls::ClientConfig;
use serde::Serialize;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Bytes of an answer that is an acknowledgement, a certificate or an error.
pub(crate) const SMALL_ANSWER: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to the last byte of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Replaced when the certificate is renewed, and its connections with it.
    client: Arc<RwLock<reqwest::Client>>,
    identity: Identity,
}

impl Connection {
    /// Reads the identity's files. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Answer`] when key and certificate do not fit.
    pub fn open(identity: &Identity) -> Result<Connection, Error> {
        let client = client(identity.client_config()?).map_err(Error::Answer)?;
        Ok(Connection { client: Arc::new(RwLock::new(client)), identity: identity.clone() })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Renews the certificate in time, and changes over to it; until it is dropped.
    pub async fn keep_fresh(self) {
        let identity = self.identity.clone();
        identity.keep_fresh(|renewed| self.change_over(renewed)).await;
    }

    pub(crate) fn change_over(&self, renewed: &Identity) -> Result<(), Error> {
        let fresh = client(renewed.client_config()?).map_err(Error::Answer)?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.identity.url)
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn client(config: ClientConfig) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|why| chain(&why))
}

pub(crate) async fn post<T: Serialize>(client: &reqwest::Client, url: &str, body: &T) -> Result<Reply, String> {
    send(client.post(url).json(body), SMALL_ANSWER).await
}

/// Sends a request and reads its answer, of at most `most` bytes.
pub(crate) async fn send(request: reqwest::RequestBuilder, most: usize) -> Result<Reply, String> {
    let mut response = request.send().await.map_err(|why| chain(&why))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|why| chain(&why))? {
        if body.len() + part.len() > most {
            return Err(format!("the collector's answer is longer than {most} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(Reply { status, body })
}

/// An error with its causes: reqwest keeps the reason in them.
fn chain(why: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(why), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>();
    printable(&causes.join(": "), 300)
}

#[cfg(test)]
mod tests;
