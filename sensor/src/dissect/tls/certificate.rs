//! A server's certificate where it is sent in the clear, which TLS 1.3 ended (RFC 5246 §7.4.2).

use crate::dissect::cursor::Cursor;
use rules::{Timestamp, printable::printable};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

const MAX_NAMES: usize = 16;

/// What a server says it is, self-declared; nobody checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject, printable.
    pub subject: String,
    /// Its alternative names that are host names, lower case, printable, at most 16.
    pub names: Vec<String>,
    pub expires: Timestamp,
}

/// Reads the first certificate of a `certificate` handshake message.
pub fn certificate(body: &[u8]) -> Option<Certificate> {
    let der = Cursor(body).counted(3)?.counted(3)?.0;
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten().map(|e| &e.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(&name.to_ascii_lowercase(), 253)),
        _ => None,
    };
    Some(Certificate {
        subject: printable(&parsed.subject().to_string(), 120),
        names: names.into_iter().flatten().filter_map(name).take(MAX_NAMES).collect(),
        expires: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
    })
}
