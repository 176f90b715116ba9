//! One HTTP/1.1 response (RFC 9112), read as it arrives, with a bound on everything.
//!
//! Bytes in, no IO. Whatever a server sends, this keeps at most `Caps::head + Caps::body` bytes and says what it cut.
//!
//! The grammar is [`crate::http1`], which the reader of captured connections shares. This reader is another one, since it reads one
//! answer to a question of ours: every header is kept, interim responses are counted, the last chunk ends it without waiting for
//! trailers, and anything that is not HTTP is an answer, too, not a gap to read over.

use crate::http1::{chunk_size, head_end, legible, lenient, room, take};

/// What one response may cost.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub head: usize,
    pub body: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { head: 64 << 10, body: 256 << 10 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// Names in lower case; values as UTF-8 on one line, anything else replaced.
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// Why the bytes cannot be a response we go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("not HTTP")]
    NotHttp,
    #[error("head too big")]
    HeadTooBig,
    #[error("broken chunk")]
    BadChunk,
}

const MAX_HEADERS: usize = 96;
const MAX_CHUNK_LINE: usize = 512;
/// Interim responses (RFC 9110 §15.2) we sit through.
const MAX_INTERIM: u8 = 4;

#[derive(Debug)]
enum ResponseState {
    Head,
    Length(u64),
    ChunkLine,
    Chunk(u64),
    /// The CRLF after a chunk.
    ChunkEnd,
    UntilClose,
    Done,
}

#[derive(Debug)]
pub struct Reader {
    caps: Caps,
    state: ResponseState,
    pending: Vec<u8>,
    interim: u8,
    head: Option<Head>,
    body: Vec<u8>,
    cut: bool,
}

impl Reader {
    pub fn new(caps: Caps) -> Reader {
        Reader { caps, state: ResponseState::Head, pending: Vec::new(), interim: 0, head: None, body: Vec::new(), cut: false }
    }

    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The body so far, unframed; never decompressed.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn into_parts(self) -> (Option<Head>, Vec<u8>, bool) {
        (self.head, self.body, self.cut)
    }

    /// More bytes from the peer.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, Broken> {
        if matches!(self.state, ResponseState::Head) {
            return self.push_head(bytes);
        }
        self.push_body(bytes)
    }

    fn push_head(&mut self, bytes: &[u8]) -> Result<Progress, Broken> {
        self.pending.extend_from_slice(bytes);
        // Clients read on over empty lines before a status line, too.
        let blank = self.pending.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        self.pending.drain(..blank);
        let known = self.pending.len().min(5);
        if self.pending.get(..known) != b"HTTP/".get(..known) {
            return Err(Broken::NotHttp);
        }
        loop {
            let limit = self.pending.len().min(self.caps.head);
            let window = self.pending.get(..limit).unwrap_or_default();
            // Parsing only complete heads keeps a byte-by-byte sender from costing us quadratic time.
            let Some(end) = head_end(window, 0) else {
                return if self.pending.len() >= self.caps.head { Err(Broken::HeadTooBig) } else { Ok(Progress::More) };
            };
            let head = parse_head(window.get(..end).unwrap_or_default())?;
            self.pending.drain(..end);
            if (100..200).contains(&head.status) && head.status != 101 {
                self.interim = self.interim.saturating_add(1);
                if self.interim > MAX_INTERIM {
                    return Err(Broken::NotHttp);
                }
                continue;
            }
            self.state = framing(&head);
            self.head = Some(head);
            let rest = std::mem::take(&mut self.pending);
            return self.push_body(&rest);
        }
    }

    fn push_body(&mut self, mut bytes: &[u8]) -> Result<Progress, Broken> {
        loop {
            match self.state {
                ResponseState::Done | ResponseState::Length(0) => {
                    self.state = ResponseState::Done;
                    return Ok(Progress::Done);
                }
                _ if bytes.is_empty() => return Ok(Progress::More),
                ResponseState::Head => return Ok(Progress::More),
                ResponseState::UntilClose => {
                    return Ok(self.keep(bytes));
                }
                ResponseState::Length(left) => {
                    let taken = take(&mut bytes, left);
                    self.state = ResponseState::Length(left.saturating_sub(taken.len() as u64));
                    if self.keep(taken) == Progress::Done {
                        return Ok(Progress::Done);
                    }
                }
                ResponseState::Chunk(left) => {
                    let taken = take(&mut bytes, left);
                    let left = left.saturating_sub(taken.len() as u64);
                    self.state = if left == 0 { ResponseState::ChunkEnd } else { ResponseState::Chunk(left) };
                    if self.keep(taken) == Progress::Done {
                        return Ok(Progress::Done);
                    }
                }
                ResponseState::ChunkLine | ResponseState::ChunkEnd => {
                    let Some(line) = self.line(&mut bytes)? else { return Ok(Progress::More) };
                    self.state = match self.state {
                        ResponseState::ChunkEnd if line.is_empty() => ResponseState::ChunkLine,
                        ResponseState::ChunkEnd => return Err(Broken::BadChunk),
                        _ => match chunk_size(&line).ok_or(Broken::BadChunk)? {
                            0 => ResponseState::Done,
                            n => ResponseState::Chunk(n),
                        },
                    };
                }
            }
        }
    }

    /// One line without its end, once it is complete.
    fn line(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        while let Some((first, rest)) = bytes.split_first() {
            *bytes = rest;
            if *first == b'\n' {
                let mut line = std::mem::take(&mut self.pending);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            self.pending.push(*first);
            if self.pending.len() > MAX_CHUNK_LINE {
                return Err(Broken::BadChunk);
            }
        }
        Ok(None)
    }

    fn keep(&mut self, bytes: &[u8]) -> Progress {
        let room = self.caps.body.saturating_sub(self.body.len());
        self.body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if bytes.len() > room {
            self.cut = true;
            self.state = ResponseState::Done;
            return Progress::Done;
        }
        Progress::More
    }
}

/// As leniently as clients read, so that no server hides behind what is wrong with its head; but nothing of that comes through.
fn parse_head(bytes: &[u8]) -> Result<Head, Broken> {
    let bytes = &*legible(bytes);
    let (mut few, mut many) = ([httparse::EMPTY_HEADER; MAX_HEADERS], Vec::new());
    let fields = room(bytes, &mut few, &mut many);
    let mut response = httparse::Response::new(fields);
    match lenient().parse_response(&mut response, bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Broken::HeadTooBig),
        _ => return Err(Broken::NotHttp),
    }
    let status = response.code.ok_or(Broken::NotHttp)?;
    // A value folded over lines is one line.
    let value = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(char::is_control, " ").trim().to_owned();
    let headers = response.headers.iter().map(|h| (h.name.to_ascii_lowercase(), value(h.value))).collect();
    Ok(Head { status, headers })
}

/// RFC 9112 §6.3, for a response to a request with a body.
fn framing(head: &Head) -> ResponseState {
    if matches!(head.status, 204 | 304) {
        return ResponseState::Done;
    }
    let chunked = head.headers.iter().any(|(n, v)| n == "transfer-encoding" && v.to_ascii_lowercase().contains("chunked"));
    if chunked {
        return ResponseState::ChunkLine;
    }
    match head.get("content-length").and_then(|v| v.parse().ok()) {
        Some(n) => ResponseState::Length(n),
        None => ResponseState::UntilClose,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<(u16, String, bool), Broken> {
        let mut reader = Reader::new(Caps { head: 256, body: 32 });
        for part in bytes.chunks(step) {
            if reader.push(part)? == Progress::Done {
                break;
            }
        }
        let (head, body, cut) = reader.into_parts();
        Ok((head.map_or(0, |h| h.status), String::from_utf8_lossy(&body).into_owned(), cut))
    }

    #[test]
    fn every_split_reads_the_same() {
        let cases: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloEXTRA",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
            b"HTTP/1.0 200 OK\r\n\r\nhello",
        ];
        for case in cases {
            for step in 1..case.len() {
                assert_eq!(read(case, step), Ok((200, "hello".to_owned(), false)), "{} by {step}", String::from_utf8_lossy(case));
            }
        }
    }

    #[test]
    fn bounds_are_kept_and_said() {
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; 1000]].concat();
        assert_eq!(read(&endless, 7), Err(Broken::HeadTooBig));
        let big = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'a'; 1000]].concat();
        assert_eq!(read(&big, 11), Ok((200, "a".repeat(32), true)));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 9), Err(Broken::BadChunk));
    }

    #[test]
    fn what_is_wrong_with_a_head_hides_nothing_and_goes_nowhere() {
        let heads: [&[u8]; 6] = [
            b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: 5\r\n",
            b"HTTP/1.1 200 OK\r\nServer: \x1b]0;x\x07\r\nContent-Length: 5\r\n",
            b"HTTP/1.1 200 O\x00K\r\nX: a\rb\x7f\r\nContent-Length: 5\r\n",
            b"HTTP/1.1 200 \xff\xfe\r\nX\x1b: 1\r\nContent-Length: 5\r\n",
            b"HTTP/1.1 200\r\nno colon\r\nContent-Length : 5\r\n",
            b"HTTP/1.1 200 OK\r\nX: folded\r\n \x1b here\r\nContent-Length: 5\r\n",
        ];
        for head in heads {
            let said = [head, b"\r\nhello, and more"].concat();
            let mut reader = Reader::new(Caps::default());
            assert_eq!(reader.push(&said), Ok(Progress::Done), "{}", String::from_utf8_lossy(head).escape_debug());
            let (head, body, _) = reader.into_parts();
            let head = head.unwrap();
            assert_eq!((head.status, body.as_slice()), (200, &b"hello"[..]));
            let legible = |text: &str| !text.contains(char::is_control);
            assert!(head.headers.iter().all(|(name, value)| legible(name) && legible(value)), "{head:?}");
        }
    }

    #[test]
    fn an_echo_of_our_request_is_not_http() {
        assert_eq!(read(b"POST /mcp HTTP/1.1\r\nHost: x\r\n\r\n", 3), Err(Broken::NotHttp));
        assert_eq!(read(b"SSH-2.0-OpenSSH_9.2\r\n", 30), Err(Broken::NotHttp));
    }
}
