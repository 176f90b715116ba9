//! The identity of this machine towards its collector: key, certificate and the collector's root, as files; and the request for a
//! certificate.

use crate::Error;
use rules::wire::v1::EnrollResponse;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Lives in `<data>/identity`; the directory has mode 0700, each file 0600.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name that the collector gave: of a sensor, a gateway or an enforcement point.
    pub name: String,
    pub site: String,
    /// Base URL of the collector's intake, without a slash at its end.
    pub url: String,
    pub(crate) key: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) root: PathBuf,
}

/// `identity.json`. The name's key is older than the other roles.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "sensor", alias = "name")]
    name: String,
    site: String,
    url: String,
}

/// Certificate chain and key for TLS, and the root to trust.
pub(crate) type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, CertificateDer<'static>);

impl Identity {
    /// The identity kept in a data directory; `None` when this machine has not joined there.
    pub fn load(data: &Path) -> Result<Option<Identity>, Error> {
        let dir = data.join("identity");
        let path = dir.join("identity.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(Error::File { path, why }),
        };
        let Stored { name, site, url } = serde_json::from_slice(&text).map_err(|why| Error::File { path, why: io::Error::other(why) })?;
        let file = |name: &str| dir.join(name);
        Ok(Some(Identity { name, site, url, key: file("key.pem"), certificate: file("certificate.pem"), root: file("root.pem") }))
    }

    /// The identity file is written last: without it the other files do not count.
    pub(crate) fn store(data: &Path, url: &str, key: &str, answer: &EnrollResponse) -> Result<(), Error> {
        let dir = data.join("identity");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |why| Error::File { path, why }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed(&dir))?;
        let stored = Stored { name: answer.sensor.clone(), site: answer.site.clone(), url: url.to_owned() };
        let stored = serde_json::to_string(&stored).map_err(|e| Error::Credentials(e.to_string()))?;
        let files = [("key.pem", key), ("certificate.pem", &answer.certificate), ("root.pem", &answer.root), ("identity.json", &stored)];
        for (name, text) in files {
            let path = dir.join(name);
            write_private(&path, text).map_err(failed(&path))?;
        }
        Ok(())
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, Error> {
        let unreadable = |path: &Path, why: String| Error::File { path: path.to_owned(), why: io::Error::other(why) };
        let chain = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain: Vec<_> = chain.map_err(|e| unreadable(&self.certificate, e.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unreadable(&self.key, e.to_string()))?;
        let root = CertificateDer::from_pem_file(&self.root).map_err(|e| unreadable(&self.root, e.to_string()))?;
        Ok((chain, key, root))
    }

    /// TLS with our certificate, trusting the collector's root and no other.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        let (chain, ..) = self.credentials()?;
        self.client_config_with(chain)
    }

    /// The same with another certificate; an error when our key is not its key.
    pub(crate) fn client_config_with(&self, chain: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
        let (_, key, root) = self.credentials()?;
        let bad = |why: rustls::Error| Error::Credentials(why.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(bad)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(bad)?;
        builder.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(bad)
    }
}

/// A PKCS#10 request for a key. The collector gives the name: the one that is asked for here is ignored.
pub(crate) fn signing_request(key: &rcgen::KeyPair) -> Result<String, Error> {
    let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_else(|| "sensor".to_owned());
    let build = || {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, host.chars().take(64).collect::<String>());
        params.serialize_request(key)?.pem()
    };
    build().map_err(|why: rcgen::Error| Error::Credentials(why.to_string()))
}

/// Replaces a file whole, readable by its owner alone.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // A left-over may have another mode.
    drop(fs::remove_file(&temporary));
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)
}
