//! One TCP connection: what is spoken on it, and by whom.

use super::{
    dns,
    exchange::Exchange,
    http1::{Role, begins_message},
    http2,
    jsonrpc::{self, Message},
    lines::Splitter,
    mcp::{Dialogue, Family, Framing, Outcome, World, family},
    nominate::{self, Call},
    tls::{self, Carrier, Handshakes, Hello},
    web::Web,
    websocket,
};
use crate::{
    flow::{Both, Conversation, End, Peers},
    moment::Moment,
};
use rules::evidence::{Facts, Transport};
use std::net::IpAddr;

/// What is spoken.
#[derive(Debug, Default)]
enum Speech {
    /// Nothing was recognised yet, or any more; a message that begins with a segment is.
    #[default]
    Unknown,
    Http(Box<Web>),
    Http2(Box<http2::Connection>),
    Socket(Box<Socket>),
    Lines(Box<Lines>),
    Tls(Box<Secret>),
    /// DNS over TCP, each message after its length (RFC 7766 §8).
    Dns(Vec<u8>),
    /// Nothing for us can come on this connection any more.
    Closed,
}

#[derive(Debug)]
struct Socket {
    readers: Both<websocket::Reader>,
    client: End,
    dialogue: Dialogue,
}

/// TLS, as long as it is in the clear.
#[derive(Debug)]
struct Secret {
    client: End,
    ends: Both<Handshakes>,
    /// The client's hello was read or cannot be.
    heard: bool,
}

#[derive(Debug)]
struct Lines {
    splitters: Both<Splitter>,
    /// Known from the handshake, or from the first message that only one side can send.
    client: Option<End>,
    dialogue: Option<Dialogue>,
    /// Lines without JSON-RPC in a row.
    strange: u32,
    /// Results since the client last said anything.
    unprompted: u32,
}

/// Lines that are not JSON-RPC, after which a connection is left alone.
const PATIENCE: u32 = 64;

#[derive(Debug, Default)]
pub struct Talk {
    speech: Speech,
    /// First bytes of an end that are too few to tell what they begin.
    start: Both<Vec<u8>>,
    greeted: bool,
}

/// So many bytes tell every protocol that is known here.
const TELLING: usize = 8;

impl Conversation for Talk {
    type World = World;

    fn bytes(&mut self, peers: &Peers, from: End, bytes: &[u8], at: Moment, world: &mut World) {
        if !self.greeted {
            self.greeted = true;
            if let Some(call) = Call::of(peers) {
                nominate::by_name(call, at, world);
            }
        }
        if matches!(self.speech, Speech::Dns(_)) && is_other_than_dns(bytes) {
            self.speech = Speech::Unknown;
        }
        if matches!(self.speech, Speech::Unknown) {
            let bytes = if self.start.at(from).is_empty() && !is_dns(peers) { without_blank_lines(bytes) } else { bytes };
            if bytes.is_empty() {
                return;
            }
            let start = self.start.at_mut(from);
            if !start.is_empty() || bytes.len() < TELLING {
                start.extend_from_slice(bytes);
                if start.len() < TELLING {
                    return;
                }
                let bytes = std::mem::take(start);
                self.speech = recognise(peers, from, &bytes);
                return self.heard(peers, from, &bytes, at, world);
            }
            self.speech = recognise(peers, from, bytes);
        }
        self.heard(peers, from, bytes, at, world);
    }

    fn gap(&mut self, peers: &Peers, from: End, missing: usize, at: Moment, world: &mut World) {
        match &mut self.speech {
            Speech::Http(web) => web.gap(peers, from, missing, at, world),
            Speech::Http2(connection) => connection.gap(peers, from, missing, at, world),
            Speech::Socket(_) => {
                // Frames have no signatures to find the next one by, but segments often begin with one.
                world.lose("websocket-out-of-step");
                self.speech = Speech::Unknown;
            }
            Speech::Lines(lines) => {
                lines.splitters.at_mut(from).gap();
                if let Some(dialogue) = &mut lines.dialogue {
                    dialogue.unheard = true;
                }
            }
            Speech::Dns(held) => held.clear(),
            Speech::Tls(secret) if from == secret.client && secret.heard => {}
            Speech::Tls(_) => self.speech = Speech::Closed,
            Speech::Unknown | Speech::Closed => self.start = Both::default(),
        }
    }

    fn ambiguous(&mut self, peers: &Peers, at: Moment, world: &mut World) {
        if let Some(call) = Call::of(peers) {
            nominate::by_ambiguity(call, at, world);
        }
    }

    fn ended(&mut self, peers: &Peers, from: End, at: Moment, world: &mut World) {
        match &mut self.speech {
            Speech::Http(web) => web.ended(peers, from, at, world),
            Speech::Lines(lines) => lines.ended(peers, from, at, world),
            _ => {}
        }
    }

    fn closed(&mut self, peers: &Peers, at: Moment, world: &mut World) {
        match &mut self.speech {
            Speech::Http(web) => web.closed(peers, at, world),
            Speech::Http2(connection) => connection.closed(at, world),
            Speech::Socket(socket) => socket.dialogue.conclude(heard_of(peers, socket.client.other()), at, world),
            Speech::Lines(lines) => {
                if let (Some(dialogue), Some(client)) = (&mut lines.dialogue, lines.client) {
                    dialogue.conclude(heard_of(peers, client.other()), at, world);
                }
            }
            _ => {}
        }
        self.speech = Speech::Closed;
    }

    fn buffered(&self) -> usize {
        match &self.speech {
            Speech::Unknown | Speech::Closed => 0,
            Speech::Http(web) => web.buffered(),
            Speech::Http2(connection) => connection.buffered(),
            Speech::Socket(socket) => socket.readers.low.buffered() + socket.readers.high.buffered(),
            Speech::Lines(lines) => lines.splitters.low.buffered() + lines.splitters.high.buffered(),
            Speech::Tls(secret) => secret.ends.low.buffered() + secret.ends.high.buffered(),
            Speech::Dns(held) => held.capacity(),
        }
    }

    fn indifferent(&self) -> bool {
        matches!(self.speech, Speech::Closed)
    }
}

/// What a connection changes into after an HTTP exchange.
#[derive(Debug)]
pub(super) enum Next {
    WebSocket {
        client: End,
        dialogue: Box<Dialogue>,
        deflate: bool,
    },
    /// HTTP/2 by upgrade (RFC 7540 §3.2); the answer to the last request comes there, on stream 1.
    Http2(Box<Exchange>),
    /// A CONNECT tunnel: anything may come.
    Tunnel,
}

impl Talk {
    fn heard(&mut self, peers: &Peers, from: End, bytes: &[u8], at: Moment, world: &mut World) {
        match &mut self.speech {
            Speech::Unknown | Speech::Closed => {}
            Speech::Http(web) => {
                if let Some(next) = web.bytes(peers, from, bytes, at, world) {
                    self.change(next, peers, from, at, world);
                }
            }
            Speech::Http2(connection) => connection.bytes(peers, from, bytes, at, world),
            Speech::Socket(socket) => {
                if !socket.bytes(peers, from, bytes, at, world) {
                    world.lose("websocket-out-of-step");
                    self.speech = Speech::Unknown;
                }
            }
            Speech::Lines(lines) => {
                if !lines.bytes(peers, from, bytes, at, world) {
                    self.speech = Speech::Unknown;
                }
            }
            Speech::Tls(secret) => {
                if secret.bytes(peers, from, bytes, at, world).is_err() {
                    self.speech = Speech::Closed;
                }
            }
            Speech::Dns(held) => {
                if peers.endpoint(from).port == dns::DNS {
                    dns_stream(held, bytes, peers.endpoint(from.other()).address, at, world);
                }
            }
        }
    }

    fn change(&mut self, next: Next, peers: &Peers, from: End, at: Moment, world: &mut World) {
        let rest = match &mut self.speech {
            Speech::Http(web) => web.take_rest(),
            _ => Vec::new(),
        };
        self.speech = match next {
            Next::Tunnel => Speech::Unknown,
            Next::Http2(exchange) => Speech::Http2(Box::new(http2::Connection::upgraded(from.other(), *exchange))),
            Next::WebSocket { client, mut dialogue, deflate } => {
                dialogue.transport = Some(Transport::WebSocket);
                let readers = Both { low: websocket::Reader::new(deflate), high: websocket::Reader::new(deflate) };
                Speech::Socket(Box::new(Socket { readers, client, dialogue: *dialogue }))
            }
        };
        if !rest.is_empty() {
            self.bytes(peers, from, &rest, at, world);
        }
    }
}

/// How an attempt ends whose answers have no end of their own.
fn heard_of(peers: &Peers, server: End) -> Outcome {
    if *peers.seen.at(server) { Outcome::Answered } else { Outcome::Unseen }
}

fn recognise(peers: &Peers, from: End, bytes: &[u8]) -> Speech {
    let client = peers.opener;
    let message = without_blank_lines(bytes);
    if http2::Connection::begins(bytes) && client != Some(from.other()) {
        return Speech::Http2(Box::new(http2::Connection::new(from)));
    }
    if begins_message(message, Role::Client) && client != Some(from.other()) {
        return Speech::Http(Box::new(Web::new(from)));
    }
    if begins_message(message, Role::Server) && client != Some(from) {
        return Speech::Http(Box::new(Web::new(from.other())));
    }
    let secret = tls::begins(bytes).map(|first| if first == tls::CLIENT_HELLO { from } else { from.other() });
    if let Some(caller) = secret.filter(|caller| client.is_none_or(|client| client == *caller)) {
        return Speech::Tls(Box::new(Secret { client: caller, ends: Both::default(), heard: false }));
    }
    if is_dns(peers) && !is_other_than_dns(bytes) {
        return Speech::Dns(Vec::new());
    }
    if let Some(sender) = websocket::joins(bytes) {
        let caller = if sender == websocket::Sender::Client { from } else { from.other() };
        if client.is_none_or(|client| client == caller) {
            return Speech::Socket(Box::new(Socket::joined(peers, caller)));
        }
    }
    match bytes.first() {
        Some(b'{' | b'[') => {
            Speech::Lines(Box::new(Lines { splitters: Both::default(), client, dialogue: None, strange: 0, unprompted: 0 }))
        }
        // The start of a request in a segment of its own.
        Some(_) if client == Some(from) && bytes.len() < 8 && bytes.iter().all(u8::is_ascii_uppercase) => {
            Speech::Http(Box::new(Web::new(from)))
        }
        _ if client != Some(from) && Web::joins(bytes) => Speech::Http(Box::new(Web::joined(from.other()))),
        _ if http2::Connection::joins(bytes) => Speech::Http2(Box::new(http2::Connection::joined(client))),
        _ => Speech::Unknown,
    }
}

fn is_dns(peers: &Peers) -> bool {
    [peers.ends.low, peers.ends.high].iter().any(|end| end.port == dns::DNS)
}

/// Other things are spoken at that port, too, and begin otherwise: as a length, `{"` would be 31 KiB of names, and `PO` 20.
fn is_other_than_dns(bytes: &[u8]) -> bool {
    let message = without_blank_lines(bytes);
    message.starts_with(b"{\"") || [Role::Client, Role::Server].iter().any(|role| begins_message(message, *role))
}

/// Servers read on over them (RFC 9112 §2.2).
fn without_blank_lines(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    bytes.get(blank..).unwrap_or_default()
}

impl Socket {
    /// One whose beginning is not in the capture.
    fn joined(peers: &Peers, client: End) -> Socket {
        let mut dialogue = Dialogue::new(peers.endpoint(client.other()), peers.endpoint(client).address);
        dialogue.transport = Some(Transport::WebSocket);
        dialogue.unheard = true;
        Socket { readers: Both { low: websocket::Reader::joined(), high: websocket::Reader::joined() }, client, dialogue }
    }

    fn bytes(&mut self, peers: &Peers, from: End, bytes: &[u8], at: Moment, world: &mut World) -> bool {
        let Socket { readers, client, dialogue } = self;
        dialogue.taken = Some(*peers.taken.at(client.other()));
        readers.at_mut(from).feed(bytes, |text| {
            for message in jsonrpc::parse(text) {
                say(dialogue, from == *client, &message, at, world);
            }
            if from != *client && text.contains(&websocket::UNKNOWN) && tells_of_mcp(text) {
                let what = "a compressed message of a server, a part of which refers back to what is not in the capture";
                world.ledger.say(&dialogue.place, "wire.context.truncated", what, at, Facts::default());
            }
        })
    }
}

/// Of a text with holes: a key that lists of tools have, and few others.
fn tells_of_mcp(text: &[u8]) -> bool {
    [&b"\"inputSchema\""[..], b"\"protocolVersion\"", b"\"notifications/"].iter().any(|word| memchr::memmem::find(text, word).is_some())
}

impl Secret {
    /// `Err` when nothing more can be read on this connection.
    fn bytes(&mut self, peers: &Peers, from: End, bytes: &[u8], at: Moment, world: &mut World) -> Result<(), tls::Over> {
        let fed = self.ends.at_mut(from).feed(bytes);
        let call = Call { client: peers.endpoint(self.client).address, server: peers.endpoint(self.client.other()) };
        while let Some((kind, body)) = self.ends.at_mut(from).take() {
            match kind {
                tls::CLIENT_HELLO if from == self.client && !self.heard => {
                    let hello = Hello::parse(&body, Carrier::Tcp).ok_or(tls::Over)?;
                    nominate::by_hello(call, &hello, "TLS", at, world);
                    self.heard = true;
                }
                // What comes after this one is secret in TLS 1.3, and then not even a handshake record.
                tls::SERVER_HELLO if from != self.client => {}
                tls::CERTIFICATE if from != self.client => {
                    if let Some(shown) = tls::certificate(&body) {
                        nominate::by_certificate(call, &shown, at, world);
                    }
                    return Err(tls::Over);
                }
                _ => return Err(tls::Over),
            }
        }
        // The server may need a longer look than the client, and the other way round.
        match fed {
            Err(tls::Over) if from == self.client && !self.heard => Err(tls::Over),
            Err(tls::Over) if from != self.client => Err(tls::Over),
            _ => Ok(()),
        }
    }
}

impl Lines {
    /// False when this is something else.
    fn bytes(&mut self, peers: &Peers, from: End, bytes: &[u8], at: Moment, world: &mut World) -> bool {
        let Lines { splitters, client, dialogue, strange, unprompted } = self;
        if *client == Some(from) {
            *unprompted = 0;
        }
        splitters.at_mut(from).feed(bytes, |line| {
            let messages = jsonrpc::parse(line);
            *strange = if messages.is_empty() { strange.saturating_add(1) } else { 0 };
            for message in &messages {
                take_line(client, dialogue, peers, from, message, at, world);
                let result = matches!(message, Message::Result { .. });
                *unprompted += u32::from(result && *client == Some(from.other()));
                // Nobody asked in between: lines that are shipped, not answers.
                if let Some(dialogue) = dialogue.as_mut().filter(|_| *unprompted > 1 && *peers.seen.at(from.other())) {
                    dialogue.recites(at, world);
                }
            }
        });
        *strange < PATIENCE
    }

    fn ended(&mut self, peers: &Peers, from: End, at: Moment, world: &mut World) {
        let Lines { splitters, client, dialogue, .. } = self;
        splitters.at_mut(from).finish(|line| {
            for message in &jsonrpc::parse(line) {
                take_line(client, dialogue, peers, from, message, at, world);
            }
        });
    }
}

fn take_line(
    client: &mut Option<End>,
    dialogue: &mut Option<Dialogue>,
    peers: &Peers,
    from: End,
    message: &Message,
    at: Moment,
    world: &mut World,
) {
    // Who is who does not change any more: a file of both sides' words is one side's.
    let Some(client) = client.or_else(|| speaker(message, from)).inspect(|known| *client = Some(*known)) else { return };
    let dialogue = dialogue.get_or_insert_with(|| {
        let mut new = Dialogue::new(peers.endpoint(client.other()), peers.endpoint(client).address);
        new.transport = Some(Transport::RawTcp);
        // Joined later, or only one side is in the capture: questions may have been missed.
        new.unheard = peers.opener.is_none() || !*peers.seen.at(client);
        new
    });
    dialogue.taken = Some(*peers.taken.at(client.other()));
    say(dialogue, from == client, message, at, world);
}

/// The client, if the message tells.
fn speaker(message: &Message, from: End) -> Option<End> {
    match message {
        Message::Request { method, .. } => match family(method) {
            Family::McpClient | Family::Initialize => Some(from),
            Family::McpServer => Some(from.other()),
            _ => None,
        },
        Message::Result { .. } | Message::Error { .. } => Some(from.other()),
    }
}

fn say(dialogue: &mut Dialogue, by_client: bool, message: &Message, at: Moment, world: &mut World) {
    if by_client {
        dialogue.asks(message, at, world);
    } else {
        dialogue.answers(message, Framing::Stream, false, at, world);
    }
}

fn dns_stream(held: &mut Vec<u8>, bytes: &[u8], client: IpAddr, at: Moment, world: &mut World) {
    if held.len() + bytes.len() > 2 * usize::from(u16::MAX) {
        held.clear();
        world.lose("undecodable-dns");
        return;
    }
    held.extend_from_slice(bytes);
    let mut read = 0;
    while let Some((length, rest)) = held.get(read..).and_then(|unread| unread.split_first_chunk()) {
        let length = usize::from(u16::from_be_bytes(*length));
        if length < dns::HEADER {
            // Out of step, or no DNS: the next segment may begin with a message again.
            held.clear();
            world.lose("undecodable-dns");
            return;
        }
        let Some(message) = rest.get(..length) else { break };
        dns::message(message, dns::DNS, client, at, world);
        read += 2 + length;
    }
    held.drain(..read);
}
