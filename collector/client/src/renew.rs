//! A client certificate counts for days: at two thirds of them another takes its place, with the same key, and the connection
//! changes over.

use crate::{
    Connection, Error, Identity,
    connection::{ask, client},
    identity::{signing_request, write_private},
};
use rules::wire::{Timestamp, v1::EnrollResponse};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use std::time::Duration;

/// Between looks at a certificate that counts.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// After a renewal that failed. A third of the lifetime is left for it to succeed.
const RETRY_AFTER: Duration = Duration::from_secs(300);

/// Whether two thirds of the time between them are over.
pub(crate) fn due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    let (begin, end, now) = (not_before.as_second(), not_after.as_second(), now.as_second());
    now.saturating_sub(begin) >= end.saturating_sub(begin) / 3 * 2
}

impl Connection {
    /// Renews the certificate in time, and changes over to it; until it is dropped.
    pub async fn keep_fresh(self) {
        let identity = self.identity().clone();
        identity.keep_fresh(|renewed| self.change_over(renewed)).await;
    }
}

impl Identity {
    /// Whether our certificate no longer counts; only another enrolment helps then.
    pub fn expired(&self, now: Timestamp) -> Result<bool, Error> {
        let (chain, ..) = self.credentials()?;
        Ok(validity(chain.first())?.1 <= now)
    }

    /// Renews the certificate if it is due; true when another is in its place.
    pub async fn renew(&self, now: Timestamp) -> Result<bool, Error> {
        let (chain, private, _) = self.credentials()?;
        let (not_before, not_after) = validity(chain.first())?;
        if !due(not_before, not_after, now) {
            return Ok(false);
        }
        if not_after <= now {
            return Err(Error::Expired(not_after));
        }
        let key = rcgen::KeyPair::try_from(&private).map_err(|e| Error::Credentials(e.to_string()))?;
        let csr = signing_request(&key)?;
        let answer: EnrollResponse = ask(&client(self.client_config()?)?, &self.url, "/v1/renew", &json!({ "csr": csr })).await?;
        self.check_renewal(&answer, now)?;
        // One file, replaced by rename: key and certificate fit each other at any moment.
        let path = self.certificate.clone();
        write_private(&path, &answer.certificate).map_err(|why| Error::File { path, why })?;
        Ok(true)
    }

    /// Looks now and from time to time, and calls `renewed` after each renewal; until it is dropped.
    async fn keep_fresh(self, renewed: impl Fn(&Identity) -> Result<(), Error>) {
        loop {
            let outcome = match self.renew(Timestamp::now()).await {
                Ok(true) => renewed(&self).map(|()| true),
                other => other,
            };
            let wait = match outcome {
                Ok(true) => {
                    tracing::info!(name = self.name, "the client certificate was renewed");
                    LOOK_EVERY
                }
                Ok(false) => LOOK_EVERY,
                Err(why) => {
                    tracing::warn!(%why, fix = why.fix(), retry_seconds = RETRY_AFTER.as_secs(), "the client certificate is due and was not renewed");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// A certificate that would not work must not replace one that does.
    fn check_renewal(&self, answer: &EnrollResponse, now: Timestamp) -> Result<(), Error> {
        let bad = |why: &str| Error::Answer(why.to_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(answer.certificate.as_bytes()).collect();
        let chain = chain.map_err(|_| bad("the renewed certificate is not PEM"))?;
        if answer.sensor != self.name {
            return Err(bad("the renewed certificate is for another name"));
        }
        if validity(chain.first())?.1 <= now {
            return Err(bad("the renewed certificate has expired already"));
        }
        self.client_config_with(chain).map(drop)
    }
}

/// From when until when a certificate counts.
fn validity(certificate: Option<&CertificateDer<'_>>) -> Result<(Timestamp, Timestamp), Error> {
    let bad = || Error::Credentials("the certificate cannot be read".to_owned());
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate.ok_or_else(bad)?).map_err(|_| bad())?;
    let at = |t: x509_parser::time::ASN1Time| Timestamp::from_second(t.timestamp()).map_err(|_| bad());
    Ok((at(parsed.validity().not_before)?, at(parsed.validity().not_after)?))
}
