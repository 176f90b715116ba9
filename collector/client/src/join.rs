//! Joining: a join token becomes a client certificate. The key never leaves this machine.

use crate::{
    Error, Identity,
    connection::{Reply, client, post},
    pin::{Pin, parse_token},
};
use rules::wire::{
    Timestamp, printable, printable_bytes,
    v1::{EnrollRequest, EnrollResponse},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;
use std::path::Path;

/// Joins the collector at `url` with a join token. An identity that this data directory already holds for that collector is used
/// again as long as its certificate counts; the token is then not looked at.
pub async fn join(url: &str, token: &str, data: &Path) -> Result<Identity, Error> {
    join_at(url, token, data, Timestamp::now()).await
}

async fn join_at(url: &str, token: &str, data: &Path, now: Timestamp) -> Result<Identity, Error> {
    let url = base_url(url)?;
    if let Some(known) = Identity::load(data)?
        && known.url == url
        && !known.expired(now)?
    {
        return Ok(known);
    }
    let pin = parse_token(token)?;
    let key = rcgen::KeyPair::generate().map_err(|e| Error::Answer(e.to_string()))?;
    let csr = request(&key).map_err(|e| Error::Answer(e.to_string()))?;
    let answer = ask(&url, token, csr, pin).await?;
    check(&answer, pin)?;
    Identity::store(data, &url, &key.serialize_pem(), &answer)?;
    Identity::load(data)?.ok_or_else(|| Error::Answer("the identity vanished".to_owned()))
}

fn base_url(url: &str) -> Result<String, Error> {
    let bad = || Error::Url(printable(url, 120));
    let parsed = url::Url::parse(url.trim()).map_err(|_| bad())?;
    if parsed.scheme() != "https" || parsed.host_str().is_none() {
        return Err(bad());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// A PKCS#10 request. The collector gives the name: what is asked for here is ignored.
pub(crate) fn request(key: &rcgen::KeyPair) -> Result<String, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
    let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_else(|| "sensor".to_owned());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, host.chars().take(64).collect::<String>());
    params.serialize_request(key)?.pem()
}

async fn ask(url: &str, token: &str, csr: String, pin: Pin) -> Result<EnrollResponse, Error> {
    let unreachable = |why: String| Error::Unreachable { url: url.to_owned(), why };
    let config = pin.client_config().map_err(|e| unreachable(e.to_string()))?;
    let client = client(config).map_err(unreachable)?;
    let request = EnrollRequest { token: token.trim().to_owned(), csr };
    match post(&client, &format!("{url}/v1/enroll"), &request).await {
        Ok(Reply { status: 200 | 201, body }) => serde_json::from_slice(&body).map_err(|e| Error::Answer(e.to_string())),
        Ok(Reply { status: 400..=499, body }) => Err(Error::Refused(reason(&body))),
        Ok(Reply { status, body }) => Err(unreachable(format!("{status} {}", printable_bytes(&body, 200)))),
        Err(why) => Err(unreachable(why)),
    }
}

/// The collector's own words, or what came instead of them.
pub(crate) fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { error }) => printable(&error, 300),
        Err(_) => printable_bytes(body, 200),
    }
}

fn check(answer: &EnrollResponse, pin: Pin) -> Result<(), Error> {
    let bad = |why: &str| Error::Answer(why.to_owned());
    let root = CertificateDer::from_pem_slice(answer.root.as_bytes()).map_err(|_| bad("the root is not a PEM certificate"))?;
    if !pin.matches(&root) {
        return Err(bad("the root is not the authority the token names"));
    }
    CertificateDer::from_pem_slice(answer.certificate.as_bytes()).map_err(|_| bad("the certificate is not PEM"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
