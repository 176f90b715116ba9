//! TLS that believes no certificate and records every one: a probe wants to know who answers, not to trust it.

use super::{
    answer::TlsFacts,
    config::{ScanError, TestIdentity},
};
use rules::printable::printable;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

/// Accepts any chain, but checks that the peer holds the key of the certificate it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Notices when a certificate is asked for, and has one to give only where it was told to.
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicBool, Option<Arc<CertifiedKey>>);

impl Asked {
    pub(super) fn was(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        self.1.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Reads the certificate and key that may be shown.
pub(super) fn test_identity(files: &TestIdentity) -> Result<Arc<CertifiedKey>, ScanError> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| ScanError::Identity(file.to_owned(), printable(&why.to_string(), 120));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|why| wrong(&files.certificate, &why))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|why| wrong(&files.key, &why))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|why| wrong(&files.key, &why))?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(wrong(&files.key, &"it is another certificate's key"))
        }
        _ => Ok(Arc::new(identity)),
    }
}

/// A configuration for one connection, and the flag it raises. `shown` is given to a server that asks for a certificate.
pub(super) fn config(http2: bool, shown: Option<Arc<CertifiedKey>>) -> Result<(ClientConfig, Arc<Asked>), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    // HTTP/1.1 is offered alone at first: there we read the bytes ourselves, and nearly every server speaks it.
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    config.resumption = rustls::client::Resumption::disabled();
    let asked = Arc::new(Asked(AtomicBool::new(false), shown));
    config.client_auth_cert_resolver = asked.clone();
    Ok((config, asked))
}

/// What a finished handshake showed.
pub(super) fn facts(connection: &rustls::ClientConnection, asked: &Asked) -> TlsFacts {
    let chain = connection.peer_certificates().unwrap_or_default();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let mut facts =
        TlsFacts { version: version.to_owned(), chain_length: chain.len(), wants_certificate: asked.was(), ..TlsFacts::default() };
    if let Some(first) = chain.first() {
        certificate(first, &mut facts);
    }
    facts
}

/// Subject, issuer, names and expiry, printable and bounded.
fn certificate(der: &[u8], facts: &mut TlsFacts) {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(der) else {
        facts.subject = "an unreadable certificate".to_owned();
        return;
    };
    facts.subject = printable(&certificate.subject().to_string(), 80);
    facts.issuer = printable(&certificate.issuer().to_string(), 80);
    let expires = rules::Timestamp::from_second(certificate.validity().not_after.timestamp());
    facts.expires = expires.map(|t| t.to_string()).unwrap_or_default();
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        facts.names = names.value.general_names.iter().take(8).filter_map(name).collect();
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(n) => Some(printable(n, 80)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|a| a.to_string())
        }
        _ => None,
    }
}
