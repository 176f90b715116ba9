//! HTTP/1.x on one connection: requests one way, responses the other, in the same order.

use super::{
    Context,
    exchange::Exchange,
    http::{Media, ResponseHead, Verb},
    http1::{Body, Piece, Reader, Role, Why, begins_message},
    tls,
    upgrade::Upgrade,
    websocket,
};
use crate::flow::End;
use rules::{endpoint::Place, evidence::Facts};
use std::collections::VecDeque;

/// Requests without a response yet, on one connection.
const MAX_OPEN: usize = 64;

#[derive(Debug)]
pub(super) struct Web {
    client: End,
    requests: Reader,
    responses: Reader,
    /// Oldest first. The request whose body is being read is the last one, if `asking`.
    open: VecDeque<Box<Exchange>>,
    asking: bool,
    /// The exchange whose response is being read.
    answering: Option<Box<Exchange>>,
    /// Requests may be missing from the capture: a response may be to one of those.
    out_of_step: bool,
    /// Bytes of the client's that the server had confirmed when it answered last.
    taken: u32,
    /// The last response to what is not in the capture is 200, and says nothing of a body.
    agreed: bool,
    next: Option<Upgrade>,
    rest: Vec<u8>,
}

impl Web {
    pub(super) fn new(client: End) -> Web {
        Web {
            client,
            requests: Reader::new(Role::Client),
            responses: Reader::new(Role::Server),
            open: VecDeque::new(),
            asking: false,
            answering: None,
            out_of_step: false,
            taken: 0,
            agreed: false,
            next: None,
            rest: Vec::new(),
        }
    }

    /// A connection joined in the middle of a response.
    pub(super) fn joined(client: End) -> Web {
        Web { requests: Reader::lost(Role::Client), responses: Reader::lost(Role::Server), ..Web::new(client) }
    }

    pub(super) fn buffered(&self) -> usize {
        self.requests.buffered() + self.responses.buffered()
    }

    /// Whether bytes of a server can be the middle of an event stream.
    pub(super) fn joins(bytes: &[u8]) -> bool {
        let mut rest = bytes;
        matches!(Reader::lost(Role::Server).next(&mut rest), Some(Piece::Joined))
    }

    /// What followed the last head of HTTP when the connection changed into something else.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_>) -> Option<Upgrade> {
        let mut input = bytes;
        let by_client = from == self.client;
        let switched = if by_client { self.switched_unseen(bytes) } else { self.tunnelled_unseen(bytes) };
        if switched.is_some() {
            self.rest = bytes.to_vec();
            return switched;
        }
        if by_client && self.requests.is_lost() && bytes.first() == Some(&b'{') {
            self.body_begins(bytes, cx);
        }
        loop {
            let piece = if by_client { self.requests.next(&mut input) } else { self.responses.next(&mut input) };
            let Some(piece) = piece else { break };
            if by_client {
                self.request(piece, cx);
            } else {
                self.response(piece, cx);
            }
            if self.next.is_some() {
                self.rest = input.to_vec();
                break;
            }
        }
        self.next.take()
    }

    /// The head of the last request was cut; many clients send the body in a segment of its own.
    fn body_begins(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        if let Some(exchange) = self.open.back_mut().filter(|exchange| exchange.verb == Some(Verb::Post)) {
            exchange.request_begins(bytes, cx);
        }
    }

    /// The client goes on in frames of a WebSocket, or at all after CONNECT, so the server has agreed, where the capture does not show it.
    fn switched_unseen(&mut self, bytes: &[u8]) -> Option<Upgrade> {
        if !self.asking && self.open.back().is_some_and(|exchange| exchange.verb == Some(Verb::Connect)) {
            self.open.clear();
            return Some(Upgrade::Tunnel);
        }
        let waiting = !self.asking && self.open.back().is_some_and(|exchange| exchange.upgrade);
        let frames = waiting && websocket::begins_masked(bytes);
        let mut exchange = frames.then(|| self.open.pop_back()).flatten()?;
        exchange.dialogue.unheard = true;
        Some(Upgrade::WebSocket { client: self.client, deflate: exchange.deflate, dialogue: Box::new(exchange.dialogue) })
    }

    /// What was asked is not in the capture; the server said yes with nothing else, and then begins as one does: it was CONNECT.
    fn tunnelled_unseen(&mut self, bytes: &[u8]) -> Option<Upgrade> {
        let begins = begins_message(bytes, Role::Server) || tls::begins(bytes).is_some();
        if !std::mem::take(&mut self.agreed) || !begins {
            return None;
        }
        self.answering = None;
        Some(Upgrade::Tunnel)
    }

    fn request(&mut self, piece: Piece<'_>, cx: &mut Context<'_>) {
        match piece {
            Piece::Request(head) => {
                self.requests.begin(Body::of_request(&head));
                if self.open.len() >= MAX_OPEN {
                    cx.world.lose("requests-unanswered");
                    if let Some(mut oldest) = self.open.pop_front() {
                        oldest.close(cx);
                    }
                    self.out_of_step = true;
                }
                let server = cx.peers.endpoint(self.client.other());
                self.open.push_back(Box::new(Exchange::new(&head, server, cx.peers.endpoint(self.client).address, cx)));
                self.asking = true;
            }
            Piece::Body(bytes) => {
                if let Some(exchange) = self.asked() {
                    exchange.request_body(bytes, cx);
                }
            }
            Piece::Hole => {
                if let Some(exchange) = self.asked() {
                    exchange.request_hole();
                }
            }
            Piece::End => {
                if let Some(exchange) = self.asked() {
                    exchange.request_end(cx);
                }
                self.asking = false;
            }
            Piece::Lost(why) => {
                if let Some(exchange) = self.asked() {
                    exchange.dialogue.unheard = true;
                }
                self.asking = false;
                self.out_of_step = true;
                lost(why, cx);
            }
            Piece::Response(_) | Piece::Joined => {}
        }
    }

    /// The exchange whose request is being read, unless its response overtook it.
    fn asked(&mut self) -> Option<&mut Exchange> {
        if !self.asking {
            return None;
        }
        match self.open.back_mut() {
            Some(exchange) => Some(exchange),
            None => self.answering.as_deref_mut(),
        }
    }

    fn response(&mut self, piece: Piece<'_>, cx: &mut Context<'_>) {
        match piece {
            Piece::Response(head) => self.response_head(&head, cx),
            Piece::Body(bytes) => {
                if let Some(exchange) = &mut self.answering {
                    exchange.response_body(bytes, cx);
                }
            }
            Piece::Hole => {
                if let Some(exchange) = &mut self.answering {
                    exchange.response_hole(cx);
                }
            }
            Piece::End => {
                if let Some(mut exchange) = self.answering.take() {
                    exchange.response_end(cx);
                }
            }
            Piece::Lost(why) => {
                if let Some(mut exchange) = self.answering.take() {
                    exchange.response_hole(cx);
                    exchange.response_end(cx);
                }
                self.out_of_step = true;
                lost(why, cx);
            }
            Piece::Joined => {
                let server = cx.peers.endpoint(self.client.other());
                self.answering = Some(Box::new(Exchange::joined(server, cx.peers.endpoint(self.client).address, cx)));
            }
            Piece::Request(_) => {}
        }
    }

    fn response_head(&mut self, head: &ResponseHead, cx: &mut Context<'_>) {
        if (100..200).contains(&head.status) && head.status != 101 {
            return self.responses.begin(Body::None);
        }
        let taken = *cx.peers.taken.at(self.client);
        // Where it was confirmed before anything else was seen, nothing tells.
        let length = Some(taken.wrapping_sub(std::mem::replace(&mut self.taken, taken))).filter(|length| *length > 0);
        let mut exchange = match self.open.pop_front() {
            Some(exchange) => exchange,
            None => Box::new(Exchange::answers_to(cx.peers.endpoint(self.client.other()), cx.peers.endpoint(self.client).address, length)),
        };
        exchange.dialogue.unheard |= self.out_of_step;
        let verb = exchange.verb;
        if head.status == 101 && head.common.h2c {
            self.next = Some(Upgrade::Http2(exchange));
            return;
        }
        exchange.response_head(head, cx);
        if head.status == 101 && (exchange.upgrade || head.common.websocket) {
            self.next = Some(Upgrade::WebSocket { client: self.client, deflate: exchange.deflate, dialogue: Box::new(exchange.dialogue) });
            return;
        }
        if verb == Some(Verb::Connect) && (200..300).contains(&head.status) {
            self.next = Some(Upgrade::Tunnel);
            return;
        }
        self.agreed =
            verb.is_none() && head.status == 200 && Body::of_response(head, verb) == Body::UntilClose && head.common.media == Media::Unsaid;
        self.responses.begin(Body::of_response(head, verb));
        self.answering = Some(exchange);
        if self.open.is_empty() && !self.asking {
            self.out_of_step = false;
        }
    }

    pub(super) fn gap(&mut self, from: End, missing: usize, cx: &mut Context<'_>) {
        if from == self.client {
            self.nominate_by_request_line(cx);
            let cut = self.requests.cut_head();
            let in_head = cut.is_some();
            if let Some(head) = cut {
                self.request(head, cx);
            }
            // A hole where a head could be hides whole requests.
            match if in_head { Some(self.requests.give_up()) } else { self.requests.gap(missing) } {
                Some(piece) => self.request(piece, cx),
                None => self.out_of_step = true,
            }
        } else {
            let cut = self.responses.cut_head().filter(|piece| !matches!(piece, Piece::Response(head) if head.status < 200));
            let in_head = cut.is_some();
            if let Some(head) = cut {
                self.response(head, cx);
            }
            if let Some(piece) = if in_head { Some(self.responses.give_up()) } else { self.responses.gap(missing) } {
                self.response(piece, cx);
            }
        }
    }

    /// With a short snap length the request line may be all there is.
    fn nominate_by_request_line(&self, cx: &mut Context<'_>) {
        let Some(target) = self.requests.partial_target() else { return };
        let place = Place::new(cx.peers.endpoint(self.client.other())).with_target(&target);
        let word = |segment: &str| segment.eq_ignore_ascii_case("mcp") || segment.eq_ignore_ascii_case("sse");
        if place.path.as_deref().is_some_and(|path| path.split('/').any(word)) {
            cx.world.ledger.say(
                &place,
                "wire.context.truncated",
                "a request to a path MCP servers often use, cut by the capture",
                cx.now,
                Facts::default(),
            );
        }
    }

    pub(super) fn ended(&mut self, from: End, cx: &mut Context<'_>) {
        let over = if from == self.client { None } else { self.responses.ended() };
        if let Some(piece) = over {
            self.response(piece, cx);
        }
    }

    pub(super) fn closed(&mut self, cx: &mut Context<'_>) {
        if let Some(mut exchange) = self.answering.take() {
            exchange.response_end(cx);
        }
        let server_seen = *cx.peers.seen.at(self.client.other());
        for mut exchange in std::mem::take(&mut self.open) {
            // The last request may have been refused by hanging up; only when the server was never heard is it unseen.
            if !server_seen || self.out_of_step {
                exchange.close(cx);
            }
        }
    }
}

fn lost(why: Why, cx: &mut Context<'_>) {
    cx.world.lose(match why {
        Why::HeadTooLarge => "head-too-large",
        Why::Malformed => "parser-gave-up",
        Why::Gap => "message-cut",
    });
}
