//! TLS from outside: what is said before the keys are agreed on. It can only nominate.
//!
//! [`Hello`] is what a client wants; [`Certificate`] what a server shows where it still shows it in the clear (TLS 1.2 and before).

mod certificate;
mod hello;
pub mod programs;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests;

pub use certificate::{Certificate, certificate};
pub use hello::{Carrier, Hello};

use super::cursor::Cursor;

/// A record's content, at most (RFC 8446 §5.1, RFC 5246 §6.2.1), and what a whole handshake message may weigh here.
const MAX_RECORD: usize = 1 << 14;
const MAX_MESSAGE: usize = 64 << 10;

pub const CLIENT_HELLO: u8 = 1;
pub const SERVER_HELLO: u8 = 2;
pub const CERTIFICATE: u8 = 11;

/// Whether a stream begins like a TLS handshake: the type of its first message, [`CLIENT_HELLO`] or [`SERVER_HELLO`].
pub fn begins(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [0x16, 0x03, 0..=4, _, _, kind @ (CLIENT_HELLO | SERVER_HELLO), ..] => Some(*kind),
        _ => None,
    }
}

/// Nothing more can be read here: it is not TLS, or encrypted from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// One end's handshake messages, put together from however many records and segments they came in.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// The record that is not whole yet, with its header.
    record: Vec<u8>,
    messages: Vec<u8>,
}

impl Handshakes {
    pub fn buffered(&self) -> usize {
        self.record.capacity() + self.messages.capacity()
    }

    /// Takes the next bytes of this end.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            let wanted = match *self.record.as_slice() {
                [0x16, 0x03, _, high, low, ..] => 5 + usize::from(u16::from_be_bytes([high, low])),
                [_, _, _, _, _, ..] => return Err(Over),
                _ => 5,
            };
            if wanted > 5 + MAX_RECORD + 256 {
                return Err(Over);
            }
            let (now, later) = bytes.split_at(bytes.len().min(wanted.saturating_sub(self.record.len())));
            self.record.extend_from_slice(now);
            bytes = later;
            let whole = wanted > 5 && self.record.len() == wanted;
            if whole {
                self.messages.extend_from_slice(self.record.get(5..).unwrap_or_default());
                self.record.clear();
            } else if now.is_empty() {
                // A record of no length.
                return Err(Over);
            }
            if self.messages.len() > MAX_MESSAGE {
                return Err(Over);
            }
        }
        Ok(())
    }

    /// The next whole message: its type, and its body.
    pub fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut at = Cursor(&self.messages);
        let kind = at.u8()?;
        let body = at.counted(3)?.0.to_vec();
        self.messages.drain(..4 + body.len());
        Some((kind, body))
    }
}
