//! One HTTP request and its response, whatever version of HTTP carried them.

use super::{
    body::{Decoder, Kept, Undecodable},
    digest,
    http::{Common, Encoding, Media, RequestHead, ResponseHead, Verb},
    jsonrpc::{self, Message},
    mcp::{Dialogue, Family, Framing, Outcome, Stream, World, family},
    sse,
};
use crate::{json, moment::Moment};
use rules::{
    endpoint::Endpoint,
    evidence::{Auth, Transport},
};
use std::net::IpAddr;

/// The shortest question that a client of MCP posts: its head says what the body is, and what the answer may be.
const A_QUESTION: u32 = 200;

/// Events without anything of ours, after which a stream is left alone.
const PATIENCE: u32 = 200;

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
    response: Answer,
    answer_bytes: u64,
    unreadable: bool,
    /// It answers what was too short to be a question of MCP's.
    fetched: bool,
}

#[derive(Debug)]
enum Answer {
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
    pub fn new(head: &RequestHead, server: Endpoint, client: IpAddr, at: Moment, world: &mut World) -> Exchange {
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
            request: if body { Intake::new(&head.common, world) } else { Intake::default() },
            response: Answer::Skipped,
            answer_bytes: 0,
            unreadable: false,
            fetched: false,
        };
        exchange.client_marks(head, at, world);
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
            response: Answer::Skipped,
            answer_bytes: 0,
            unreadable: false,
            fetched: false,
        }
    }

    /// An exchange whose heads are not in the capture: only its bodies may follow.
    pub fn headless(server: Endpoint, client: IpAddr, world: &World) -> Exchange {
        let mut exchange = Exchange::unasked(server, client);
        exchange.request = Intake::new(&Common::default(), world);
        exchange.response = Answer::Unknown;
        exchange
    }

    /// An event stream joined in the middle.
    pub fn joined(server: Endpoint, client: IpAddr, world: &World) -> Exchange {
        let mut exchange = Exchange::unasked(server, client);
        exchange.status = Some(200);
        exchange.response = Answer::Events(Box::new(Events::new(Encoding::Identity, world)));
        exchange
    }

    fn client_marks(&mut self, head: &RequestHead, at: Moment, world: &mut World) {
        let d = &mut self.dialogue;
        if let Some(version) = &head.version {
            d.revision = Some(version.clone());
            d.versioned = true;
            (d.mcp, d.at_home) = (true, true);
            d.client_mark("wire.client.version-header", version, at, world);
        }
        if d.session.is_some() {
            (d.mcp, d.at_home) = (true, true);
            d.client_mark("wire.client.session-header", "a session given before", at, world);
        }
        if let Some(method) = &head.rpc_method {
            (d.mcp, d.at_home) = (true, true);
            let named = head.rpc_name.as_deref().filter(|n| method == "tools/call" && !n.starts_with("=?")).unwrap_or_default();
            d.client_mark("wire.client.method-header", format!("{method} {named}").trim_end(), at, world);
            d.headed = Some(method.clone());
            if family(method) != Family::Other {
                d.progress(method, at, world);
            }
        }
        if head.verb == Verb::Post && head.accepts_json && head.accepts_events {
            d.at_home = true;
            d.client_mark("wire.client.accept-pair", "application/json and text/event-stream", at, world);
        }
        let in_query = head.target.split_once('?').and_then(|(_, query)| session_in(query));
        // Where the session is in the path, or nowhere, the address that a stream gave is what both have in common.
        let door = Some(door(&head.target)).filter(|door| {
            head.verb == Verb::Post && in_query.is_none() && d.session.is_none() && world.stream(d.place.endpoint, *door).is_some()
        });
        if let Some(session) = in_query.filter(|_| head.verb == Verb::Post).or(door) {
            // The server is where its stream is; the message path is only a door of it.
            let stream = world.stream(d.place.endpoint, session).cloned();
            d.session = Some(session);
            d.transport = Some(Transport::HttpSse);
            match stream {
                Some(Stream { place, .. }) => {
                    d.place = place;
                    (d.mcp, d.at_home) = (true, true);
                }
                None => d.place.path = None,
            }
            let what = if door.is_some() { "a POST to the address that a stream gave" } else { "a session in the query of a POST" };
            d.client_mark("wire.client.message-path", what, at, world);
        }
    }

    pub fn request_body(&mut self, bytes: &[u8], world: &mut World) {
        self.request.push(bytes, world);
    }

    pub fn request_hole(&mut self) {
        self.request.spoil();
    }

    pub fn request_end(&mut self, at: Moment, world: &mut World) {
        self.asked = true;
        let mut intake = std::mem::take(&mut self.request);
        match intake.finish() {
            Ok(body) => jsonrpc::parse(body).iter().for_each(|message| self.dialogue.asks(message, at, world)),
            Err(Undecodable) => {
                self.dialogue.unheard = true;
                jsonrpc::prefix(intake.prefix()).iter().for_each(|message| self.dialogue.asks(message, at, world));
            }
        }
    }

    /// A question whose head was cut: of its body there is what a segment begins with.
    pub fn request_begins(&mut self, bytes: &[u8], at: Moment, world: &mut World) {
        jsonrpc::prefix(bytes).iter().for_each(|message| self.dialogue.asks(message, at, world));
    }

    pub fn response_head(&mut self, head: &ResponseHead, at: Moment, world: &mut World) {
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
        self.server_marks(head, at, world);
        let d = &self.dialogue;
        let interesting = d.mcp || d.unheard || d.has_questions();
        if self.dialogue.unheard && head.status == 200 && head.common.media == Media::Other {
            self.dialogue.shows(world);
        }
        self.response = match head.common.media {
            Media::EventStream if interesting || self.verb == Some(Verb::Get) => {
                Answer::Events(Box::new(Events::new(head.common.encoding, world)))
            }
            Media::Json | Media::Unsaid if interesting => Answer::Whole(Intake::new(&head.common, world)),
            // A client that asks in MCP may read whatever it is called.
            Media::Other if self.dialogue.mcp => Answer::Whole(Intake::new(&head.common, world)),
            _ => Answer::Skipped,
        };
        if let Some(session) = head.common.session {
            self.dialogue.session = Some(session);
        }
    }

    fn server_marks(&mut self, head: &ResponseHead, at: Moment, world: &mut World) {
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
        if given && (d.mcp || d.unheard || d.at_home) {
            d.server_mark("wire.server.session-header", "gives a session", at, world);
        }
        if head.exposes_mcp && (d.mcp || d.unheard) {
            d.server_mark("wire.server.cors-header", "exposes MCP's headers to browsers", at, world);
        }
        if head.status == 401 && head.resource_metadata && d.mcp {
            d.server_mark("wire.server.auth-challenge", "401 with resource_metadata", at, world);
        }
        if head.status == 101 && head.mcp_subprotocol {
            d.server_mark("wire.server.websocket", "switches to the subprotocol mcp", at, world);
        }
    }

    pub fn response_body(&mut self, bytes: &[u8], at: Moment, world: &mut World) {
        self.answer_bytes += bytes.len() as u64;
        if matches!(self.response, Answer::Unknown) {
            self.status.get_or_insert(200);
            self.response = match bytes.first() {
                Some(b'{' | b'[') => Answer::Whole(Intake::new(&Common::default(), world)),
                Some(b'e' | b'd' | b'i' | b':') => Answer::Events(Box::new(Events::new(Encoding::Identity, world))),
                _ => Answer::Skipped,
            };
        }
        match &mut self.response {
            Answer::Skipped | Answer::Unknown => {}
            Answer::Whole(intake) => intake.push(bytes, world),
            Answer::Events(events) => {
                let stored = self.stored;
                if events.feed(bytes, self.verb, &mut self.dialogue, stored, at, world) {
                    self.response = Answer::Skipped;
                }
            }
        }
    }

    pub fn response_hole(&mut self, at: Moment, world: &mut World) {
        match &mut self.response {
            // Of a page, nothing was to be read.
            Answer::Skipped | Answer::Unknown => return,
            Answer::Whole(intake) => intake.spoil(),
            Answer::Events(events) => {
                let begun = events.sse.gap();
                jsonrpc::prefix(&begun).iter().for_each(|m| self.dialogue.begins(m, Framing::Stream, self.stored, at, world));
            }
        }
        self.unreadable = true;
    }

    /// The response is over, or nothing more is seen of it.
    pub fn response_end(&mut self, at: Moment, world: &mut World) {
        // Only what was posted is answered by a body: what GET fetches is a text.
        let stored = self.stored || self.fetched || self.verb.is_some_and(|verb| verb != Verb::Post);
        match std::mem::replace(&mut self.response, Answer::Skipped) {
            Answer::Skipped | Answer::Unknown => {}
            Answer::Whole(mut intake) => match intake.finish() {
                Ok(body) => {
                    let well = self.status.is_some_and(|status| status < 400);
                    for message in jsonrpc::parse(body) {
                        // All is well, and the body is an error: it may be an example of one.
                        let stored = stored || (well && self.dialogue.unheard && matches!(message, Message::Error { .. }));
                        self.dialogue.answers(&message, Framing::Body, stored, at, world);
                    }
                }
                Err(Undecodable) => {
                    self.unreadable = true;
                    jsonrpc::prefix(intake.prefix()).iter().for_each(|m| self.dialogue.begins(m, Framing::Body, stored, at, world));
                }
            },
            Answer::Events(mut events) => events.finish(self.verb, &mut self.dialogue, self.stored, at, world),
        }
        let empty = self.status == Some(202) && self.answer_bytes == 0;
        let server = self.dialogue.place.endpoint;
        if empty && self.dialogue.has_questions() {
            // The first revision does that, too; there the stream tells.
            world.takes_anything(server);
        }
        if empty && self.dialogue.only_notices() && self.dialogue.at_home && !world.is_sink(server) {
            self.dialogue.server_mark("wire.server.accepted", "202 to a notification", at, world);
        }
        if empty && self.dialogue.unheard {
            self.dialogue.accepts(world);
        }
        self.close(at, world);
    }

    /// Draws the conclusion; for an exchange that was never answered as well.
    pub fn close(&mut self, at: Moment, world: &mut World) {
        let outcome = match self.status {
            None => Outcome::Unseen,
            Some(401 | 403) => Outcome::Challenged,
            Some(status) if status >= 300 => Outcome::Refused,
            Some(_) if self.unreadable => Outcome::Unreadable,
            Some(_) => Outcome::Answered,
        };
        self.dialogue.conclude(outcome, at, world);
    }
}

impl Intake {
    fn new(common: &Common, world: &World) -> Intake {
        let decoder = Decoder::new(common.encoding, &world.budget);
        Intake(Some((decoder, Kept::new(&world.budget))))
    }

    fn push(&mut self, bytes: &[u8], world: &mut World) {
        let Some((decoder, kept)) = &mut self.0 else { return };
        let mut full = false;
        let fed = decoder.feed(bytes, |decoded| {
            // What is before the first brace says nothing, however much it is.
            let decoded = if kept.bytes().is_empty() { decoded.trim_ascii_start() } else { decoded };
            full |= !kept.push(decoded);
        });
        if full {
            world.lose("body-too-large");
        }
        if fed.is_err() {
            if !kept.incomplete {
                world.lose("undecodable-body");
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
    fn new(encoding: Encoding, world: &World) -> Events {
        Events { decoder: Decoder::new(encoding, &world.budget), sse: sse::Decoder::default(), seen: 0, ours: false }
    }

    /// True when the stream has nothing for us.
    fn feed(&mut self, bytes: &[u8], verb: Option<Verb>, dialogue: &mut Dialogue, stored: bool, at: Moment, world: &mut World) -> bool {
        let Events { decoder, sse, seen, ours } = self;
        let mut take = |event: sse::Event<'_>| {
            *seen = seen.saturating_add(1);
            *ours |= take_event(&event, *seen == 1, verb, dialogue, stored, at, world);
        };
        let fed = decoder.feed(bytes, |decoded| sse.feed(decoded, &mut take));
        fed.is_err() || (*seen > PATIENCE && !*ours && !dialogue.mcp)
    }

    fn finish(&mut self, verb: Option<Verb>, dialogue: &mut Dialogue, stored: bool, at: Moment, world: &mut World) {
        let Events { decoder, sse, seen, .. } = self;
        let mut take = |event: sse::Event<'_>| _ = take_event(&event, *seen == 0, verb, dialogue, stored, at, world);
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
    at: Moment,
    world: &mut World,
) -> bool {
    if event.name == "endpoint" {
        let opened = first && matches!(verb, Some(Verb::Get) | None);
        let uri = std::str::from_utf8(event.data).ok().map(str::trim);
        let Some(uri) = uri.filter(|uri| opened && is_uri(uri)) else { return false };
        let named = uri.split_once('?').and_then(|(_, query)| session_in(query));
        let session = named.unwrap_or_else(|| door(uri));
        dialogue.transport = Some(Transport::HttpSse);
        dialogue.session = Some(session);
        dialogue.offered = true;
        let stream = Stream { place: dialogue.place.clone(), waiting: Vec::new(), software: None };
        world.stream_opened(dialogue.place.endpoint, session, stream);
        // Other streams may begin with an address, too; MCP's names a session.
        if named.is_some() {
            dialogue.server_mark("wire.server.endpoint-offer", "an event stream that begins with the address for messages", at, world);
        }
        return true;
    }
    if !event.whole {
        let begun = jsonrpc::prefix(event.data);
        begun.iter().for_each(|message| dialogue.begins(message, Framing::Stream, stored, at, world));
        return begun.is_some();
    }
    let messages = jsonrpc::parse(event.data);
    for message in &messages {
        dialogue.answers(message, Framing::Stream, stored, at, world);
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
