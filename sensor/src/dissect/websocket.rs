//! WebSocket messages out of a byte stream (RFC 6455), with permessage-deflate (RFC 7692).

/// Bytes that compression may refer back to (RFC 1951 §2).
const WINDOW: u16 = 32 << 10;
/// What stands for a byte that is referred back to and not in the capture: no text has it.
pub const UNKNOWN: u8 = 0;

/// A longer message is skipped and counted.
const MAX_MESSAGE: usize = 256 << 10;

#[derive(Debug, Default)]
pub struct Reader {
    header: Vec<u8>,
    /// Payload bytes of the frame in hand still to come, its mask and how far it is used.
    left: u64,
    mask: Option<[u8; 4]>,
    position: usize,
    kind: FrameKind,
    last: bool,
    in_frame: bool,
    message: Vec<u8>,
    compressed: bool,
    inflate: Option<Box<flate2::Decompress>>,
    /// What came before is not in the capture.
    joined: bool,
    skipping: bool,
    pub lost: u32,
}

/// Whether a segment can begin with a message that is JSON (RFC 6455 §5.2): who sent it, as only clients mask. Said of text (or
/// the same as binary) that is not compressed, and whole or the first part of it; or compressed, whole, and nothing behind it.
pub fn joins(bytes: &[u8]) -> Option<Sender> {
    let [first @ (0x01 | 0x81 | 0x02 | 0x82 | 0xc1), second, rest @ ..] = bytes else { return None };
    let (length, extended) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 2),
        (127, _) => (rest.first_chunk().and_then(|l| usize::try_from(u64::from_be_bytes(*l)).ok())?, 8),
        (short, _) => (usize::from(short), 0),
    };
    let rest = rest.get(extended..)?;
    let (sender, mask, text) = match rest.split_first_chunk::<4>() {
        Some((mask, text)) if second & 0x80 != 0 => (Sender::Client, *mask, text),
        _ => (Sender::Server, [0; 4], rest),
    };
    if *first == 0xc1 {
        let mut whole: Vec<u8> = text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let plain = if text.len() == length { inflated(&mut *unknown_window()?, &mut whole) } else { None };
        let text = |b: &u8| *b >= b' ' || b.is_ascii_whitespace() || *b == UNKNOWN;
        return plain.filter(|plain| plain.len() > 20 && plain.last() == Some(&b'}') && plain.iter().all(text)).map(|_| sender);
    }
    let known = text.get(..text.len().min(length).min(64))?;
    let plain = |at: usize| known.iter().zip(mask.iter().cycle()).nth(at).map(|(byte, mask)| byte ^ mask);
    let whole = first & 0x80 != 0 || text.len() <= length;
    let open = (0..known.len()).filter_map(plain).filter(|b| !b.is_ascii_whitespace()).take(2).eq(*b"{\"");
    // Text has no control characters but those of a layout.
    let clean = (0..known.len()).filter_map(plain).all(|b| b >= b' ' || b.is_ascii_whitespace());
    (whole && open && clean).then_some(sender)
}

/// Whether a client that asked for a WebSocket goes on with a message of one, compressed or not: no request of HTTP begins so.
pub fn begins_masked(bytes: &[u8]) -> bool {
    matches!(bytes, [first, second, ..] if first & 0x30 == 0 && matches!(first & 0x0f, 1 | 2) && first & 0xc0 != 0 && second & 0x80 != 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FrameKind {
    #[default]
    Data,
    Control,
}

impl Reader {
    /// With `deflate`, messages may be compressed.
    pub fn new(deflate: bool) -> Reader {
        Reader { inflate: deflate.then(|| Box::new(flate2::Decompress::new(false))), ..Reader::default() }
    }

    /// One that begins in the middle: what compressed messages refer back to is unknown.
    pub fn joined() -> Reader {
        Reader { joined: true, ..Reader::default() }
    }

    pub fn buffered(&self) -> usize {
        self.message.capacity()
    }

    /// Takes the next bytes; every complete message is handed to `out`. False when this is no WebSocket any more.
    pub fn feed(&mut self, mut bytes: &[u8], mut out: impl FnMut(&[u8])) -> bool {
        while !bytes.is_empty() || (self.in_frame && self.left == 0) {
            if !self.in_frame {
                let Some((first, rest)) = bytes.split_first() else { break };
                self.header.push(*first);
                bytes = rest;
                match self.open() {
                    Some(opened) => self.in_frame = opened,
                    None => return false,
                }
                continue;
            }
            let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
            bytes = rest;
            self.left -= payload.len() as u64;
            self.take(payload);
            if self.left == 0 {
                self.in_frame = false;
                if self.kind == FrameKind::Data && self.last {
                    self.complete(&mut out);
                }
            }
        }
        true
    }

    /// Whether the header in hand is complete; `None` when it makes no sense (RFC 6455 §5.2).
    fn open(&mut self) -> Option<bool> {
        let (first, second) = match self.header.as_slice() {
            [first, second, ..] => (*first, *second),
            _ => return Some(false),
        };
        let opcode = first & 0x0f;
        if first & 0x30 != 0 || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
            return None;
        }
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let rest = self.header.get(2..).unwrap_or_default();
        if rest.len() < extended + if masked { 4 } else { 0 } {
            return Some(false);
        }
        self.left = match extended {
            0 => u64::from(second & 0x7f),
            n => rest.iter().take(n).fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.mask = rest.get(extended..).and_then(|m| m.first_chunk()).copied().filter(|_| masked);
        self.position = 0;
        self.kind = if opcode >= 8 { FrameKind::Control } else { FrameKind::Data };
        if self.kind == FrameKind::Data {
            self.last = first & 0x80 != 0;
            if opcode != 0 {
                self.message.clear();
                self.compressed = first & 0x40 != 0;
                self.skipping = false;
            }
        }
        self.header.clear();
        Some(true)
    }

    fn take(&mut self, payload: &[u8]) {
        let start = self.position;
        self.position = self.position.wrapping_add(payload.len());
        if self.kind == FrameKind::Control || self.skipping {
            return;
        }
        if self.message.len() + payload.len() > MAX_MESSAGE {
            self.message = Vec::new();
            self.skipping = true;
            return;
        }
        match self.mask {
            None => self.message.extend_from_slice(payload),
            Some([a, b, c, d]) => self.message.extend(payload.iter().enumerate().map(|(i, byte)| {
                byte ^ match (start + i) & 3 {
                    0 => a,
                    1 => b,
                    2 => c,
                    _ => d,
                }
            })),
        }
    }

    fn complete(&mut self, out: &mut impl FnMut(&[u8])) {
        let mut message = std::mem::take(&mut self.message);
        if self.skipping {
            // With context kept from message to message, one that was skipped spoils those after it.
            self.inflate = None;
            self.lost = self.lost.saturating_add(1);
            return;
        }
        if self.compressed && self.joined && self.inflate.is_none() {
            self.inflate = unknown_window();
        }
        if !self.compressed {
            out(&message);
        } else if let Some(inflate) = &mut self.inflate {
            match inflated(inflate, &mut message) {
                Some(plain) => out(&plain),
                None => {
                    self.inflate = None;
                    self.lost = self.lost.saturating_add(1);
                }
            }
        } else {
            self.lost = self.lost.saturating_add(1);
        }
        self.message = Vec::new();
    }
}

/// A decompressor to which everything before is unknown: a block of bytes that no text has, stored as they are.
fn unknown_window() -> Option<Box<flate2::Decompress>> {
    let mut inflate = Box::new(flate2::Decompress::new(false));
    let header = [&[0][..], &WINDOW.to_le_bytes(), &(!WINDOW).to_le_bytes()].concat();
    let block = [&header[..], &[UNKNOWN; WINDOW as usize]].concat();
    let mut window = Vec::with_capacity(usize::from(WINDOW) + 1);
    inflate.decompress_vec(&block, &mut window, flate2::FlushDecompress::Sync).ok()?;
    (window.len() == usize::from(WINDOW)).then_some(inflate)
}

/// A message as it was before it was compressed; `None` when it makes no sense, or is too long.
fn inflated(inflate: &mut flate2::Decompress, message: &mut Vec<u8>) -> Option<Vec<u8>> {
    message.extend_from_slice(&[0, 0, 0xff, 0xff]);
    let (begin, mut plain) = (inflate.total_in(), Vec::with_capacity((message.len() * 4).clamp(1024, MAX_MESSAGE)));
    loop {
        let read = usize::try_from(inflate.total_in() - begin).ok()?;
        inflate.decompress_vec(message.get(read..)?, &mut plain, flate2::FlushDecompress::Sync).ok()?;
        if plain.len() < plain.capacity() {
            return Some(plain);
        }
        if plain.len() >= MAX_MESSAGE {
            return None;
        }
        plain.reserve(plain.len());
    }
}
