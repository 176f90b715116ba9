//! One HTTP request and its response, whatever version of HTTP carried them.

use super::{
    Context,
    body::{Decoder, Kept, Undecodable},
    digest,
    http::{Common, Encoding, Media, RequestHead, ResponseHead, Verb},
    jsonrpc::{self, Message},
    mcp::{Dialogue, Family, Framing, Outcome, Stream, family},
    sse,
};
use crate::json;
use rules::{
    endpoint::Endpoint,
    evidence::{Auth, Transport},
};
use std::net::IpAddr;

/// The shortest question that a client of MCP posts: its head says what the body is, and what the answer may be.
const A_QUESTION: u32 = 200;

/// Events without anything of ours, after which a stream is left alone.
const MAX_FOREIGN_EVENTS: u32 = 200;

#[derive(Debug)]
pub struct Exchange {
    pub verb: Option<Verb>,
    pub upgrade: bool,
    pub deflate: bool,
    pub dialogue: Dialogue,
    pub asked: bool,
    status: Option<u16>,
    stored: bool,
    request: Intake,
    response: ResponseBody,
    answer_bytes: u64,
    unreadable: bool,
    /// It answers what was too short to be a question of MCP's.
    fetched: bool,
}

#[derive(Debug)]
enum ResponseBody {
    Skipped,
    /// Without a head the first bytes must tell.
    Unknown,
    Whole(Intake),
    Events(Box<Events>),
}

/// A body that may be JSON-RPC.
#[derive(Debug, Default)]
struct Intake(Option<(Decoder, Kept)>);

#[derive(Debug)]
struct Events {
    decoder: Decoder,
    sse: sse::Decoder,
    seen: u32,
    ours: bool,
}

impl Exchange {
    pub fn new(head: &RequestHead, server: Endpoint, client: IpAddr, cx: &mut Context<'_>) -> Exchange {
        let mut dialogue = Dialogue::new(server, client);
        dialogue.transport = Some(Transport::StreamableHttp);
        dialogue.place = dialogue.place.with_target(&head.target).with_host(head.host.as_deref().unwrap_or_default());
        dialogue.auth = head.auth;
        dialogue.session = head.common.session;
        let body = matches!(head.verb, Verb::Post | Verb::Other) && head.common.media != Media::EventStream;
        let mut exchange = Exchange {
            verb: Some(head.verb),
            upgrade: head.common.websocket,
            // Until the answer says whether it may.
            deflate: head.common.deflate,
            dialogue,
            asked: false,
            status: None,
            stored: false,
            request: if body { Intake::new(&head.common, cx) } else { Intake::default() },
            response: ResponseBody::Skipped,
            answer_bytes: 0,
            unreadable: false,
            fetched: false,
        };
        exchange.client_marks(head, cx);
        exchange
    }

    /// A response whose request is not in the capture, but its length, as the server confirmed it.
    pub fn answers_to(server: Endpoint, client: IpAddr, length: Option<u32>) -> Exchange {
        Exchange { fetched: length.is_some_and(|length| length < A_QUESTION), ..Exchange::unasked(server, client) }
    }

    /// A response whose request is not in the capture.
    fn unasked(server: Endpoint, client: IpAddr) -> Exchange {
        let mut dialogue = Dialogue::new(server, client);
        dialogue.unheard = true;
        Exchange {
            verb: None,
            upgrade: false,
            deflate: false,
            dialogue,
            asked: true,
            status: None,
            stored: false,
            request: Intake::default(),
            response: ResponseBody::Skipped,
            answer_bytes: 0,
            unreadable: false,
            fetched: false,
        }
    }

    /// An exchange whose heads are not in the capture: only its bodies may follow.
    pub fn headless(server: Endpoint, client: IpAddr, cx: &Context<'_>) -> Exchange {
        let mut exchange = Exchange::unasked(server, client);
        exchange.request = Intake::new(&Common::default(), cx);
        exchange.response = ResponseBody::Unknown;
        exchange
    }

    /// An event stream joined in the middle.
    pub fn joined(server: Endpoint, client: IpAddr, cx: &Context<'_>) -> Exchange {
        let mut exchange = Exchange::unasked(server, client);
        exchange.status = Some(200);
        exchange.response = ResponseBody::Events(Box::new(Events::new(Encoding::Identity, cx)));
        exchange
    }

    fn client_marks(&mut self, head: &RequestHead, cx: &mut Context<'_>) {
        let d = &mut self.dialogue;
        if let Some(version) = &head.version {
            d.revision = Some(version.clone());
            d.client_side.versioned = true;
            (d.client_side.mcp, d.client_side.at_home) = (true, true);
            d.client_mark("wire.client.version-header", version, cx);
        }
        if d.session.is_some() {
            (d.client_side.mcp, d.client_side.at_home) = (true, true);
            d.client_mark("wire.client.session-header", "a session given before", cx);
        }
        if let Some(method) = &head.rpc_method {
            (d.client_side.mcp, d.client_side.at_home) = (true, true);
            let named = head.rpc_name.as_deref().filter(|n| method == "tools/call" && !n.starts_with("=?")).unwrap_or_default();
            d.client_mark("wire.client.method-header", format!("{method} {named}").trim_end(), cx);
            d.client_side.headed = Some(method.clone());
            if family(method) != Family::Other {
                d.progress(method, cx);
            }
        }
        if head.verb == Verb::Post && head.accepts_json && head.accepts_events {
            d.client_side.at_home = true;
            d.client_mark("wire.client.accept-pair", "application/json and text/event-stream", cx);
        }
        let in_query = head.target.split_once('?').and_then(|(_, query)| session_in(query));
        // Where the session is in the path, or nowhere, the address that a stream gave is what both have in common.
        let door = Some(door(&head.target)).filter(|door| {
            head.verb == Verb::Post && in_query.is_none() && d.session.is_none() && cx.world.stream(d.place.endpoint, *door).is_some()
        });
        if let Some(session) = in_query.filter(|_| head.verb == Verb::Post).or(door) {
            // The server is where its stream is; the message path is only a door of it.
            let stream = cx.world.stream(d.place.endpoint, session).cloned();
            d.session = Some(session);
            d.transport = Some(Transport::HttpSse);
            match stream {
                Some(Stream { place, .. }) => {
                    d.place = place;
                    (d.client_side.mcp, d.client_side.at_home) = (true, true);
                }
                None => d.place.path = None,
            }
            let what = if door.is_some() { "a POST to the address that a stream gave" } else { "a session in the query of a POST" };
            d.client_mark("wire.client.message-path", what, cx);
        }
    }

    pub fn request_body(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        self.request.push(bytes, cx);
    }

    pub fn request_hole(&mut self) {
        self.request.spoil();
    }

    pub fn request_end(&mut self, cx: &mut Context<'_>) {
        self.asked = true;
        let mut intake = std::mem::take(&mut self.request);
        match intake.finish() {
            Ok(body) => jsonrpc::parse(body).iter().for_each(|message| self.dialogue.asks(message, cx)),
            Err(Undecodable) => {
                self.dialogue.unheard = true;
                jsonrpc::prefix(intake.prefix()).iter().for_each(|message| self.dialogue.asks(message, cx));
            }
        }
    }

    /// A question whose head was cut: of its body there is what a segment begins with.
    pub fn request_begins(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        jsonrpc::prefix(bytes).iter().for_each(|message| self.dialogue.asks(message, cx));
    }

    pub fn response_head(&mut self, head: &ResponseHead, cx: &mut Context<'_>) {
        self.status = Some(head.status);
        self.stored = head.stored;
        if !self.asked {
            // The answer is early, or the end of the question is missing.
            self.dialogue.unheard |= self.request.0.is_some();
        }
        self.deflate = head.common.deflate;
        if head.status >= 300 {
            self.dialogue.turn_away();
        }
        self.server_marks(head, cx);
        let d = &self.dialogue;
        let interesting = d.client_side.mcp || d.unheard || d.has_questions();
        if self.dialogue.unheard && head.status == 200 && head.common.media == Media::Other {
            self.dialogue.shows(cx);
        }
        self.response = match head.common.media {
            Media::EventStream if interesting || self.verb == Some(Verb::Get) => {
                ResponseBody::Events(Box::new(Events::new(head.common.encoding, cx)))
            }
            Media::Json | Media::Unsaid if interesting => ResponseBody::Whole(Intake::new(&head.common, cx)),
            // A client that asks in MCP may read whatever it is called.
            Media::Other if self.dialogue.client_side.mcp => ResponseBody::Whole(Intake::new(&head.common, cx)),
            _ => ResponseBody::Skipped,
        };
        if let Some(session) = head.common.session {
            self.dialogue.session = Some(session);
        }
    }

    fn server_marks(&mut self, head: &ResponseHead, cx: &mut Context<'_>) {
        let d = &mut self.dialogue;
        if head.status == 401 {
            d.auth = head.challenge.or(d.auth).or(Some(Auth::Unknown));
        }
        let good = (200..300).contains(&head.status);
        if good && (d.session.is_some() || d.only_notices()) {
            d.agree();
        }
        // One that only comes back may be an echo.
        let given = head.common.session.is_some() && head.common.session != d.session;
        if given && (d.client_side.mcp || d.unheard || d.client_side.at_home) {
            d.server_mark("wire.server.session-header", "gives a session", cx);
        }
        if head.exposes_mcp && (d.client_side.mcp || d.unheard) {
            d.server_mark("wire.server.cors-header", "exposes MCP's headers to browsers", cx);
        }
        if head.status == 401 && head.resource_metadata && d.client_side.mcp {
            d.server_mark("wire.server.auth-challenge", "401 with resource_metadata", cx);
        }
        if head.status == 101 && head.mcp_subprotocol {
            d.server_mark("wire.server.websocket", "switches to the subprotocol mcp", cx);
        }
    }

    pub fn response_body(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        self.answer_bytes += bytes.len() as u64;
        if matches!(self.response, ResponseBody::Unknown) {
            self.status.get_or_insert(200);
            self.response = match bytes.first() {
                Some(b'{' | b'[') => ResponseBody::Whole(Intake::new(&Common::default(), cx)),
                Some(b'e' | b'd' | b'i' | b':') => ResponseBody::Events(Box::new(Events::new(Encoding::Identity, cx))),
                _ => ResponseBody::Skipped,
            };
        }
        match &mut self.response {
            ResponseBody::Skipped | ResponseBody::Unknown => {}
            ResponseBody::Whole(intake) => intake.push(bytes, cx),
            ResponseBody::Events(events) => {
                let stored = self.stored;
                if events.feed(bytes, self.verb, &mut self.dialogue, stored, cx) {
                    self.response = ResponseBody::Skipped;
                }
            }
        }
    }

    pub fn response_hole(&mut self, cx: &mut Context<'_>) {
        match &mut self.response {
            // Of a page, nothing was to be read.
            ResponseBody::Skipped | ResponseBody::Unknown => return,
            ResponseBody::Whole(intake) => intake.spoil(),
            ResponseBody::Events(events) => {
                let begun = events.sse.gap();
                jsonrpc::prefix(&begun).iter().for_each(|m| self.dialogue.begins(m, Framing::Stream, self.stored, cx));
            }
        }
        self.unreadable = true;
    }

    /// The response is over, or nothing more is seen of it.
    pub fn response_end(&mut self, cx: &mut Context<'_>) {
        // Only what was posted is answered by a body: what GET fetches is a text.
        let stored = self.stored || self.fetched || self.verb.is_some_and(|verb| verb != Verb::Post);
        match std::mem::replace(&mut self.response, ResponseBody::Skipped) {
            ResponseBody::Skipped | ResponseBody::Unknown => {}
            ResponseBody::Whole(mut intake) => match intake.finish() {
                Ok(body) => {
                    let well = self.status.is_some_and(|status| status < 400);
                    for message in jsonrpc::parse(body) {
                        // All is well, and the body is an error: it may be an example of one.
                        let stored = stored || (well && self.dialogue.unheard && matches!(message, Message::Error { .. }));
                        self.dialogue.answers(&message, Framing::Body, stored, cx);
                    }
                }
                Err(Undecodable) => {
                    self.unreadable = true;
                    jsonrpc::prefix(intake.prefix()).iter().for_each(|m| self.dialogue.begins(m, Framing::Body, stored, cx));
                }
            },
            ResponseBody::Events(mut events) => events.finish(self.verb, &mut self.dialogue, self.stored, cx),
        }
        let empty = self.status == Some(202) && self.answer_bytes == 0;
        let server = self.dialogue.place.endpoint;
        if empty && self.dialogue.has_questions() {
            // The first revision does that, too; there the stream tells.
            cx.world.takes_anything(server);
        }
        if empty && self.dialogue.only_notices() && self.dialogue.client_side.at_home && !cx.world.is_sink(server) {
            self.dialogue.server_mark("wire.server.accepted", "202 to a notification", cx);
        }
        if empty && self.dialogue.unheard {
            self.dialogue.accepts(cx);
        }
        self.close(cx);
    }

    /// Draws the conclusion; for an exchange that was never answered as well.
    pub fn close(&mut self, cx: &mut Context<'_>) {
        let outcome = match self.status {
            None => Outcome::Unseen,
            Some(401 | 403) => Outcome::Challenged,
            Some(status) if status >= 300 => Outcome::Refused,
            Some(_) if self.unreadable => Outcome::Unreadable,
            Some(_) => Outcome::Answered,
        };
        self.dialogue.conclude(outcome, cx);
    }
}

impl Intake {
    fn new(common: &Common, cx: &Context<'_>) -> Intake {
        let decoder = Decoder::new(common.encoding, &cx.world.budget);
        Intake(Some((decoder, Kept::new(&cx.world.budget))))
    }

    fn push(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let Some((decoder, kept)) = &mut self.0 else { return };
        let mut full = false;
        let fed = decoder.feed(bytes, |decoded| {
            // What is before the first brace says nothing, however much it is.
            let decoded = if kept.bytes().is_empty() { decoded.trim_ascii_start() } else { decoded };
            full |= !kept.push(decoded);
        });
        if full {
            cx.world.lose("body-too-large");
        }
        if fed.is_err() {
            if !kept.incomplete {
                cx.world.lose("undecodable-body");
            }
            kept.cut();
        }
        // A page, an image, a form: whatever it is, it is not JSON-RPC.
        let hopeful = match kept.bytes() {
            [] => true,
            [b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n' | 0xef, ..] => true,
            // Half of a first UTF-16 unit; the next byte tells.
            [0 | 0xfe | 0xff] => true,
            start => json::is_utf16(start),
        };
        if !hopeful {
            self.0 = None;
        }
    }

    fn spoil(&mut self) {
        if let Some((_, kept)) = &mut self.0 {
            kept.cut();
        }
    }

    /// What there is of a body that is not whole.
    fn prefix(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |(_, kept)| kept.bytes())
    }

    /// The whole body; empty when there is none that could be JSON-RPC.
    fn finish(&mut self) -> Result<&[u8], Undecodable> {
        let Some((decoder, kept)) = &mut self.0 else { return Ok(&[]) };
        decoder.finish(|decoded| _ = kept.push(decoded))?;
        if kept.incomplete { Err(Undecodable) } else { Ok(kept.bytes()) }
    }
}

impl Events {
    fn new(encoding: Encoding, cx: &Context<'_>) -> Events {
        Events { decoder: Decoder::new(encoding, &cx.world.budget), sse: sse::Decoder::default(), seen: 0, ours: false }
    }

    /// True when the stream has nothing for us.
    fn feed(&mut self, bytes: &[u8], verb: Option<Verb>, dialogue: &mut Dialogue, stored: bool, cx: &mut Context<'_>) -> bool {
        let Events { decoder, sse, seen, ours } = self;
        let mut take = |event: sse::Event<'_>| {
            *seen = seen.saturating_add(1);
            *ours |= take_event(&event, *seen == 1, verb, dialogue, stored, cx);
        };
        let fed = decoder.feed(bytes, |decoded| sse.feed(decoded, &mut take));
        fed.is_err() || (*seen > MAX_FOREIGN_EVENTS && !*ours && !dialogue.client_side.mcp)
    }

    fn finish(&mut self, verb: Option<Verb>, dialogue: &mut Dialogue, stored: bool, cx: &mut Context<'_>) {
        let Events { decoder, sse, seen, .. } = self;
        let mut take = |event: sse::Event<'_>| _ = take_event(&event, *seen == 0, verb, dialogue, stored, cx);
        // Undecodable is what it is: the stream is over.
        let _ = decoder.finish(|decoded| sse.feed(decoded, &mut take));
        // A stream may end without the empty line that completes its last event.
        sse.feed(b"\n\n", &mut take);
    }
}

/// True when the event is one of ours.
fn take_event(
    event: &sse::Event<'_>,
    first: bool,
    verb: Option<Verb>,
    dialogue: &mut Dialogue,
    stored: bool,
    cx: &mut Context<'_>,
) -> bool {
    if event.name == "endpoint" {
        let opened = first && matches!(verb, Some(Verb::Get) | None);
        let uri = std::str::from_utf8(event.data).ok().map(str::trim);
        let Some(uri) = uri.filter(|uri| opened && is_uri(uri)) else { return false };
        let named = uri.split_once('?').and_then(|(_, query)| session_in(query));
        let session = named.unwrap_or_else(|| door(uri));
        dialogue.transport = Some(Transport::HttpSse);
        dialogue.session = Some(session);
        dialogue.server_side.offered = true;
        let stream = Stream { place: dialogue.place.clone(), waiting: Vec::new(), software: None };
        cx.world.stream_opened(dialogue.place.endpoint, session, stream);
        // Other streams may begin with an address, too; MCP's names a session.
        if named.is_some() {
            dialogue.server_mark("wire.server.endpoint-offer", "an event stream that begins with the address for messages", cx);
        }
        return true;
    }
    if !event.whole {
        let begun = jsonrpc::prefix(event.data);
        begun.iter().for_each(|message| dialogue.begins(message, Framing::Stream, stored, cx));
        return begun.is_some();
    }
    let messages = jsonrpc::parse(event.data);
    for message in &messages {
        dialogue.answers(message, Framing::Stream, stored, cx);
    }
    !messages.is_empty()
}

/// What an `endpoint` event gives: an address, relative or absolute.
fn is_uri(uri: &str) -> bool {
    uri.len() <= 2048
        && !uri.contains(char::is_whitespace)
        && (uri.starts_with('/') || uri.starts_with("http://") || uri.starts_with("https://") || uri.starts_with('?'))
}

/// A digest of an address' path and query, which is what a request names of it.
fn door(uri: &str) -> u64 {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"));
    digest(&[b"door ", path.as_bytes()].concat())
}

/// A digest of the query parameter that names a session: `session_id`, `sessionId`, `sessionid`.
fn session_in(query: &str) -> Option<u64> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| {
        let session = name.to_ascii_lowercase().contains("session") && value.len() >= 4;
        session.then(|| digest(value.as_bytes()))
    })
}
