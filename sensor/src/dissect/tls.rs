//! TLS from outside: the ClientHello, the last thing said in the clear (RFC 8446 §4.1.2). It can only nominate.

use tls_parser::{SNIType, TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_client_hello_extensions, parse_tls_plaintext};

/// A record with its header, at most (RFC 8446 §5.1).
const MAX_RECORD: usize = 5 + (1 << 14);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// `server_name` (RFC 6066 §3).
    pub name: Option<String>,
    /// The client offers HTTP/2 (RFC 7301), as browsers do; many programs offer HTTP/1.1 only, or nothing.
    pub http2: bool,
}

/// Whether a stream begins like a TLS handshake record.
pub fn begins(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, 0..=4, ..])
}

/// The bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTls;

#[derive(Debug, Default)]
pub struct Reader {
    record: Vec<u8>,
}

impl Reader {
    /// Takes bytes of the client's side until its hello is complete. `Err` when it is none.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Hello>, NotTls> {
        let room = MAX_RECORD.saturating_sub(self.record.len());
        self.record.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or(bytes));
        let (Some(high), Some(low)) = (self.record.get(3), self.record.get(4)) else { return Ok(None) };
        let length = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        if length > MAX_RECORD {
            return Err(NotTls);
        }
        match self.record.get(..length) {
            None => Ok(None),
            Some(record) => hello(record).map(Some).ok_or(NotTls),
        }
    }
}

fn hello(record: &[u8]) -> Option<Hello> {
    let (_, plaintext) = parse_tls_plaintext(record).ok()?;
    let contents = plaintext.msg.iter().find_map(|message| match message {
        TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) => Some(hello),
        _ => None,
    })?;
    let mut seen = Hello::default();
    let extensions = contents.ext.and_then(|bytes| parse_tls_client_hello_extensions(bytes).ok()).map(|(_, list)| list).unwrap_or_default();
    for extension in extensions {
        match extension {
            TlsExtension::SNI(names) => {
                let name =
                    names.iter().find(|(kind, _)| *kind == SNIType::HostName).map(|(_, name)| String::from_utf8_lossy(name).into_owned());
                seen.name = name.filter(|n| n.len() <= rules::endpoint::Place::MAX_HOST);
            }
            TlsExtension::ALPN(protocols) => seen.http2 = protocols.contains(&&b"h2"[..]),
            _ => {}
        }
    }
    Some(seen)
}
