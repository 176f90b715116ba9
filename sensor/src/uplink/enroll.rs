//! Enrolment: a join token becomes a client certificate. The key never leaves this machine.

use super::{
    https::{Reply, post},
    pin::{Pin, parse_token},
};
use rules::{
    Timestamp,
    wire::v1::{EnrollRequest, EnrollResponse},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("the join token is not of the form gnomon1.<64 hexadecimal digits>.<secret>; copy it whole from the collector")]
    Token,
    #[error("`{0}` is not the address of a collector; it looks like https://collector.example:7412")]
    Url(String),
    #[error("the collector refused the enrolment: {0}; a token is good once and for a limited time, make a new one there")]
    Refused(String),
    #[error("the collector at {url} could not be asked: {why}")]
    Unreachable { url: String, why: String },
    #[error("the collector answered with credentials that do not fit: {0}")]
    Answer(String),
    #[error("{} cannot be used: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
}

/// Who this machine is to its collector. Lives in `<data>/identity`, key mode 0600.
#[derive(Clone, Debug)]
pub struct Enrolled {
    pub sensor: String,
    pub site: String,
    /// Base URL of the intake.
    pub url: String,
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) root: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    sensor: String,
    site: String,
    url: String,
}

impl Enrolled {
    /// The identity kept in a data directory; `None` when this machine has not enrolled there.
    pub fn load(data: &Path) -> Result<Option<Enrolled>, EnrollError> {
        let dir = data.join("identity");
        let path = dir.join("identity.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(EnrollError::File { path, why }),
        };
        let Identity { sensor, site, url } =
            serde_json::from_slice(&text).map_err(|why| EnrollError::File { path, why: io::Error::other(why) })?;
        let file = |name: &str| dir.join(name);
        Ok(Some(Enrolled { sensor, site, url, key: file("key.pem"), certificate: file("certificate.pem"), root: file("root.pem") }))
    }

    /// Certificate chain and key for TLS, and the root to trust.
    pub(super) fn credentials(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, CertificateDer<'static>), EnrollError> {
        let unreadable = |path: &Path, why: String| EnrollError::File { path: path.to_owned(), why: io::Error::other(why) };
        let chain = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain: Vec<_> = chain.map_err(|e| unreadable(&self.certificate, e.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unreadable(&self.key, e.to_string()))?;
        let root = CertificateDer::from_pem_file(&self.root).map_err(|e| unreadable(&self.root, e.to_string()))?;
        Ok((chain, key, root))
    }
}

/// Enrols at the collector at `url` with a join token, unless this data directory already has an identity there that counts.
pub async fn enroll(url: &str, token: &str, data: &Path) -> Result<Enrolled, EnrollError> {
    enroll_at(url, token, data, Timestamp::now()).await
}

async fn enroll_at(url: &str, token: &str, data: &Path, now: Timestamp) -> Result<Enrolled, EnrollError> {
    let url = base_url(url)?;
    if let Some(known) = Enrolled::load(data)?
        && known.url == url
        && !known.expired(now)?
    {
        return Ok(known);
    }
    let pin = parse_token(token)?;
    let key = rcgen::KeyPair::generate().map_err(|e| EnrollError::Answer(e.to_string()))?;
    let csr = request(&key).map_err(|e| EnrollError::Answer(e.to_string()))?;
    let answer = ask(&url, token, csr, pin).await?;
    check(&answer, pin)?;
    store(data, &url, &key.serialize_pem(), &answer)?;
    Enrolled::load(data)?.ok_or_else(|| EnrollError::Answer("the identity vanished".to_owned()))
}

fn base_url(url: &str) -> Result<String, EnrollError> {
    let bad = || EnrollError::Url(rules::printable::printable(url, 120));
    let parsed = url::Url::parse(url.trim()).map_err(|_| bad())?;
    if parsed.scheme() != "https" || parsed.host_str().is_none() {
        return Err(bad());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// A PKCS#10 request. The collector gives the name: what is asked for here is ignored.
pub(super) fn request(key: &rcgen::KeyPair) -> Result<String, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
    let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_else(|| "sensor".to_owned());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, host.chars().take(64).collect::<String>());
    params.serialize_request(key)?.pem()
}

async fn ask(url: &str, token: &str, csr: String, pin: Pin) -> Result<EnrollResponse, EnrollError> {
    let unreachable = |why: String| EnrollError::Unreachable { url: url.to_owned(), why };
    let config = pin.client_config().map_err(|e| unreachable(e.to_string()))?;
    let client = super::https::client(config).map_err(unreachable)?;
    let request = EnrollRequest { token: token.trim().to_owned(), csr };
    match post(&client, &format!("{url}/v1/enroll"), &request).await {
        Ok(Reply { status: 200 | 201, body }) => serde_json::from_slice(&body).map_err(|e| EnrollError::Answer(e.to_string())),
        Ok(Reply { status: 400..=499, body }) => Err(EnrollError::Refused(reason(&body))),
        Ok(Reply { status, body }) => Err(unreachable(format!("{status} {}", rules::printable::printable_bytes(&body, 200)))),
        Err(why) => Err(unreachable(why)),
    }
}

/// The collector's own words, or what came instead of them.
pub(super) fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { error }) => rules::printable::printable(&error, 300),
        Err(_) => rules::printable::printable_bytes(body, 200),
    }
}

fn check(answer: &EnrollResponse, pin: Pin) -> Result<(), EnrollError> {
    let bad = |why: &str| EnrollError::Answer(why.to_owned());
    let root = CertificateDer::from_pem_slice(answer.root.as_bytes()).map_err(|_| bad("the root is not a PEM certificate"))?;
    if !pin.matches(&root) {
        return Err(bad("the root is not the authority the token names"));
    }
    CertificateDer::from_pem_slice(answer.certificate.as_bytes()).map_err(|_| bad("the certificate is not PEM"))?;
    Ok(())
}

/// The identity file is written last: without it the rest does not count.
fn store(data: &Path, url: &str, key: &str, answer: &EnrollResponse) -> Result<(), EnrollError> {
    let dir = data.join("identity");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |why| EnrollError::File { path, why }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed(&dir))?;
    let identity = Identity { sensor: answer.sensor.clone(), site: answer.site.clone(), url: url.to_owned() };
    let identity = serde_json::to_string(&identity).map_err(|e| EnrollError::Answer(e.to_string()))?;
    let files = [("key.pem", key), ("certificate.pem", &answer.certificate), ("root.pem", &answer.root), ("identity.json", &identity)];
    for (name, text) in files {
        let path = dir.join(name);
        write_private(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // A left-over may have another mode.
    drop(fs::remove_file(&temporary));
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

#[cfg(test)]
#[path = "enroll/tests.rs"]
mod tests;
