//! The client of a TLS connection, by its verified certificate.

use tokio_rustls::rustls::pki_types::CertificateDer;

/// The name and serial number in a client certificate of our own root. Whether they still count is asked with each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Hexadecimal.
    pub(crate) serial: String,
}

impl Peer {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Peer> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
        Some(Peer { name, serial: crate::hex(parsed.raw_serial()) })
    }
}
