//! What came back, as values: no IO, no judgement.

use super::{http1::Head, rpc, sse::Event};

/// How one question ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answer(Box<HttpAnswer>),
    /// TCP reset on connect: nothing listens.
    Refused,
    /// No answer to the connect, or no route.
    Unreachable,
    /// Connected, and not a byte in time.
    Silent,
    /// Connected, and closed without a byte.
    Closed,
    /// The peer speaks something else; its first bytes.
    NotHttp(Vec<u8>),
    /// The peer broke a bound: an endless head, a slow drip, a broken chunk.
    Abusive(&'static str),
    /// The TLS handshake failed; `wants_certificate` when the peer asked for ours.
    TlsFailed {
        why: String,
        wants_certificate: bool,
    },
}

#[derive(Clone, Debug, Default)]
pub struct HttpAnswer {
    pub head: Head,
    /// At most the cap; of an event stream what was read until the answer.
    pub body: Vec<u8>,
    /// The body was longer than the cap, or the time was up.
    pub cut: bool,
    pub tls: Option<TlsFacts>,
    /// Only of [`super::question::Ask::Stream`]: what the stream said.
    pub stream: Vec<Event>,
    /// Only of `Stream`: the id of the message posted to the announced endpoint, and the status it got.
    pub posted: Option<(String, u16)>,
}

/// What a TLS handshake showed. The certificate is recorded, not believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    pub version: String,
    pub subject: String,
    pub issuer: String,
    pub names: Vec<String>,
    /// RFC 3339, or empty.
    pub expires: String,
    pub chain_length: usize,
    /// The server asked for a client certificate.
    pub wants_certificate: bool,
}

impl HttpAnswer {
    pub fn is_event_stream(&self) -> bool {
        self.content_type().contains("text/event-stream")
    }

    pub fn content_type(&self) -> String {
        self.head.get("content-type").unwrap_or_default().to_ascii_lowercase()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON-RPC answer in the body or in the events of the body: the one with our id, else the first.
    pub fn rpc(&self, nonce: &str) -> Option<rpc::RpcAnswer> {
        if !self.is_event_stream() {
            return rpc::parse(&self.body);
        }
        let mut events = super::sse::Events::new(self.body.len() + 1);
        let mut body = self.body.clone();
        body.extend_from_slice(b"\n\n");
        pick(events.push(&body).iter(), nonce)
    }
}

/// The answer with our id among events, else the first JSON-RPC message.
pub fn pick<'a>(events: impl Iterator<Item = &'a Event>, nonce: &str) -> Option<rpc::RpcAnswer> {
    let mut first = None;
    for answer in events.take(64).filter_map(|e| rpc::parse(e.data.as_bytes())) {
        if answer.id.as_deref() == Some(nonce) {
            return Some(answer);
        }
        first.get_or_insert(answer);
    }
    first
}
