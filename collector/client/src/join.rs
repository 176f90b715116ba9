//! Joining: a join token becomes a client certificate. The key never leaves this machine.

use crate::{
    Error, Identity,
    connection::{ask, client},
    identity::signing_request,
    pin::{Pin, parse_token},
};
use rules::wire::{
    Timestamp, printable,
    v1::{EnrollRequest, EnrollResponse},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
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
    let key = rcgen::KeyPair::generate().map_err(|e| Error::Credentials(e.to_string()))?;
    let request = EnrollRequest { token: token.trim().to_owned(), csr: signing_request(&key)? };
    let pinned = pin.client_config().map_err(|e| Error::Credentials(e.to_string()))?;
    let answer: EnrollResponse = ask(&client(pinned)?, &url, "/v1/enroll", &request).await?;
    check(&answer, pin)?;
    Identity::store(data, &url, &key.serialize_pem(), &answer)?;
    Identity::load(data)?.ok_or_else(|| Error::Credentials("the identity was removed while it was written".to_owned()))
}

fn base_url(url: &str) -> Result<String, Error> {
    let bad = || Error::Url(printable(url, 120));
    let parsed = url::Url::parse(url.trim()).map_err(|_| bad())?;
    if parsed.scheme() != "https" || parsed.host_str().is_none() {
        return Err(bad());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
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
