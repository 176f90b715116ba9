//! One TCP connection: what is spoken on it, and by whom.

use super::{
    dns,
    exchange::Exchange,
    http1::{Role, begins_message},
    http2,
    jsonrpc::{self, Message},
    lines::Splitter,
    mcp::{Dialogue, Family, Framing, Outcome, World, family},
    tls,
    web::Web,
    websocket,
};
use crate::{
    flow::{Both, Conversation, End, Peers},
    moment::Moment,
};
use rules::{
    endpoint::{Endpoint, Place},
    evidence::{Facts, Transport},
};

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
    Tls(tls::Reader),
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

#[derive(Debug)]
struct Lines {
    splitters: Both<Splitter>,
    /// Known from the handshake, or from the first message that only one side can send.
    client: Option<End>,
    dialogue: Option<Dialogue>,
    /// Lines without JSON-RPC in a row.
    strange: u32,
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
            nominate_by_name(peers, at, world);
        }
        if matches!(self.speech, Speech::Unknown) {
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
                // Frames have no marks to find the next one by.
                world.lose("websocket-out-of-step");
                self.speech = Speech::Closed;
            }
            Speech::Lines(lines) => {
                lines.splitters.at_mut(from).gap();
                if let Some(dialogue) = &mut lines.dialogue {
                    dialogue.unheard = true;
                }
            }
            Speech::Dns(held) => held.clear(),
            Speech::Tls(_) => self.speech = Speech::Closed,
            Speech::Unknown | Speech::Closed => self.start = Both::default(),
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
            Speech::Socket(socket) => socket.dialogue.conclude(Outcome::Answered, at, world),
            Speech::Lines(lines) => {
                if let (Some(dialogue), Some(client)) = (&mut lines.dialogue, lines.client) {
                    let outcome = if *peers.seen.at(client.other()) { Outcome::Answered } else { Outcome::Unseen };
                    dialogue.conclude(outcome, at, world);
                }
            }
            _ => {}
        }
        self.speech = Speech::Closed;
    }

    fn indifferent(&self) -> bool {
        matches!(self.speech, Speech::Closed)
    }
}

/// What a connection changes into after an HTTP exchange.
#[derive(Debug)]
pub(super) enum Next {
    WebSocket {
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
                if !socket.bytes(from, bytes, at, world) {
                    world.lose("websocket-out-of-step");
                    self.speech = Speech::Closed;
                }
            }
            Speech::Lines(lines) => {
                if !lines.bytes(peers, from, bytes, at, world) {
                    self.speech = Speech::Unknown;
                }
            }
            Speech::Tls(reader) => {
                let client = peers.opener.unwrap_or(from);
                if client == from {
                    match reader.feed(bytes) {
                        Ok(None) => {}
                        Ok(Some(hello)) => {
                            nominate_by_hello(&hello, peers.endpoint(client.other()), at, world);
                            self.speech = Speech::Closed;
                        }
                        Err(tls::NotTls) => self.speech = Speech::Closed,
                    }
                }
            }
            Speech::Dns(held) => {
                if peers.endpoint(from).port == 53 {
                    dns_stream(held, bytes, at, world);
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
            Next::WebSocket { mut dialogue, deflate } => {
                dialogue.transport = Some(Transport::WebSocket);
                let readers = Both { low: websocket::Reader::new(deflate), high: websocket::Reader::new(deflate) };
                Speech::Socket(Box::new(Socket { readers, client: from.other(), dialogue: *dialogue }))
            }
        };
        if !rest.is_empty() {
            self.bytes(peers, from, &rest, at, world);
        }
    }
}

fn recognise(peers: &Peers, from: End, bytes: &[u8]) -> Speech {
    let client = peers.opener;
    if peers.ends.low.port == 53 || peers.ends.high.port == 53 {
        return Speech::Dns(Vec::new());
    }
    if http2::Connection::begins(bytes) && client != Some(from.other()) {
        return Speech::Http2(Box::new(http2::Connection::new(from)));
    }
    if begins_message(bytes, Role::Client) && client != Some(from.other()) {
        return Speech::Http(Box::new(Web::new(from)));
    }
    if begins_message(bytes, Role::Server) && client != Some(from) {
        return Speech::Http(Box::new(Web::new(from.other())));
    }
    if tls::begins(bytes) && client.is_none_or(|client| client == from) {
        return Speech::Tls(tls::Reader::default());
    }
    match bytes.first() {
        Some(b'{' | b'[') => Speech::Lines(Box::new(Lines { splitters: Both::default(), client, dialogue: None, strange: 0 })),
        // The start of a request in a segment of its own.
        Some(_) if client == Some(from) && bytes.len() < 8 && bytes.iter().all(u8::is_ascii_uppercase) => {
            Speech::Http(Box::new(Web::new(from)))
        }
        _ if client != Some(from) && Web::joins(bytes) => Speech::Http(Box::new(Web::joined(from.other()))),
        _ if http2::Connection::joins(bytes) => Speech::Http2(Box::new(http2::Connection::joined(client))),
        _ => Speech::Unknown,
    }
}

impl Socket {
    fn bytes(&mut self, from: End, bytes: &[u8], at: Moment, world: &mut World) -> bool {
        let Socket { readers, client, dialogue } = self;
        readers.at_mut(from).feed(bytes, |text| {
            for message in jsonrpc::parse(text) {
                say(dialogue, from == *client, &message, at, world);
            }
        })
    }
}

impl Lines {
    /// False when this is something else.
    fn bytes(&mut self, peers: &Peers, from: End, bytes: &[u8], at: Moment, world: &mut World) -> bool {
        let Lines { splitters, client, dialogue, strange } = self;
        splitters.at_mut(from).feed(bytes, |line| {
            let messages = jsonrpc::parse(line);
            *strange = if messages.is_empty() { strange.saturating_add(1) } else { 0 };
            for message in &messages {
                take_line(client, dialogue, peers, from, message, at, world);
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
    let Some(client) = client.or_else(|| speaker(message, from)) else { return };
    let dialogue = dialogue.get_or_insert_with(|| {
        let mut new = Dialogue::new(peers.endpoint(client.other()), peers.endpoint(client).address);
        new.transport = Some(Transport::RawTcp);
        // Joined later, or only one side is in the capture: questions may have been missed.
        new.unheard = peers.opener.is_none() || !*peers.seen.at(client);
        new
    });
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

/// A connection to an address whose name has the word `mcp` in it.
fn nominate_by_name(peers: &Peers, at: Moment, world: &mut World) {
    let Some(client) = peers.opener else { return };
    let server = peers.endpoint(client.other());
    let Some(name) = world.names.name(server.address, at).filter(|n| dns::names_mcp(n)) else { return };
    // Name service itself, secure shell: never it.
    if matches!(server.port, 22 | 53 | 853) {
        return;
    }
    let place = Place::new(server).with_host(name);
    let detail = format!("{name} was looked up, then a connection made");
    world.ledger.say(&place, "wire.context.dns-name", &detail, at, Facts::default());
}

fn nominate_by_hello(hello: &tls::Hello, server: Endpoint, at: Moment, world: &mut World) {
    let name = hello.name.as_deref().unwrap_or_default();
    let place = Place::new(server).with_host(name);
    let facts = Facts { tls: Some(true), ..Facts::default() };
    if dns::names_mcp(name) {
        world.ledger.say(&place, "wire.context.tls-name", &format!("TLS to {name}"), at, facts);
    } else if is_internal(server) && !(hello.http2 && OTHERS.contains(&server.port)) {
        world.ledger.say(&place, "wire.context.tls-program", "TLS inside the network, and not as a browser opens a site", at, facts);
    }
}

/// Ports where TLS by a client that offers HTTP/2 is most likely a browser's, and those of mail, directory and name service.
const OTHERS: [u16; 9] = [443, 465, 563, 587, 636, 853, 990, 993, 995];

fn is_internal(server: Endpoint) -> bool {
    match server.address {
        std::net::IpAddr::V4(a) => a.is_private() || a.is_loopback() || a.is_link_local(),
        std::net::IpAddr::V6(a) => a.is_unique_local() || a.is_loopback() || a.is_unicast_link_local(),
    }
}

fn dns_stream(held: &mut Vec<u8>, bytes: &[u8], at: Moment, world: &mut World) {
    if held.len() + bytes.len() > 2 * usize::from(u16::MAX) {
        held.clear();
        world.lose("undecodable-dns");
        return;
    }
    held.extend_from_slice(bytes);
    while let Some(length) = held.first_chunk().map(|b| usize::from(u16::from_be_bytes(*b))) {
        let Some(message) = held.get(2..2 + length) else { return };
        dns::message(message, 53, at, world);
        held.drain(..2 + length);
    }
}
