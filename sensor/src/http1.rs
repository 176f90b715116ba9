//! The grammar of HTTP/1 (RFC 9112) that both readers share: one of connections of others, one of the probe's own. As lenient as
//! clients and servers are, since whoever refuses a head does not see its server. Pure, and cannot panic.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::borrow::Cow;

/// Whose messages a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
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

/// Up to `n` bytes off the front of `input`.
pub fn take<'a>(input: &mut &'a [u8], n: u64) -> &'a [u8] {
    let n = usize::try_from(n).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at_checked(n).unwrap_or((input, &[]));
    *input = rest;
    taken
}

/// Where a head ends: after an empty line.
pub fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', tail).find_map(|at| match tail.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// The size in a chunk-size line, whatever extensions follow it.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|t| !t.is_empty() && !t.starts_with('+'))?;
    u64::from_str_radix(text, 16).ok()
}

/// A parser that reads on over what clients and servers read on over.
pub fn lenient() -> httparse::ParserConfig {
    let mut lenient = httparse::ParserConfig::default();
    lenient.ignore_invalid_headers_in_requests(true).ignore_invalid_headers_in_responses(true);
    lenient.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    lenient
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
