//! One TCP connection: what is spoken on it, and by whom.

use super::{
    Context, dns,
    http1::{Role, begins_message},
    http2,
    mcp::{Outcome, World},
    nominate::{self, Call},
    tls,
    upgrade::Upgrade,
    web::Web,
    websocket,
};
use crate::flow::{Both, Conversation, End, Peers};
use rules::evidence::Transport;
use std::net::IpAddr;

mod bare;
mod secret;
mod socket;

use bare::Lines;
use secret::Secret;
use socket::Socket;

/// The protocol of a connection.
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

    fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_>) {
        if !self.greeted {
            self.greeted = true;
            if let Some(call) = Call::of(cx.peers) {
                nominate::by_name(call, cx);
            }
        }
        if matches!(self.speech, Speech::Dns(_)) && is_other_than_dns(bytes) {
            self.speech = Speech::Unknown;
        }
        if matches!(self.speech, Speech::Unknown) {
            let bytes = if self.start.at(from).is_empty() && !is_dns(cx.peers) { without_blank_lines(bytes) } else { bytes };
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
                self.speech = recognise(cx.peers, from, &bytes);
                return self.heard(from, &bytes, cx);
            }
            self.speech = recognise(cx.peers, from, bytes);
        }
        self.heard(from, bytes, cx);
    }

    fn gap(&mut self, from: End, missing: usize, cx: &mut Context<'_>) {
        match &mut self.speech {
            Speech::Http(web) => web.gap(from, missing, cx),
            Speech::Http2(connection) => connection.gap(from, missing, cx),
            Speech::Socket(_) => {
                // Frames have no signatures to find the next one by, but segments often begin with one.
                cx.world.lose("websocket-out-of-step");
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

    fn ambiguous(&mut self, cx: &mut Context<'_>) {
        if let Some(call) = Call::of(cx.peers) {
            nominate::by_ambiguity(call, cx);
        }
    }

    fn ended(&mut self, from: End, cx: &mut Context<'_>) {
        match &mut self.speech {
            Speech::Http(web) => web.ended(from, cx),
            Speech::Lines(lines) => lines.ended(from, cx),
            _ => {}
        }
    }

    fn closed(&mut self, cx: &mut Context<'_>) {
        match &mut self.speech {
            Speech::Http(web) => web.closed(cx),
            Speech::Http2(connection) => connection.closed(cx),
            Speech::Socket(socket) => socket.dialogue.conclude(heard_of(cx.peers, socket.client.other()), cx),
            Speech::Lines(lines) => {
                if let (Some(dialogue), Some(client)) = (&mut lines.dialogue, lines.client) {
                    dialogue.conclude(heard_of(cx.peers, client.other()), cx);
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

impl Talk {
    fn heard(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_>) {
        match &mut self.speech {
            Speech::Unknown | Speech::Closed => {}
            Speech::Http(web) => {
                if let Some(next) = web.bytes(from, bytes, cx) {
                    self.change(next, from, cx);
                }
            }
            Speech::Http2(connection) => connection.bytes(from, bytes, cx),
            Speech::Socket(socket) => {
                if !socket.bytes(from, bytes, cx) {
                    cx.world.lose("websocket-out-of-step");
                    self.speech = Speech::Unknown;
                }
            }
            Speech::Lines(lines) => {
                if !lines.bytes(from, bytes, cx) {
                    self.speech = Speech::Unknown;
                }
            }
            Speech::Tls(secret) => {
                if secret.bytes(from, bytes, cx).is_err() {
                    self.speech = Speech::Closed;
                }
            }
            Speech::Dns(held) => {
                if cx.peers.endpoint(from).port == dns::DNS {
                    dns_stream(held, bytes, cx.peers.endpoint(from.other()).address, cx);
                }
            }
        }
    }

    fn change(&mut self, next: Upgrade, from: End, cx: &mut Context<'_>) {
        let rest = match &mut self.speech {
            Speech::Http(web) => web.take_rest(),
            _ => Vec::new(),
        };
        self.speech = match next {
            Upgrade::Tunnel => Speech::Unknown,
            Upgrade::Http2(exchange) => Speech::Http2(Box::new(http2::Connection::upgraded(from.other(), *exchange))),
            Upgrade::WebSocket { client, mut dialogue, deflate } => {
                dialogue.transport = Some(Transport::WebSocket);
                let readers = Both { low: websocket::Reader::new(deflate), high: websocket::Reader::new(deflate) };
                Speech::Socket(Box::new(Socket { readers, client, dialogue: *dialogue }))
            }
        };
        if !rest.is_empty() {
            self.bytes(from, &rest, cx);
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
        return Speech::Tls(Box::new(Secret::new(caller)));
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
        Some(b'{' | b'[') => Speech::Lines(Box::new(Lines::new(client))),
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

fn dns_stream(held: &mut Vec<u8>, bytes: &[u8], client: IpAddr, cx: &mut Context<'_>) {
    if held.len() + bytes.len() > 2 * usize::from(u16::MAX) {
        held.clear();
        cx.world.lose("undecodable-dns");
        return;
    }
    held.extend_from_slice(bytes);
    let mut read = 0;
    while let Some((length, rest)) = held.get(read..).and_then(|unread| unread.split_first_chunk()) {
        let length = usize::from(u16::from_be_bytes(*length));
        if length < dns::HEADER {
            // Out of step, or no DNS: the next segment may begin with a message again.
            held.clear();
            cx.world.lose("undecodable-dns");
            return;
        }
        let Some(message) = rest.get(..length) else { break };
        dns::message(message, dns::DNS, client, cx);
        read += 2 + length;
    }
    held.drain(..read);
}
