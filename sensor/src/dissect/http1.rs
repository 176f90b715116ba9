//! HTTP/1.x messages out of a stream, one direction at a time (RFC 9112). Incremental: bytes may be split anywhere.
//!
//! The grammar is [`crate::http1`], which the probe's reader shares. This reader is another one, since it hears somebody else's
//! connection: messages of both roles follow each other, bytes may be missing, the stream may be joined in the middle, trailers are
//! read to their end because the next message comes after them, and bodies are lent piece by piece instead of kept.

use super::http::{RequestHead, ResponseHead, Verb};
pub use crate::http1::{Role, begins_message};
use crate::http1::{chunk_size, head_end, legible, lenient, room, take};

/// A head larger than this is given up on.
pub const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 128;
/// A chunk-size line with its extensions, at most.
const MAX_LINE: usize = 1024;

#[derive(Debug)]
pub enum Piece<'a> {
    Request(RequestHead),
    Response(ResponseHead),
    Body(&'a [u8]),
    /// A part of the body is not in the capture; the rest is still in step.
    Hole,
    /// The message is over.
    End,
    /// The stream makes no sense from here on, until a message begins at the start of a segment.
    Lost(Why),
    /// An event stream joined in the middle; `Body` follows.
    Joined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    HeadTooLarge,
    Malformed,
    Gap,
}

/// How the body of the message is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Body {
    /// A request without a length has no body.
    pub fn of_request(head: &RequestHead) -> Body {
        if head.common.chunked { Body::Chunked } else { head.common.length.map_or(Body::None, Body::Length) }
    }

    /// `verb` is that of the request, if it was seen.
    pub fn of_response(head: &ResponseHead, verb: Option<Verb>) -> Body {
        if verb == Some(Verb::Head) || matches!(head.status, 204 | 304) {
            Body::None
        } else if head.common.chunked {
            Body::Chunked
        } else {
            head.common.length.map_or(Body::UntilClose, Body::Length)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageState {
    Head,
    /// A head was given out; `begin` says what follows.
    Asking,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
    Ending,
    Lost,
}

#[derive(Debug)]
pub struct Reader {
    role: Role,
    state: MessageState,
    /// The start of a head or line that is not complete yet.
    partial: Vec<u8>,
}

impl Reader {
    pub fn new(role: Role) -> Reader {
        Reader { role, state: MessageState::Head, partial: Vec::new() }
    }

    /// A reader that waits for a message to begin.
    pub fn lost(role: Role) -> Reader {
        Reader { role, state: MessageState::Lost, partial: Vec::new() }
    }

    /// Bytes of a head or line that is not complete yet.
    pub fn buffered(&self) -> usize {
        self.partial.capacity()
    }

    pub fn is_lost(&self) -> bool {
        self.state == MessageState::Lost
    }

    /// The target of a request whose head has only begun.
    pub fn partial_target(&self) -> Option<String> {
        let mut words = self.partial.split(|b| *b == b' ');
        let (_, target, version) = (words.next()?, words.next()?, words.next()?);
        version.starts_with(b"HTTP/1").then(|| String::from_utf8_lossy(target).into_owned())
    }

    /// Must follow a `Request` or `Response` piece.
    pub fn begin(&mut self, body: Body) {
        self.state = match body {
            Body::None | Body::Length(0) => MessageState::Ending,
            Body::Length(n) => MessageState::Length(n),
            Body::Chunked => MessageState::ChunkSize,
            Body::UntilClose => MessageState::UntilClose,
        };
    }

    /// The next piece, taking its bytes off `input`; `None` when more input is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            match self.state {
                MessageState::Ending => {
                    self.state = MessageState::Head;
                    return Some(Piece::End);
                }
                _ if input.is_empty() => return None,
                MessageState::Head => return self.head(input),
                // `begin` was not called: nothing can be said about what follows.
                MessageState::Asking => self.state = MessageState::Lost,
                MessageState::Length(left) => {
                    let data = take(input, left);
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { MessageState::Ending } else { MessageState::Length(left) };
                    return Some(Piece::Body(data));
                }
                MessageState::Chunk(left) => {
                    let data = take(input, left);
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { MessageState::ChunkEnd } else { MessageState::Chunk(left) };
                    return Some(Piece::Body(data));
                }
                MessageState::UntilClose => {
                    return Some(Piece::Body(take(input, u64::MAX)));
                }
                MessageState::ChunkSize | MessageState::ChunkEnd | MessageState::Trailer => {
                    let line = match self.line(input) {
                        Ok(Some(line)) => line,
                        Ok(None) => return None,
                        Err(why) => return Some(self.lose(why)),
                    };
                    if let Err(why) = self.framing(&line) {
                        return Some(self.lose(why));
                    }
                }
                MessageState::Lost => return self.resynchronise(input),
            }
        }
    }

    /// The head in hand as far as it goes, when its rest is missing: every line of it that is whole. What follows cannot be
    /// told apart: the reader must give up after it.
    pub fn cut_head(&mut self) -> Option<Piece<'static>> {
        let whole = memchr::memrchr(b'\n', &self.partial).filter(|_| self.state == MessageState::Head)?;
        let mut head = std::mem::take(&mut self.partial);
        head.truncate(whole + 1);
        head.extend_from_slice(b"\r\n");
        Some(self.parse(&head)).filter(|piece| !matches!(piece, Piece::Lost(_)))
    }

    /// Waits for a message to begin.
    pub fn give_up(&mut self) -> Piece<'static> {
        self.lose(Why::Gap)
    }

    /// Some bytes of the stream are missing here.
    pub fn gap(&mut self, missing: usize) -> Option<Piece<'static>> {
        let missing = missing as u64;
        match self.state {
            MessageState::Length(left) if missing <= left => {
                self.state = if missing == left { MessageState::Ending } else { MessageState::Length(left - missing) };
                Some(Piece::Hole)
            }
            MessageState::Chunk(left) if missing <= left => {
                self.state = if missing == left { MessageState::ChunkEnd } else { MessageState::Chunk(left - missing) };
                Some(Piece::Hole)
            }
            MessageState::UntilClose => Some(Piece::Hole),
            MessageState::Lost => None,
            MessageState::Head if self.partial.is_empty() => {
                self.state = MessageState::Lost;
                None
            }
            _ => Some(self.lose(Why::Gap)),
        }
    }

    /// The end of the stream ends a message that had no other end.
    pub fn ended(&mut self) -> Option<Piece<'static>> {
        let over = self.state == MessageState::UntilClose;
        self.state = MessageState::Lost;
        over.then_some(Piece::End)
    }

    fn lose(&mut self, why: Why) -> Piece<'static> {
        self.state = MessageState::Lost;
        self.partial = Vec::new();
        Piece::Lost(why)
    }

    fn head<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if self.partial.is_empty() {
            // Empty lines before a message are to be ignored (RFC 9112 §2.2).
            let blank = input.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            *input = input.get(blank..).unwrap_or_default();
            if input.is_empty() {
                return None;
            }
            if let Some(end) = head_end(input, 0) {
                let (head, rest) = input.split_at_checked(end)?;
                *input = rest;
                return Some(self.parse(head));
            }
        }
        let seen = self.partial.len();
        let room = (MAX_HEAD + 1).saturating_sub(seen);
        let whole = *input;
        let taken = take(input, room as u64);
        self.partial.extend_from_slice(taken);
        if let Some(end) = head_end(&self.partial, seen.saturating_sub(3)) {
            let mut partial = std::mem::take(&mut self.partial);
            // What was taken too much goes back.
            let over = partial.len().saturating_sub(end);
            let kept = taken.len().saturating_sub(over);
            *input = whole.get(kept..).unwrap_or_default();
            partial.truncate(end);
            return Some(self.parse(&partial));
        }
        if !plausible(&self.partial, self.role) {
            return Some(self.lose(Why::Malformed));
        }
        (self.partial.len() > MAX_HEAD).then(|| self.lose(Why::HeadTooLarge))
    }

    fn parse(&mut self, head: &[u8]) -> Piece<'static> {
        let head = &*legible(head);
        let (mut few, mut many) = ([httparse::EMPTY_HEADER; MAX_HEADERS], Vec::new());
        let fields = room(head, &mut few, &mut many);
        self.state = MessageState::Asking;
        let piece = match self.role {
            Role::Client => {
                let mut request = httparse::Request::new(fields);
                match lenient().parse_request(&mut request, head) {
                    Ok(httparse::Status::Complete(_)) => {
                        let mut seen = RequestHead::new(
                            Verb::parse(request.method.unwrap_or_default().as_bytes()),
                            request.path.unwrap_or_default().as_bytes(),
                        );
                        request.headers.iter().for_each(|h| seen.header(h.name.as_bytes(), h.value));
                        Some(Piece::Request(seen))
                    }
                    _ => None,
                }
            }
            Role::Server => {
                let mut response = httparse::Response::new(fields);
                match lenient().parse_response(&mut response, head) {
                    Ok(httparse::Status::Complete(_)) => {
                        let mut seen = ResponseHead { status: response.code.unwrap_or_default(), ..ResponseHead::default() };
                        response.headers.iter().for_each(|h| seen.header(h.name.as_bytes(), h.value));
                        Some(Piece::Response(seen))
                    }
                    _ => None,
                }
            }
        };
        piece.unwrap_or_else(|| self.lose(Why::Malformed))
    }

    /// A line of the chunked framing without its end.
    fn line(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Why> {
        let (taken, complete) = match memchr::memchr(b'\n', input) {
            Some(at) => (take(input, at as u64 + 1), true),
            None => (take(input, u64::MAX), false),
        };
        if self.partial.len() + taken.len() > MAX_LINE {
            return Err(Why::Malformed);
        }
        self.partial.extend_from_slice(taken);
        if !complete {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.partial);
        while matches!(line.last(), Some(b'\r' | b'\n')) {
            line.pop();
        }
        Ok(Some(line))
    }

    fn framing(&mut self, line: &[u8]) -> Result<(), Why> {
        self.state = match self.state {
            MessageState::ChunkEnd if line.is_empty() => MessageState::ChunkSize,
            MessageState::ChunkSize => match chunk_size(line).ok_or(Why::Malformed)? {
                0 => MessageState::Trailer,
                n => MessageState::Chunk(n),
            },
            MessageState::Trailer if line.is_empty() => MessageState::Ending,
            MessageState::Trailer => MessageState::Trailer,
            _ => return Err(Why::Malformed),
        };
        Ok(())
    }

    /// Looks for the start of a message, or of an event of an event stream, at the start of a segment.
    fn resynchronise<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if begins_message(input, self.role) {
            self.state = MessageState::Head;
            return self.head(input);
        }
        if self.role == Role::Server {
            if let Some((size, length)) = begins_chunk_of_events(input) {
                *input = input.get(length..).unwrap_or_default();
                self.state = MessageState::Chunk(size);
                return Some(Piece::Joined);
            }
            if begins_event(input) {
                self.state = MessageState::UntilClose;
                return Some(Piece::Joined);
            }
        }
        *input = &[];
        None
    }
}

/// Whether an incomplete head still looks like one, so that a binary stream is not collected.
fn plausible(partial: &[u8], role: Role) -> bool {
    let start = partial.get(..partial.len().min(8)).unwrap_or_default();
    match role {
        Role::Server => {
            begins_message(start, Role::Server) || b"HTTP/".starts_with(start) || (start.starts_with(b"HTTP/") && start.len() < 7)
        }
        // A method is a token of letters (RFC 9110 §9.1); httparse checks the rest.
        Role::Client => start.iter().take_while(|b| **b != b' ').all(|b| b.is_ascii_uppercase() || *b == b'-'),
    }
}

fn begins_event(bytes: &[u8]) -> bool {
    const FIELDS: [&[u8]; 5] = [b"event:", b"data:", b"id:", b": ", b"retry:"];
    FIELDS.iter().any(|field| bytes.starts_with(field))
}

/// A chunk-size line followed by an event: the size and the length of the line.
fn begins_chunk_of_events(bytes: &[u8]) -> Option<(u64, usize)> {
    let end = memchr::memchr(b'\n', bytes.get(..bytes.len().min(20))?)?;
    let line = bytes.get(..end)?.trim_ascii_end();
    let size = chunk_size(line).filter(|n| *n > 0)?;
    begins_event(bytes.get(end + 1..)?).then_some((size, end + 1))
}
