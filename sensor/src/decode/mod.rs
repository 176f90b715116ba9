//! One frame to one TCP segment or UDP datagram, borrowed from the frame: links, tags and tunnels are walked through.
//!
//! Lengths are those of the IP header, so that Ethernet padding is not payload and a frame cut by the snap length says by how
//! much. Checksums are not verified: on the sending host they are not yet filled in when a frame is captured.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod fragments;
mod ip;
mod link;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

pub use link::Link;
use std::net::IpAddr;

/// Tags, labels and tunnels one inside the other, at most.
const MAX_DEPTH: u8 = 8;

/// Bytes and how many more there were on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    pub bytes: &'a [u8],
    pub missing: usize,
}

impl<'a> Cut<'a> {
    /// What follows the first `n` bytes. When those are not all there, `None`.
    fn skip(self, n: usize) -> Option<Cut<'a>> {
        Some(Cut { bytes: self.bytes.get(n..)?, missing: self.missing })
    }

    /// The first `n` bytes as they were on the wire, of which fewer may be here.
    fn limit(self, n: usize) -> Cut<'a> {
        let on_wire = self.bytes.len().saturating_add(self.missing).min(n);
        let bytes = self.bytes.get(..on_wire).unwrap_or(self.bytes);
        Cut { bytes, missing: on_wire.saturating_sub(bytes.len()) }
    }

    fn u16_at(self, at: usize) -> Option<u16> {
        self.bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub transport: Transport<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    Tcp(Segment<'a>),
    Udp(Datagram<'a>),
    /// A part of something: see [`fragments`].
    Fragment(Fragment<'a>),
}

/// RFC 9293 §3.1.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgment: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// Some of the payload is urgent (RFC 6093): whether its reader finds that in the stream is for the reader to choose.
    pub urgent: bool,
    pub payload: Cut<'a>,
}

/// RFC 768.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub payload: Cut<'a>,
}

/// RFC 791 §3.1, RFC 8200 §4.5.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    pub id: u32,
    pub protocol: u8,
    /// In bytes.
    pub offset: usize,
    pub more: bool,
    pub payload: Cut<'a>,
}

/// Why a frame gave nothing. `Foreign` is not a loss: it is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Not IP, or neither TCP, UDP nor a known tunnel.
    Foreign,
    /// The snap length cut a header.
    Truncated,
    /// A header contradicts itself.
    Malformed,
    /// Tunnels in tunnels in tunnels.
    TooDeep,
}

impl GiveUp {
    /// The name of the loss in a coverage report; `None` when nothing was lost.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            GiveUp::Foreign => None,
            GiveUp::Truncated => Some("truncated"),
            GiveUp::Malformed => Some("malformed"),
            GiveUp::TooDeep => Some("tunnel-too-deep"),
        }
    }
}

/// Decodes what was in a datagram that came in pieces.
pub fn decode_whole(whole: &fragments::Whole) -> Result<Packet<'_>, GiveUp> {
    let payload = Cut { bytes: &whole.bytes, missing: 0 };
    link::through(ip::transport(whole.protocol, payload, (whole.source, whole.destination), 1))
}

/// Decodes one frame of which `bytes` were captured and `wire_length` were on the wire.
pub fn decode(link: Link, bytes: &[u8], wire_length: usize) -> Result<Packet<'_>, GiveUp> {
    let frame = Cut { bytes, missing: wire_length.saturating_sub(bytes.len()) };
    let result = link::decode(link, frame, 0);
    match result {
        // A header that ends early in a frame that was captured whole is a lie, not a cut.
        Err(GiveUp::Truncated) if frame.missing == 0 => Err(GiveUp::Malformed),
        other => other,
    }
}
