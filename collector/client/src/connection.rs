//! One collector, one identity: HTTPS with our certificate, no redirect, no proxy, bounded answers.

use crate::{Error, Identity};
use rules::wire::{printable, printable_bytes};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Bytes of an answer that is an acknowledgement, a certificate or an error.
pub(crate) const SMALL_ANSWER: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to the last byte of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 60 });

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
    /// [`Error::File`] when a file cannot be read, [`Error::Credentials`] when key and certificate do not fit.
    pub fn open(identity: &Identity) -> Result<Connection, Error> {
        let client = client(identity.client_config()?)?;
        Ok(Connection { client: Arc::new(RwLock::new(client)), identity: identity.clone() })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The requests under way end on the connections that they began on.
    pub(crate) fn change_over(&self, renewed: &Identity) -> Result<(), Error> {
        let fresh = client(renewed.client_config()?)?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<Reply, Error> {
        post(&self.client(), &self.identity.url, path, body).await
    }

    /// `most` bounds the bytes of the answer, `timeout` the time until its last one.
    pub(crate) async fn get(&self, path: &str, timeout: Duration, most: usize) -> Result<Reply, Error> {
        let url = &self.identity.url;
        send(self.client().get(format!("{url}{path}")).timeout(timeout), url, most).await
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn client(config: ClientConfig) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|why| Error::Credentials(chain(&why)))
}

async fn post<T: Serialize>(client: &reqwest::Client, base: &str, path: &str, body: &T) -> Result<Reply, Error> {
    send(client.post(format!("{base}{path}")).json(body), base, SMALL_ANSWER).await
}

/// A request whose answer is one document, or a refusal: both ways to a certificate.
pub(crate) async fn ask<T: DeserializeOwned>(client: &reqwest::Client, base: &str, path: &str, body: &impl Serialize) -> Result<T, Error> {
    let Reply { status, body } = post(client, base, path, body).await?;
    match status {
        200 | 201 => serde_json::from_slice(&body).map_err(|why| Error::Answer(why.to_string())),
        _ => Err(no_document(base, status, &body)),
    }
}

/// The error that an answer other than the one asked for stands for.
pub(crate) fn no_document(base: &str, status: u16, body: &[u8]) -> Error {
    match status {
        400..=499 => Error::Refused(refusal(body)),
        _ => Error::Unreachable { url: base.to_owned(), why: format!("it answered {status} {}", printable_bytes(body, 200)) },
    }
}

/// The collector's own words, or the bytes that came instead of them.
fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { error }) => printable(&error, 300),
        Err(_) => printable_bytes(body, 200),
    }
}

/// Sends a request and reads its answer, of at most `most` bytes.
async fn send(request: reqwest::RequestBuilder, base: &str, most: usize) -> Result<Reply, Error> {
    let unreachable = |why: reqwest::Error| Error::Unreachable { url: base.to_owned(), why: chain(&why) };
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        if body.len().saturating_add(part.len()) > most {
            return Err(Error::Answer(format!("it is longer than {most} bytes")));
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
