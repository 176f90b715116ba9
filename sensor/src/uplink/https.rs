//! The way to a collector elsewhere: HTTPS with our certificate, trusting one root.

use super::{
    Undelivered,
    enroll::{EnrollError, Enrolled},
};
use rules::{
    printable::{printable, printable_bytes},
    wire::v1::{Ack, Batch},
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// An answer of a collector is small.
const MAX_ANSWER: usize = 64 << 10;

/// A connection to one collector. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpsUplink {
    /// Replaced when the certificate is renewed, and its connections with it.
    client: Arc<RwLock<reqwest::Client>>,
    enrolled: Enrolled,
}

impl Enrolled {
    /// TLS with our certificate, trusting the collector's root and no other: for whoever else of this machine speaks to it.
    pub fn client_config(&self) -> Result<ClientConfig, EnrollError> {
        let (chain, ..) = self.credentials()?;
        self.client_config_with(chain)
    }

    /// The same with another certificate; an error when our key is not its key.
    pub(super) fn client_config_with(&self, chain: Vec<CertificateDer<'static>>) -> Result<ClientConfig, EnrollError> {
        let (_, key, root) = self.credentials()?;
        let bad = |why: rustls::Error| EnrollError::Answer(why.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(bad)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(bad)?;
        builder.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(bad)
    }
}

impl HttpsUplink {
    pub fn new(enrolled: &Enrolled) -> Result<HttpsUplink, EnrollError> {
        let client = client(enrolled.client_config()?).map_err(EnrollError::Answer)?;
        Ok(HttpsUplink { client: Arc::new(RwLock::new(client)), enrolled: enrolled.clone() })
    }

    /// Renews the certificate in time; until it is dropped.
    pub(super) async fn keep_fresh(self) {
        let enrolled = self.enrolled.clone();
        enrolled.keep_fresh(|renewed| self.change_over(renewed)).await;
    }

    pub(super) fn change_over(&self, renewed: &Enrolled) -> Result<(), EnrollError> {
        let fresh = client(renewed.client_config()?).map_err(EnrollError::Answer)?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn deliver(&self, batch: &Batch) -> Result<Ack, Undelivered> {
        let Reply { status, body } =
            post(&self.client(), &format!("{}/v1/observations", self.enrolled.url), batch).await.map_err(Undelivered::Later)?;
        let said = || format!("{status} {}", printable_bytes(&body, 200));
        match status {
            200 => serde_json::from_slice(&body).map_err(|why| Undelivered::Later(format!("not an acknowledgement: {why}"))),
            // This spool was set back: by a snapshot, a backup, a copy.
            409 => match serde_json::from_slice(&body) {
                Ok(Over { epoch }) => Ok(Ack { epoch, seq: 0 }),
                Err(_) => Err(Undelivered::Later(said())),
            },
            // It understood us and will not have it: sending the same again changes nothing.
            400 | 413 | 422 => Err(Undelivered::Never(said())),
            _ => Err(Undelivered::Later(said())),
        }
    }
}

/// What a collector says of a batch under an epoch that is over: the epoch that counts.
#[derive(Deserialize)]
struct Over {
    epoch: u64,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

pub(super) fn client(config: ClientConfig) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(60))
        .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|why| chain(&why))
}

pub(super) async fn post<T: Serialize>(client: &reqwest::Client, url: &str, body: &T) -> Result<Reply, String> {
    let mut response = client.post(url).json(body).send().await.map_err(|why| chain(&why))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|why| chain(&why))? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err("the answer is too long".to_owned());
        }
        body.extend_from_slice(&part);
    }
    Ok(Reply { status, body })
}

/// An error with its causes: reqwest keeps the reason in them.
fn chain(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    printable(&text, 300)
}
