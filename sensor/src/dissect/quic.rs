//! QUIC from outside: the ClientHello in a client's Initial packets, whose keys everybody can derive (RFC 9001 §5.2, RFC 9369).

use super::{
    cursor::Cursor,
    digest,
    recent::Recent,
    tls::{CLIENT_HELLO, Carrier, Hello},
};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use rules::endpoint::Endpoint;
use std::collections::BTreeMap;

/// Handshakes that are not whole yet.
const MAX_UNFINISHED: usize = 2048;
/// Of one ClientHello: bytes, and pieces that came out of order.
const MAX_HELLO: usize = 16 << 10;
const MAX_PIECES: usize = 64;
/// Initials of one client after which its hello is given up on.
const MAX_PACKETS: u8 = 16;

/// Whether a datagram begins with an Initial packet of a version that is known here. Cheap: most datagrams do not.
pub fn begins(bytes: &[u8]) -> bool {
    Version::of(bytes).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn of(bytes: &[u8]) -> Option<Version> {
        let (first, rest) = bytes.split_first()?;
        // Long header, fixed bit; then the type, whose numbers version 2 permutes (RFC 9369 §3.2).
        match (first & 0xf0, rest.first_chunk()?) {
            (0xc0, [0, 0, 0, 1]) => Some(Version::One),
            (0xd0, [0x6b, 0x33, 0x43, 0xcf]) => Some(Version::Two),
            _ => None,
        }
    }

    fn salt(self) -> [u8; 20] {
        match self {
            Version::One => *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
            Version::Two => *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
        }
    }

    /// Labels of key, initialisation vector and header protection.
    fn labels(self) -> [&'static [u8]; 3] {
        match self {
            Version::One => [b"quic key", b"quic iv", b"quic hp"],
            Version::Two => [b"quicv2 key", b"quicv2 iv", b"quicv2 hp"],
        }
    }
}

/// What a client protects its Initial packets with.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    header: quic::HeaderProtectionKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without context (RFC 8446 §7.1).
fn expand<const N: usize>(secret: &Prk, label: &[u8]) -> Option<[u8; N]> {
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let label_length = [u8::try_from(6 + label.len()).ok()?];
    let mut out = [0; N];
    secret.expand(&[&length, &label_length, b"tls13 ", label, &[0]], Bytes(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

impl Keys {
    /// Of the client, by the connection id its first Initial was sent to.
    fn derive(version: Version, destination: &[u8]) -> Option<Keys> {
        let initial = Salt::new(HKDF_SHA256, &version.salt()).extract(destination);
        let client = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&initial, b"client in")?);
        let [key, iv, header] = version.labels();
        Some(Keys {
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &expand::<16>(&client, key)?).ok()?),
            iv: expand(&client, iv)?,
            header: quic::HeaderProtectionKey::new(&quic::AES_128, &expand::<16>(&client, header)?).ok()?,
        })
    }

    /// Undoes both protections (RFC 9001 §5.3, §5.4). `None` when these are not its keys.
    fn open(&self, packet: &Initial<'_>) -> Option<Vec<u8>> {
        let sample = packet.sample()?;
        let [first_mask, mask @ ..] = self.header.new_mask(sample).ok()?;
        let first = packet.whole.first()? ^ (first_mask & 0x0f);
        let length = usize::from(first & 3) + 1;
        let mut header = packet.whole.get(..packet.number_at + length)?.to_vec();
        *header.first_mut()? = first;
        for (byte, mask) in header.get_mut(packet.number_at..)?.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        let mut nonce = self.iv;
        // The first packets of a connection have numbers that are whole in the header.
        for (byte, number) in nonce.iter_mut().rev().zip(header.get(packet.number_at..)?.iter().rev()) {
            *byte ^= number;
        }
        let mut sealed = packet.whole.get(packet.number_at + length..)?.to_vec();
        let plain = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&header), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

/// One Initial packet (RFC 9000 §17.2.2), still protected.
struct Initial<'a> {
    version: Version,
    destination: &'a [u8],
    /// From the first byte of the header to the last of the payload.
    whole: &'a [u8],
    /// Where the packet number is.
    number_at: usize,
}

impl<'a> Initial<'a> {
    /// The first packet of `bytes`, if it is an Initial; and what follows it in the datagram.
    fn parse(bytes: &'a [u8]) -> Option<(Initial<'a>, &'a [u8])> {
        let version = Version::of(bytes)?;
        let mut at = Cursor(bytes);
        at.take(5)?;
        let destination = at.counted(1).filter(|id| id.0.len() <= 20)?.0;
        at.counted(1).filter(|id| id.0.len() <= 20)?;
        let token = usize::try_from(at.varint()?).ok()?;
        at.take(token)?;
        let length = usize::try_from(at.varint()?).ok()?;
        let number_at = bytes.len() - at.0.len();
        at.take(length)?;
        let (whole, rest) = bytes.split_at_checked(number_at + length)?;
        Some((Initial { version, destination, whole, number_at }, rest))
    }

    /// What header protection is made of; who has none is discarded (RFC 9001 §5.4.2).
    fn sample(&self) -> Option<&'a [u8]> {
        self.whole.get(self.number_at + 4..self.number_at + 20)
    }
}

/// A handshake whose hello is not whole yet.
#[derive(Debug)]
struct Unfinished {
    keys: Keys,
    /// What the client sent of its handshake, by offset.
    pieces: BTreeMap<usize, Vec<u8>>,
    packets: u8,
}

/// What is left of a client's handshake.
#[derive(Debug)]
enum HandshakeState {
    Unfinished(Box<Unfinished>),
    /// Its hello was read, or given up on.
    Done,
}

/// Puts together what clients say first, over however many Initials they need.
#[derive(Debug)]
pub struct Listener {
    states: Recent<HandshakeState>,
    /// Hellos that made room or could not be put together.
    pub lost: u64,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener { states: Recent::new(MAX_UNFINISHED), lost: 0 }
    }
}

impl Listener {
    /// Takes a datagram. Gives the hello with the packet that completes it, once.
    pub fn datagram(&mut self, source: Endpoint, destination: Endpoint, mut bytes: &[u8]) -> Option<Hello> {
        let key = digest(format!("{source} {destination}").as_bytes());
        // The other direction's Initials have other keys and hold nothing that is not encrypted again.
        let known = self.states.take(key);
        if known.is_none() && self.states.get(digest(format!("{destination} {source}").as_bytes())).is_some() {
            return None;
        }
        let mut state = match known {
            Some(HandshakeState::Done) => {
                self.keep(key, HandshakeState::Done);
                return None;
            }
            Some(HandshakeState::Unfinished(state)) => Some(state),
            None => None,
        };
        let mut hello = None;
        // A datagram is of one connection (RFC 9000 §12.2), so keys, which are dear, are derived once.
        let (mut connection, mut fresh) = (None, None);
        while let Some((packet, rest)) = Initial::parse(bytes) {
            bytes = rest;
            let id = (packet.version, packet.destination);
            if packet.sample().is_none() || *connection.get_or_insert(id) != id {
                continue;
            }
            // A Retry makes the client begin again with another connection id (RFC 9001 §5.2).
            let opened = state.as_ref().and_then(|s| s.keys.open(&packet)).or_else(|| {
                let keys = fresh.get_or_insert_with(|| Keys::derive(packet.version, packet.destination));
                let plain = keys.as_ref()?.open(&packet)?;
                state = Some(Box::new(Unfinished { keys: keys.take()?, pieces: BTreeMap::new(), packets: 0 }));
                Some(plain)
            });
            let (Some(plain), Some(state)) = (opened, state.as_mut()) else { continue };
            state.frames(&plain);
            hello = hello.or_else(|| state.hello());
        }
        let state = state?;
        if hello.is_some() {
            self.keep(key, HandshakeState::Done);
        } else if state.packets > MAX_PACKETS || state.pieces.len() > MAX_PIECES {
            self.lost += 1;
            self.keep(key, HandshakeState::Done);
        } else {
            self.keep(key, HandshakeState::Unfinished(state));
        }
        hello
    }

    fn keep(&mut self, key: u64, state: HandshakeState) {
        let gone = self.states.insert(key, state).into_iter().flatten();
        self.lost += gone.filter(|(_, state)| matches!(state, HandshakeState::Unfinished(_))).count() as u64;
    }
}

impl Unfinished {
    /// Keeps what the CRYPTO frames carry (RFC 9000 §19.6); other frames that an Initial may hold say nothing.
    fn frames(&mut self, plain: &[u8]) -> Option<()> {
        self.packets = self.packets.saturating_add(1);
        let mut at = Cursor(plain);
        while !at.is_empty() {
            match at.varint()? {
                // PADDING, PING
                0 | 1 => {}
                // ACK, with or without ECN counts
                kind @ (2 | 3) => {
                    let (_, _, ranges, _) = (at.varint()?, at.varint()?, at.varint()?, at.varint()?);
                    let counts = if kind == 3 { 3 } else { 0 };
                    for _ in 0..ranges.min(MAX_HELLO as u64) * 2 + counts {
                        at.varint()?;
                    }
                }
                6 => {
                    let offset = usize::try_from(at.varint()?).ok()?;
                    let length = usize::try_from(at.varint()?).ok()?;
                    let piece = at.take(length)?;
                    if offset.saturating_add(length) <= MAX_HELLO && self.pieces.len() <= MAX_PIECES {
                        // The first copy counts, unless a later one reaches further.
                        let held = self.pieces.entry(offset).or_default();
                        if held.len() < length {
                            *held = piece.to_vec();
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn hello(&self) -> Option<Hello> {
        let mut stream: Vec<u8> = Vec::new();
        for (offset, piece) in &self.pieces {
            let Some(known) = stream.len().checked_sub(*offset) else { break };
            stream.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        let mut at = Cursor(&stream);
        let kind = at.u8()?;
        let body = at.counted(3)?;
        if kind == CLIENT_HELLO { Hello::parse(body.0, Carrier::Quic) } else { None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
