//! What an HTTP message says about itself, whatever version carried it: only the fields that matter here, never a secret.

use super::digest;
use rules::{evidence::Auth, mcp::header as mcp};

/// Longer values are cut: what matters is at the front.
const MAX_TARGET: usize = 2048;
const MAX_NAME: usize = 128;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    Get,
    Head,
    Post,
    Delete,
    Options,
    Connect,
    #[default]
    Other,
}

impl Verb {
    pub fn parse(text: &[u8]) -> Verb {
        match text {
            b"GET" => Verb::Get,
            b"HEAD" => Verb::Head,
            b"POST" => Verb::Post,
            b"DELETE" => Verb::Delete,
            b"OPTIONS" => Verb::Options,
            b"CONNECT" => Verb::Connect,
            _ => Verb::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    #[default]
    Unsaid,
    Json,
    EventStream,
    Other,
}

/// RFC 9110 §8.4.1 and RFC 8878.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    /// One we do not know, or several on top of each other.
    Unknown,
}

/// Fields that requests and responses share.
#[derive(Clone, Debug, Default)]
pub struct Common {
    pub media: Media,
    pub encoding: Encoding,
    pub length: Option<u64>,
    pub chunked: bool,
    /// A digest of `Mcp-Session-Id`; the id itself is not kept.
    pub session: Option<u64>,
    pub websocket: bool,
    /// `Upgrade: h2c`.
    pub h2c: bool,
    /// A WebSocket may use permessage-deflate (RFC 7692).
    pub deflate: bool,
}

#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub verb: Verb,
    /// With its query, which may hold a secret: for correlation only, never to be shown.
    pub target: String,
    pub host: Option<String>,
    pub common: Common,
    pub auth: Option<Auth>,
    pub accepts_json: bool,
    pub accepts_events: bool,
    /// `MCP-Protocol-Version`, if it is a date.
    pub version: Option<String>,
    /// `Mcp-Method`.
    pub rpc_method: Option<String>,
    /// `Mcp-Name`.
    pub rpc_name: Option<String>,
    pub last_event: bool,
}

#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub status: u16,
    pub common: Common,
    /// `Access-Control-Expose-Headers` names one of MCP's. (`-Allow-Headers` often just repeats what was asked.)
    pub exposes_mcp: bool,
    /// What `WWW-Authenticate` asks for.
    pub challenge: Option<Auth>,
    /// `WWW-Authenticate` with RFC 9728's `resource_metadata`.
    pub resource_metadata: bool,
    /// A file with a date, a tag, a name or byte ranges, or one to keep: stored text, not an answer.
    pub stored: bool,
    /// `Sec-WebSocket-Protocol: mcp`.
    pub mcp_subprotocol: bool,
}

impl Common {
    fn header(&mut self, name: &[u8], value: &[u8]) -> bool {
        if is(name, b"content-type") {
            // A second one is the rest of a list, of which clients look at the first.
            if self.media == Media::Unsaid {
                self.media = media(value);
            }
        } else if is(name, b"content-length") {
            self.length = length(value);
        } else if is(name, b"transfer-encoding") {
            self.chunked |= has_token(value, b"chunked");
        } else if is(name, b"content-encoding") {
            self.encoding = encoding(value);
        } else if is(name, mcp::SESSION_ID.as_bytes()) {
            self.session = Some(digest(value));
        } else if is(name, b"upgrade") {
            self.websocket = has_token(value, b"websocket");
            self.h2c = has_token(value, b"h2c");
        } else if is(name, b"sec-websocket-extensions") {
            self.deflate = has_token(value, b"permessage-deflate");
        } else {
            return false;
        }
        true
    }
}

impl RequestHead {
    pub fn new(verb: Verb, target: &[u8]) -> RequestHead {
        RequestHead { verb, target: cut(target, MAX_TARGET), ..RequestHead::default() }
    }

    /// Notes one header field; names in any case.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if self.common.header(name, value) {
            return;
        }
        if is(name, b"host") || is(name, b":authority") {
            self.host = Some(cut(value, 300));
        } else if is(name, b"accept") {
            self.accepts_json |= contains(value, b"application/json");
            self.accepts_events |= contains(value, b"text/event-stream");
        } else if is(name, mcp::PROTOCOL_VERSION.as_bytes()) {
            self.version = std::str::from_utf8(value).ok().map(str::trim).filter(|v| super::mcp::is_revision(v)).map(str::to_owned);
        } else if is(name, mcp::METHOD.as_bytes()) {
            self.rpc_method = Some(cut(value, MAX_NAME));
        } else if is(name, mcp::NAME.as_bytes()) {
            self.rpc_name = Some(cut(value, MAX_NAME));
        } else if is(name, b"authorization") {
            self.auth = Some(scheme(value));
        } else if is(name, b"x-api-key") || is(name, b"api-key") {
            self.auth.get_or_insert(Auth::ApiKey);
        } else if is(name, b"last-event-id") {
            self.last_event = true;
        }
    }
}

impl ResponseHead {
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if self.common.header(name, value) {
            return;
        }
        if is(name, b"access-control-expose-headers") {
            self.exposes_mcp |= contains(value, mcp::SESSION_ID.as_bytes()) || contains(value, mcp::PROTOCOL_VERSION.as_bytes());
        } else if is(name, b"www-authenticate") {
            self.resource_metadata |= contains(value, b"resource_metadata");
            self.challenge.get_or_insert(scheme(value));
        } else if [&b"last-modified"[..], b"etag", b"accept-ranges", b"content-range", b"content-disposition"].iter().any(|n| is(name, n)) {
            self.stored = true;
        } else if is(name, b"cache-control") {
            self.stored |= is_to_keep(value);
        } else if is(name, b"age") {
            self.stored |= value.trim_ascii() != b"0";
        } else if is(name, b"sec-websocket-protocol") {
            self.mcp_subprotocol = has_token(value, b"mcp");
        }
    }
}

fn is(name: &[u8], wanted: &[u8]) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

fn cut(value: &[u8], max: usize) -> String {
    String::from_utf8_lossy(value.get(..max).unwrap_or(value)).into_owned()
}

/// Whether lower-case `wanted` is in `text` in any case.
fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

/// Whether a comma-separated list has the member, with or without parameters.
fn has_token(list: &[u8], wanted: &[u8]) -> bool {
    let name = |member: &[u8]| member.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case(wanted);
    list.split(|b| *b == b',').any(name)
}

/// Whether `Cache-Control` lets anybody keep it for a while (RFC 9111 §5.2.2).
fn is_to_keep(value: &[u8]) -> bool {
    let kept = |directive: &[u8]| {
        let mut parts = directive.splitn(2, |b| *b == b'=');
        let (name, seconds) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"0"));
        let for_a_while = (is(name, b"max-age") || is(name, b"s-maxage")) && seconds.trim_ascii() != b"0";
        for_a_while || is(name, b"immutable") || is(name, b"public")
    };
    value.split(|b| *b == b',').any(|directive| kept(directive.trim_ascii()))
}

/// The same number several times is that number (RFC 9110 §8.6).
fn length(value: &[u8]) -> Option<u64> {
    let mut all = std::str::from_utf8(value).ok()?.split(',').map(|n| n.trim().parse::<u64>().ok());
    let first = all.next()??;
    all.all(|n| n == Some(first)).then_some(first)
}

fn media(value: &[u8]) -> Media {
    let kind = value.split(|b| matches!(b, b';' | b',')).next().unwrap_or_default().trim_ascii();
    if is(kind, b"text/event-stream") {
        Media::EventStream
    } else if is(kind, b"application/json")
        || kind.len() >= 5 && kind.get(kind.len() - 5..).is_some_and(|end| is(end, b"+json"))
        || is(kind, b"application/json-rpc")
    {
        Media::Json
    } else {
        Media::Other
    }
}

fn encoding(value: &[u8]) -> Encoding {
    let value = value.trim_ascii();
    for (name, encoding) in [
        (&b"identity"[..], Encoding::Identity),
        (b"gzip", Encoding::Gzip),
        (b"x-gzip", Encoding::Gzip),
        (b"deflate", Encoding::Deflate),
        (b"br", Encoding::Brotli),
        (b"zstd", Encoding::Zstd),
    ] {
        if is(value, name) {
            return encoding;
        }
    }
    Encoding::Unknown
}

fn scheme(value: &[u8]) -> Auth {
    let scheme = value.trim_ascii().split(|b| *b == b' ').next().unwrap_or_default();
    if is(scheme, b"bearer") || is(scheme, b"dpop") {
        Auth::Bearer
    } else if is(scheme, b"basic") {
        Auth::Basic
    } else {
        Auth::Unknown
    }
}
