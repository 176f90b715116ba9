//! The ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2): whom a client wants, what it offers, and so what made it.

use crate::dissect::cursor::Cursor;
use ring::digest::{SHA256, digest};

/// Protocols looked at in an offer; clients offer two or three.
const MAX_PROTOCOLS: usize = 8;

/// What a ClientHello says, as far as it says who talks to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// `server_name` (RFC 6066 §3), as sent.
    pub name: Option<String>,
    /// Protocols offered (RFC 7301), in the client's order.
    pub protocols: Vec<String>,
    /// Encrypted Client Hello is offered, or made up to look so (RFC 9849): the name may be a front.
    pub encrypted: bool,
    /// JA4 as published by FoxIO: `t13d1516h2_8daaf6152771_e5627efa2ab1`. Names the TLS stack and its settings, nobody's purpose.
    pub ja4: String,
}

/// What the hello came over: the first letter of JA4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Tcp,
    Quic,
}

impl Hello {
    /// Reads the body of a `client_hello` handshake message. `None` when it is none.
    pub fn parse(body: &[u8], carrier: Carrier) -> Option<Hello> {
        let mut at = Cursor(body);
        let legacy = at.u16()?;
        at.take(32)?;
        at.counted(1)?;
        let ciphers = numbers(at.counted(2)?);
        at.counted(1)?;
        let mut hello = Hello::default();
        let mut seen = SeenExtensions { version: legacy, ..SeenExtensions::default() };
        // No extensions at all is allowed, and old.
        let mut extensions = if at.is_empty() { Cursor(&[]) } else { at.counted(2)? };
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.counted(2)?;
            if !is_grease(kind) {
                seen.extensions.push(kind);
                hello.extension(kind, content, &mut seen);
            }
        }
        hello.ja4 = seen.ja4(carrier, ciphers);
        Some(hello)
    }

    /// Whether the client offers HTTP/2, as browsers do; many programs offer HTTP/1.1 only, or nothing.
    pub fn http2(&self) -> bool {
        self.protocols.iter().any(|p| p == "h2")
    }

    fn extension(&mut self, kind: u16, mut content: Cursor<'_>, seen: &mut SeenExtensions) {
        match kind {
            SERVER_NAME => {
                seen.named = true;
                self.name = server_name(content);
            }
            ALPN => self.protocols(content.counted(2), seen),
            SIGNATURES => seen.signatures = content.counted(2).map(numbers).unwrap_or_default(),
            VERSIONS => {
                let best = content.counted(1).map(numbers).unwrap_or_default().into_iter().max();
                seen.version = best.unwrap_or(seen.version);
            }
            ENCRYPTED_HELLO => self.encrypted = true,
            _ => {}
        }
    }

    fn protocols(&mut self, list: Option<Cursor<'_>>, seen: &mut SeenExtensions) {
        let mut list = list.unwrap_or(Cursor(&[]));
        while let Some(protocol) = list.counted(1).filter(|_| self.protocols.len() < MAX_PROTOCOLS) {
            if self.protocols.is_empty() {
                seen.protocol = ends(protocol.0);
            }
            self.protocols.push(String::from_utf8_lossy(protocol.0).into_owned());
        }
    }
}

const SERVER_NAME: u16 = 0x0000;
const SIGNATURES: u16 = 0x000d;
const ALPN: u16 = 0x0010;
const VERSIONS: u16 = 0x002b;
const ENCRYPTED_HELLO: u16 = 0xfe0d;

/// What goes into the fingerprint.
#[derive(Debug, Default)]
struct SeenExtensions {
    version: u16,
    named: bool,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    protocol: Option<[char; 2]>,
}

impl SeenExtensions {
    fn ja4(mut self, carrier: Carrier, mut ciphers: Vec<u16>) -> String {
        let carrier = match carrier {
            Carrier::Tcp => 't',
            Carrier::Quic => 'q',
        };
        let version = match self.version {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let [first, last] = self.protocol.unwrap_or(['0', '0']);
        let counts = (ciphers.len().min(99), self.extensions.len().min(99));
        ciphers.sort_unstable();
        self.extensions.retain(|e| !matches!(*e, SERVER_NAME | ALPN));
        self.extensions.sort_unstable();
        let mut offered = hex(&self.extensions);
        if !offered.is_empty() && !self.signatures.is_empty() {
            offered = format!("{offered}_{}", hex(&self.signatures));
        }
        let named = if self.named { 'd' } else { 'i' };
        let (ciphers, offered) = (short_digest(&hex(&ciphers)), short_digest(&offered));
        format!("{carrier}{version}{named}{:02}{:02}{first}{last}_{ciphers}_{offered}", counts.0, counts.1)
    }
}

/// Values that mean nothing, so that servers learn to ignore what they do not know (RFC 8701).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn numbers(mut list: Cursor<'_>) -> Vec<u16> {
    std::iter::from_fn(|| list.u16()).filter(|n| !is_grease(*n)).collect()
}

fn server_name(mut content: Cursor<'_>) -> Option<String> {
    let mut names = content.counted(2)?;
    while !names.is_empty() {
        let kind = names.u8()?;
        let name = names.counted(2)?;
        if kind == 0 && name.0.len() <= rules::endpoint::Place::MAX_HOST {
            return Some(String::from_utf8_lossy(name.0).to_ascii_lowercase());
        }
    }
    None
}

/// First and last character; of its hexadecimal form where they are no letters or digits.
fn ends(protocol: &[u8]) -> Option<[char; 2]> {
    let (first, last) = (*protocol.first()?, *protocol.last()?);
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return Some([first.into(), last.into()]);
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    Some([digit(first >> 4), digit(last & 0x0f)])
}

fn hex(list: &[u16]) -> String {
    list.iter().map(|n| format!("{n:04x}")).collect::<Vec<_>>().join(",")
}

fn short_digest(text: &str) -> String {
    if text.is_empty() {
        return "000000000000".to_owned();
    }
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect()
}
