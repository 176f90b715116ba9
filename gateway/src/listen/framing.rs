//! Where a client's requests begin, and whether one says its length in two ways.
//!
//! RFC 9112 §6.3: a request with both `Transfer-Encoding` and `Content-Length` "ought to be handled as an error": a proxy in front
//! may have gone by the other one, and what it took for a body would be a request here. The HTTP library goes by the first and
//! removes the second, so this is seen before it.

/// Follows the bytes of one connection, head by head. Pure.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    /// Bytes of one head that are kept; a longer one is refused by the HTTP library.
    bound: usize,
}

#[derive(Debug)]
enum At {
    Head(Vec<u8>),
    /// So many bytes of a body.
    Body(u64),
    /// A chunked body, a length that cannot be read, a head that is too long: nothing after this is served.
    Over,
}

/// What has been seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramingState {
    /// Each request says its length once.
    Plain,
    /// The connection must close after the answer: a body whose end is not looked for here.
    Last,
    Ambiguous,
}

impl Framing {
    pub(super) fn new(bound: usize) -> Framing {
        Framing { at: At::Head(Vec::new()), bound }
    }

    pub(super) fn see(&mut self, mut bytes: &[u8]) -> FramingState {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Over => break,
                At::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.at = At::Head(Vec::new());
                    }
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                At::Head(head) => {
                    bytes = rest;
                    // Empty lines before a request count for nothing (RFC 9112 §2.2).
                    if head.is_empty() && matches!(first, b'\r' | b'\n') {
                        continue;
                    }
                    head.push(*first);
                    if head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n") {
                        let lengths = Lengths::of(head);
                        let (ambiguous, next) = (lengths.is_ambiguous(), lengths.next());
                        self.at = next;
                        if ambiguous {
                            return FramingState::Ambiguous;
                        }
                    } else if head.len() > self.bound {
                        self.at = At::Over;
                    }
                }
            }
        }
        if matches!(self.at, At::Over) { FramingState::Last } else { FramingState::Plain }
    }
}

/// What a head says of its body.
#[derive(Debug, Default)]
struct Lengths<'a> {
    encoded: bool,
    length: Option<&'a [u8]>,
}

impl Lengths<'_> {
    fn of(head: &[u8]) -> Lengths<'_> {
        let mut found = Lengths::default();
        for line in head.split(|b| *b == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                found.encoded = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                found.length = Some(value.get(1..).unwrap_or_default().trim_ascii());
            }
        }
        found
    }

    fn is_ambiguous(&self) -> bool {
        self.encoded && self.length.is_some()
    }

    fn next(&self) -> At {
        match (self.encoded, self.length) {
            (true, _) => At::Over,
            (false, None) => At::Head(Vec::new()),
            (false, Some(digits)) => match std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()) {
                Some(0) => At::Head(Vec::new()),
                Some(n) => At::Body(n),
                None => At::Over,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one piece, and byte by byte.
    fn seen(text: &str) -> FramingState {
        let whole = Framing::new(4096).see(text.as_bytes());
        let mut framing = Framing::new(4096);
        let pieces: Vec<FramingState> = text.bytes().map(|b| framing.see(&[b])).collect();
        let worst = pieces.into_iter().find(|s| *s == FramingState::Ambiguous);
        assert_eq!(worst.is_some(), whole == FramingState::Ambiguous, "{text:?}");
        whole
    }

    #[test]
    fn two_lengths_are_seen_in_any_order_spelling_and_request() {
        for both in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nHost: a\r\nCONTENT-LENGTH:3\r\n\r\n",
            "POST / HTTP/1.1\nTransfer-Encoding: x\nContent-Length: 0\n\n",
            "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length : 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(seen(both), FramingState::Ambiguous, "{both:?}");
        }
    }

    #[test]
    fn what_stands_in_a_body_is_no_header() {
        let body = "POST / HTTP/1.1\r\nContent-Length: 38\r\n\r\nA: b\r\n\r\nTransfer-Encoding: chunked\r\n\r\nab";
        assert_eq!(seen(&format!("{body}GET / HTTP/1.1\r\n\r\n")), FramingState::Plain);
    }

    #[test]
    fn what_cannot_be_followed_is_the_connections_last() {
        for last in [
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert_eq!(seen(last), FramingState::Last, "{last:?}");
        }
        assert_eq!(Framing::new(8).see(b"GET / HTTP/1.1\r\n"), FramingState::Last);
    }
}
