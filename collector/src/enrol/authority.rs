//! The collector's own certificate authority.

use super::Identity;
use crate::{Error, secrets};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use ring::digest;
use rules::{Timestamp, period::Period};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{path::Path, sync::Arc, time::Duration};

/// How long a client certificate counts; renewed at two thirds.
pub(crate) const LIFETIME: Period = Period::days(7);
const ROOT_LIFETIME: Period = Period::days(3650);
/// The intake's own certificate is made anew at each start.
const SERVER_LIFETIME: Period = Period::days(825);
/// Clocks of sensors may be behind.
const SKEW: Period = Period::seconds(3600);

pub(crate) struct Authority {
    root: CertificateDer<'static>,
    root_pem: String,
    issuer: Issuer<'static, KeyPair>,
    pin: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

/// A certificate request whose signature was verified. Only its key and common name are used.
pub(crate) struct Csr {
    params: CertificateSigningRequestParams,
}

impl Csr {
    pub(crate) fn parse(pem: &str) -> Result<Csr, String> {
        let params = CertificateSigningRequestParams::from_pem(pem).map_err(|e| format!("the certificate request is not usable: {e}"))?;
        Ok(Csr { params })
    }

    pub(crate) fn common_name(&self) -> Option<String> {
        match self.params.params.distinguished_name.get(&DnType::CommonName)? {
            rcgen::DnValue::Utf8String(name) => Some(name.clone()),
            rcgen::DnValue::PrintableString(name) => Some(name.as_str().to_owned()),
            _ => None,
        }
    }
}

impl Authority {
    /// Reads `<data>/ca.key` and `<data>/ca.pem`, or makes them. `now` is the machine's time: certificates live by it. `accept`: a
    /// key that does not fit the certificate is meant, and gets one.
    pub(crate) fn open(data: &Path, now: Timestamp, accept: bool) -> Result<Authority, Error> {
        let key_pem =
            secrets::read_or_make(&data.join("ca.key"), || KeyPair::generate().map(|k| k.serialize_pem()).map_err(|e| e.to_string()))?;
        let fail = |why: String| Error::Certificate(why);
        let key = KeyPair::from_pem(&key_pem).map_err(|e| fail(format!("ca.key: {e}")))?;
        let make = || {
            let mut params = between(now, ROOT_LIFETIME);
            params.distinguished_name = named("Gnomon collector root");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.self_signed(&key).map(|c| c.pem()).map_err(|e| e.to_string())
        };
        let pem = data.join("ca.pem");
        let read = |root_pem: String| -> Result<(String, CertificateDer<'static>, String), Error> {
            let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|e| fail(format!("ca.pem: {e}")))?;
            let pin = spki_pin(&root).ok_or_else(|| fail("ca.pem is not a certificate".to_owned()))?;
            Ok((root_pem, root, pin))
        };
        let own = crate::hex(digest::digest(&digest::SHA256, &key.subject_public_key_info()).as_ref());
        let (mut root_pem, mut root, mut pin) = read(secrets::read_or_make(&pem, make)?)?;
        if pin != own {
            if !accept {
                return Err(Error::Key { path: data.join("ca.key"), why: "is not the key of ca.pem" });
            }
            let moved = std::fs::rename(&pem, data.join("ca.pem.before"));
            moved.map_err(|e| Error::Data { path: pem.clone(), why: e.to_string() })?;
            (root_pem, root, pin) = read(secrets::read_or_make(&pem, make)?)?;
        }
        let issuer = Issuer::from_ca_cert_der(&root, key).map_err(|e| fail(format!("ca.pem: {e}")))?;
        Ok(Authority { root, root_pem, issuer, pin })
    }

    /// The join token, for the person who installs a sensor.
    pub(crate) fn token(&self, secret: &str) -> String {
        format!("gnomon1.{}.{secret}", self.pin)
    }

    /// The secret of a token that was made for this root.
    pub(crate) fn secret<'a>(&self, token: &'a str) -> Option<&'a str> {
        let rest = token.trim().strip_prefix("gnomon1.")?;
        let (pin, secret) = rest.split_once('.')?;
        (pin == self.pin).then_some(secret)
    }

    /// SHA-256 over the root's public key (SPKI), hexadecimal.
    pub(crate) fn pin(&self) -> &str {
        &self.pin
    }

    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A client certificate (PEM) for a place that is on the list.
    pub(crate) fn certify(&self, csr: &Csr, identity: &Identity, now: Timestamp) -> Result<String, String> {
        let mut params = between(now, LIFETIME);
        params.distinguished_name = named(&identity.name);
        params.distinguished_name.push(DnType::OrganizationalUnitName, identity.role.as_str());
        params.serial_number = Some(SerialNumber::from_slice(&unhex(&identity.serial)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.signed_by(&csr.params.public_key, &self.issuer).map(|c| c.pem()).map_err(|e| e.to_string())
    }

    /// TLS for the intake: a fresh key, the root in the chain (a joiner checks it by its pin), client certificates asked for and
    /// verified when given.
    pub(crate) fn tls(&self, names: &[String], now: Timestamp) -> Result<ServerConfig, Error> {
        let fail = |e: String| Error::Certificate(e);
        let key = KeyPair::generate().map_err(|e| fail(e.to_string()))?;
        let mut params = CertificateParams::new(names).map_err(|e| fail(format!("`names`: {e}")))?;
        let dates = between(now, SERVER_LIFETIME);
        (params.not_before, params.not_after) = (dates.not_before, dates.not_after);
        params.distinguished_name = named("Gnomon collector");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer).map_err(|e| fail(e.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).map_err(|e| fail(e.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| fail(e.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf.der().clone(), self.root.clone()], private)
            .map_err(|e| fail(e.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn spki_pin(root: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(root).ok()?;
    Some(crate::hex(digest::digest(&digest::SHA256, parsed.tbs_certificate.subject_pki.raw).as_ref()))
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn between(now: Timestamp, lifetime: Period) -> CertificateParams {
    let at = |t: Timestamp| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(t.as_second()).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.not_before = at(SKEW.before(now));
    params.not_after = at(lifetime.after(now));
    params
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|pair| pair.iter().fold(0u8, |n, b| (n << 4) | digit(*b))).collect()
}
