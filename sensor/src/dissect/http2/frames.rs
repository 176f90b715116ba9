//! HTTP/2 frames out of a stream, one direction at a time (RFC 9113 §4, §6).

/// Header blocks, with all their continuations, at most.
const MAX_BLOCK: usize = 64 << 10;
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Headers {
        stream: u32,
        block: Vec<u8>,
        end: bool,
    },
    Data {
        stream: u32,
        bytes: &'a [u8],
    },
    /// Bytes of a stream's data are missing.
    Hole {
        stream: u32,
    },
    End {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
    /// A header block that cannot be decoded as it is not whole, or too large: the compression is out of step.
    LostBlock,
}

#[derive(Clone, Copy, Debug, Default)]
struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The start of the preface, of a frame header, or of a frame that is needed whole.
    partial: Vec<u8>,
    frame: Option<Header>,
    /// Of the payload of a data frame or one that is skipped: still to come, and how much at its end is padding.
    left: usize,
    padding: usize,
    pad_known: bool,
    /// The header block in hand: its stream, bytes, and whether its stream ends with it.
    block: Option<(u32, Vec<u8>, bool)>,
    preface: bool,
    lost: bool,
}

impl Reader {
    /// A client's side begins with the preface.
    pub(super) fn new(preface: bool) -> Reader {
        Reader { preface, ..Reader::default() }
    }

    pub(super) fn buffered(&self) -> usize {
        self.partial.capacity() + self.block.as_ref().map_or(0, |(_, block, _)| block.capacity())
    }

    /// The next piece, taking its bytes off `input`; `None` when more is needed.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            if self.lost {
                if !joins(input) {
                    *input = &[];
                    return None;
                }
                self.lost = false;
            }
            if self.preface {
                self.fill(input, PREFACE.len())?;
                self.preface = false;
                // Without it this is the middle of a connection.
                self.lost = self.partial != PREFACE;
                self.partial.clear();
                continue;
            }
            let Some(frame) = self.frame else {
                self.fill(input, 9)?;
                self.open();
                continue;
            };
            match frame.kind {
                0 => match self.data(frame, input) {
                    Some(piece) => return Some(piece),
                    None if self.frame.is_some() => return None,
                    None => {}
                },
                1 | 3 | 9 if frame.length <= MAX_BLOCK => {
                    self.fill(input, frame.length)?;
                    let payload = std::mem::take(&mut self.partial);
                    self.frame = None;
                    if let Some(piece) = self.whole(frame, &payload) {
                        return Some(piece);
                    }
                }
                kind => {
                    let skipped = self.left.min(input.len());
                    *input = input.get(skipped..).unwrap_or_default();
                    self.left -= skipped;
                    if self.left > 0 {
                        return None;
                    }
                    self.frame = None;
                    if matches!(kind, 1 | 9) {
                        self.block = None;
                        return Some(Piece::LostBlock);
                    }
                }
            }
        }
    }

    /// Bytes are missing here.
    pub(super) fn gap(&mut self, missing: usize) -> Option<Piece<'static>> {
        let inside = self.frame.filter(|f| f.kind == 0 && self.pad_known && missing <= self.left);
        if let Some(frame) = inside {
            self.left -= missing;
            if self.left == 0 {
                self.frame = None;
            }
            return Some(Piece::Hole { stream: frame.stream });
        }
        *self = Reader { lost: true, ..Reader::default() };
        Some(Piece::LostBlock)
    }

    /// Collects until `length` bytes are there.
    fn fill(&mut self, input: &mut &[u8], length: usize) -> Option<()> {
        let wanted = length.saturating_sub(self.partial.len()).min(input.len());
        let (taken, rest) = input.split_at_checked(wanted)?;
        self.partial.extend_from_slice(taken);
        *input = rest;
        (self.partial.len() >= length).then_some(())
    }

    fn open(&mut self) {
        let header = header(&self.partial).unwrap_or_default();
        self.partial.clear();
        (self.left, self.padding, self.pad_known) = (header.length, 0, header.flags & PADDED == 0);
        self.frame = Some(header);
    }

    fn data<'a>(&mut self, frame: Header, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if !self.pad_known && self.left > 0 {
            let (pad, rest) = input.split_first()?;
            *input = rest;
            self.pad_known = true;
            self.left -= 1;
            self.padding = usize::from(*pad).min(self.left);
        }
        if self.left > self.padding {
            let n = (self.left - self.padding).min(input.len());
            let (bytes, rest) = input.split_at_checked(n).filter(|(b, _)| !b.is_empty())?;
            *input = rest;
            self.left -= n;
            return Some(Piece::Data { stream: frame.stream, bytes });
        }
        let skipped = self.left.min(input.len());
        *input = input.get(skipped..).unwrap_or_default();
        self.left -= skipped;
        self.padding = self.left;
        if self.left > 0 {
            return None;
        }
        self.frame = None;
        (frame.flags & END_STREAM != 0).then_some(Piece::End { stream: frame.stream })
    }

    fn whole(&mut self, frame: Header, payload: &[u8]) -> Option<Piece<'static>> {
        match frame.kind {
            3 => return Some(Piece::Reset { stream: frame.stream }),
            1 => self.block = Some((frame.stream, fragment(frame.flags, payload)?.to_vec(), frame.flags & END_STREAM != 0)),
            _ => {
                let (stream, block, _) = self.block.as_mut()?;
                if *stream != frame.stream || block.len() + payload.len() > MAX_BLOCK {
                    self.block = None;
                    return Some(Piece::LostBlock);
                }
                block.extend_from_slice(payload);
            }
        }
        if frame.flags & END_HEADERS == 0 {
            return None;
        }
        let (stream, block, end) = self.block.take()?;
        Some(Piece::Headers { stream, block, end })
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    let [a, b, c, kind, flags, d, e, f, g] = *bytes.first_chunk::<9>()?;
    Some(Header {
        length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
        kind,
        flags,
        stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
    })
}

/// The header block in a HEADERS frame, without padding and priority (RFC 9113 §6.2).
fn fragment(flags: u8, mut payload: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (pad, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(*pad), rest);
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(5..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

/// Whether a segment can begin with a frame: strict, so that other protocols do not pass. At least one frame must be whole, and
/// every header that is there must make sense.
pub(super) fn joins(mut bytes: &[u8]) -> bool {
    let mut whole = 0;
    while let Some(frame) = header(bytes) {
        let reserved = bytes.get(5).is_some_and(|b| b & 0x80 != 0);
        if reserved || !sensible(frame) {
            return false;
        }
        match bytes.get(9 + frame.length..) {
            Some(rest) => bytes = rest,
            None => return whole > 0,
        }
        whole += 1;
    }
    whole > 0
}

fn sensible(frame: Header) -> bool {
    let (flags, on_stream, length) = match frame.kind {
        0 => (END_STREAM | PADDED, true, frame.length <= 16_384),
        1 => (END_STREAM | END_HEADERS | PADDED | PRIORITY, true, frame.length <= 16_384),
        3 => (0, true, frame.length == 4),
        4 => (1, false, frame.length.is_multiple_of(6) && frame.length < 200),
        6 => (1, false, frame.length == 8),
        7 => (0, false, (8..1024).contains(&frame.length)),
        8 => return frame.flags == 0 && frame.length == 4 && frame.stream < 1 << 24,
        9 => (END_HEADERS, true, frame.length <= 16_384),
        _ => return false,
    };
    frame.flags & !flags == 0 && length && (frame.stream != 0) == on_stream && frame.stream < 1 << 24
}
