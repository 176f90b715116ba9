//! HTTP/1.x messages out of a stream, one direction at a time (RFC 9112). Incremental: bytes may be split anywhere.

use super::http::{RequestHead, ResponseHead, Verb};
use std::borrow::Cow;

/// A head larger than this is given up on.
pub const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 128;
/// A chunk-size line with its extensions, at most.
const MAX_LINE: usize = 1024;

/// Whose messages a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

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
enum State {
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
    state: State,
    /// The start of a head or line that is not complete yet.
    partial: Vec<u8>,
}

impl Reader {
    pub fn new(role: Role) -> Reader {
        Reader { role, state: State::Head, partial: Vec::new() }
    }

    /// A reader that waits for a message to begin.
    pub fn lost(role: Role) -> Reader {
        Reader { role, state: State::Lost, partial: Vec::new() }
    }

    /// Bytes of a head or line that is not complete yet.
    pub fn buffered(&self) -> usize {
        self.partial.capacity()
    }

    pub fn is_lost(&self) -> bool {
        self.state == State::Lost
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
            Body::None | Body::Length(0) => State::Ending,
            Body::Length(n) => State::Length(n),
            Body::Chunked => State::ChunkSize,
            Body::UntilClose => State::UntilClose,
        };
    }

    /// The next piece, taking its bytes off `input`; `None` when more input is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            match self.state {
                State::Ending => {
                    self.state = State::Head;
                    return Some(Piece::End);
                }
                _ if input.is_empty() => return None,
                State::Head => return self.head(input),
                // `begin` was not called: nothing can be said about what follows.
                State::Asking => self.state = State::Lost,
                State::Length(left) => {
                    let data = take(input, left);
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { State::Ending } else { State::Length(left) };
                    return Some(Piece::Body(data));
                }
                State::Chunk(left) => {
                    let data = take(input, left);
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Some(Piece::Body(data));
                }
                State::UntilClose => {
                    return Some(Piece::Body(take(input, u64::MAX)));
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    let line = match self.line(input) {
                        Ok(Some(line)) => line,
                        Ok(None) => return None,
                        Err(why) => return Some(self.lose(why)),
                    };
                    if let Err(why) = self.framing(&line) {
                        return Some(self.lose(why));
                    }
                }
                State::Lost => return self.resynchronise(input),
            }
        }
    }

    /// The head in hand as far as it goes, when its rest is missing: every line of it that is whole. What follows cannot be
    /// told apart: the reader must give up after it.
    pub fn cut_head(&mut self) -> Option<Piece<'static>> {
        let whole = memchr::memrchr(b'\n', &self.partial).filter(|_| self.state == State::Head)?;
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
            State::Length(left) if missing <= left => {
                self.state = if missing == left { State::Ending } else { State::Length(left - missing) };
                Some(Piece::Hole)
            }
            State::Chunk(left) if missing <= left => {
                self.state = if missing == left { State::ChunkEnd } else { State::Chunk(left - missing) };
                Some(Piece::Hole)
            }
            State::UntilClose => Some(Piece::Hole),
            State::Lost => None,
            State::Head if self.partial.is_empty() => {
                self.state = State::Lost;
                None
            }
            _ => Some(self.lose(Why::Gap)),
        }
    }

    /// The end of the stream ends a message that had no other end.
    pub fn ended(&mut self) -> Option<Piece<'static>> {
        let over = self.state == State::UntilClose;
        self.state = State::Lost;
        over.then_some(Piece::End)
    }

    fn lose(&mut self, why: Why) -> Piece<'static> {
        self.state = State::Lost;
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
        let mut lenient = httparse::ParserConfig::default();
        lenient.ignore_invalid_headers_in_requests(true).ignore_invalid_headers_in_responses(true);
        lenient.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
        self.state = State::Asking;
        let piece = match self.role {
            Role::Client => {
                let mut request = httparse::Request::new(fields);
                match lenient.parse_request(&mut request, head) {
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
                match lenient.parse_response(&mut response, head) {
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
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkSize => match chunk_size(line).ok_or(Why::Malformed)? {
                0 => State::Trailer,
                n => State::Chunk(n),
            },
            State::Trailer if line.is_empty() => State::Ending,
            State::Trailer => State::Trailer,
            _ => return Err(Why::Malformed),
        };
        Ok(())
    }

    /// Looks for the start of a message, or of an event of an event stream, at the start of a segment.
    fn resynchronise<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if begins_message(input, self.role) {
            self.state = State::Head;
            return self.head(input);
        }
        if self.role == Role::Server {
            if let Some((size, length)) = begins_chunk_of_events(input) {
                *input = input.get(length..).unwrap_or_default();
                self.state = State::Chunk(size);
                return Some(Piece::Joined);
            }
            if begins_event(input) {
                self.state = State::UntilClose;
                return Some(Piece::Joined);
            }
        }
        *input = &[];
        None
    }
}

fn take<'a>(input: &mut &'a [u8], n: u64) -> &'a [u8] {
    let n = usize::try_from(n).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at_checked(n).unwrap_or((input, &[]));
    *input = rest;
    taken
}

/// Where a head ends: after an empty line.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', tail).find_map(|at| match tail.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|t| !t.is_empty() && !t.starts_with('+'))?;
    u64::from_str_radix(text, 16).ok()
}

/// Room for all fields of a head: mostly there already. A head is bounded in bytes, and clients count no fields.
pub fn room<'a, 'h>(
    head: &[u8],
    few: &'a mut [httparse::Header<'h>],
    many: &'a mut Vec<httparse::Header<'h>>,
) -> &'a mut [httparse::Header<'h>] {
    let lines = memchr::memchr_iter(b'\n', head).count();
    if lines <= few.len() {
        return few;
    }
    many.resize(lines, httparse::EMPTY_HEADER);
    many
}

/// Whether these bytes can be the start of a request or status line.
pub fn begins_message(bytes: &[u8], role: Role) -> bool {
    match role {
        Role::Server => matches!(bytes, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', ..]),
        Role::Client => {
            const VERBS: [&[u8]; 9] = [b"POST ", b"GET ", b"DELETE ", b"OPTIONS ", b"HEAD ", b"PUT ", b"PATCH ", b"CONNECT ", b"TRACE "];
            VERBS.iter().any(|verb| bytes.starts_with(verb))
        }
    }
}

/// A head without the control characters that no head may have (RFC 9110 §5.5, RFC 9112 §4), and any version as the one that is
/// known. Clients read on over them, so whoever refuses a head for one does not see its server.
pub fn legible(head: &[u8]) -> Cow<'_, [u8]> {
    let line_end = |at: usize| head.get(at + 1) == Some(&b'\n');
    let wrong = |at: usize, byte: u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n') && !(byte == b'\r' && line_end(at));
    let other = begins_message(head, Role::Server) && !matches!(head.get(5..8), Some(b"1.0" | b"1.1"));
    let newer = |at: usize, byte: u8| other && matches!(at, 5 | 7) && byte.is_ascii_digit();
    if !head.iter().enumerate().any(|(at, byte)| wrong(at, *byte) || newer(at, *byte)) {
        return Cow::Borrowed(head);
    }
    let read = |(at, byte): (usize, &u8)| match *byte {
        byte if wrong(at, byte) => b'?',
        byte if newer(at, byte) => b'1',
        byte => byte,
    };
    head.iter().enumerate().map(read).collect()
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
