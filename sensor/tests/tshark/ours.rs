//! What our decoder, flow table and reader of HTTP/1 make of a capture: the rooms of the sensor, without its judgement of MCP.

use crate::{Bodies, Messages, Stream, Way};
use rules::endpoint::Endpoint;
use sensor::{
    capture::file::Reader as File,
    decode::{Link, Transport, decode},
    dissect::{
        body::{Budget, Decoder},
        http::{Encoding, Verb},
        http1::{Body, Piece, Reader, Role, begins_message},
    },
    flow::{Both, Bounds, Context, Conversation, End, Peers, Table},
    moment::Moment,
};
use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) streams: BTreeMap<Way, Stream>,
    pub(crate) begun: Messages,
    pub(crate) whole: Messages,
    pub(crate) bodies: Bodies,
    /// As far as they went.
    pub(crate) unfinished: Bodies,
}

/// Hears a capture, of its segments with a payload only those whose number is `wanted`.
pub(crate) fn hear(capture: &Path, wanted: impl Fn(usize) -> bool) -> Heard {
    let mut file = File::new(std::fs::File::open(capture).unwrap()).unwrap();
    let (mut table, mut heard, mut now, mut said) = (Table::<Ear>::new(Bounds::default()), Heard::default(), Moment::default(), 0);
    while let Some(record) = file.next_record().unwrap() {
        now = record.at;
        let link = Link::from_number(i32::from(record.link)).unwrap();
        let Ok(packet) = decode(link, record.bytes, record.wire_length) else { continue };
        let Transport::Tcp(segment) = packet.transport else { continue };
        if !segment.payload.bytes.is_empty() {
            said += 1;
            if !wanted(said - 1) {
                continue;
            }
        }
        let source = Endpoint::new(packet.source, segment.source_port);
        let destination = Endpoint::new(packet.destination, segment.destination_port);
        table.expire(now, &mut heard);
        table.segment(source, destination, &segment, now, &mut heard);
    }
    table.finish(now, &mut heard);
    heard
}

/// One connection.
#[derive(Default)]
struct Ear {
    talk: Option<Talk>,
}

struct Talk {
    client: End,
    requests: Reader,
    responses: Reader,
    asked: VecDeque<Verb>,
    /// The messages being read.
    request: String,
    response: String,
    /// And what is in them.
    contents: Both<Option<Content>>,
    /// Something else is spoken from here on.
    switched: bool,
}

/// The body of a message, without its content encoding.
struct Content {
    decoder: Decoder,
    bytes: Vec<u8>,
    /// A part is missing, or makes no sense.
    spoiled: bool,
}

impl Content {
    fn new(encoding: Encoding) -> Content {
        Content { decoder: Decoder::new(encoding, &Budget::new(64 << 20)), bytes: Vec::new(), spoiled: false }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let Content { decoder, bytes: kept, spoiled } = self;
        *spoiled |= decoder.feed(bytes, |decoded| kept.extend_from_slice(decoded)).is_err();
    }

    /// The whole of it, if it is.
    fn finish(mut self) -> (Vec<u8>, bool) {
        let Content { decoder, bytes: kept, spoiled } = &mut self;
        let whole = decoder.finish(|decoded| kept.extend_from_slice(decoded)).is_ok() && !*spoiled;
        (self.bytes, whole)
    }
}

impl Talk {
    fn new(client: End) -> Talk {
        let (requests, responses) = (Reader::new(Role::Client), Reader::new(Role::Server));
        Talk {
            client,
            requests,
            responses,
            asked: VecDeque::new(),
            request: String::new(),
            response: String::new(),
            contents: Both::default(),
            switched: false,
        }
    }

    fn piece(&mut self, peers: &Peers, from: End, piece: &Piece<'_>, heard: &mut Heard) {
        let way = way(peers, from);
        match piece {
            Piece::Request(head) => {
                self.request = format!("{:?} {}", head.verb, head.target);
                *heard.begun.entry((way, self.request.clone())).or_default() += 1;
                self.asked.push_back(head.verb);
                *self.contents.at_mut(from) = Some(Content::new(head.common.encoding));
                self.requests.begin(Body::of_request(head));
            }
            Piece::Response(head) => {
                self.response = head.status.to_string();
                *heard.begun.entry((way, self.response.clone())).or_default() += 1;
                *self.contents.at_mut(from) = Some(Content::new(head.common.encoding));
                let preliminary = (100..200).contains(&head.status);
                self.switched = head.status == 101;
                let verb = if preliminary { None } else { self.asked.pop_front() };
                self.responses.begin(if preliminary { Body::None } else { Body::of_response(head, verb) });
            }
            Piece::End => {
                let message = if from == self.client { &self.request } else { &self.response };
                *heard.whole.entry((way, message.clone())).or_default() += 1;
            }
            Piece::Body(bytes) => {
                if let Some(content) = self.contents.at_mut(from) {
                    content.feed(bytes);
                }
            }
            Piece::Hole => {
                if let Some(content) = self.contents.at_mut(from) {
                    content.spoiled = true;
                }
            }
            Piece::Lost(_) | Piece::Joined => {}
        }
        if matches!(piece, Piece::End | Piece::Lost(_)) {
            self.body_ends(peers, from, matches!(piece, Piece::End), heard);
        }
    }

    fn body_ends(&mut self, peers: &Peers, from: End, ended: bool, heard: &mut Heard) {
        let Some((bytes, whole)) = self.contents.at_mut(from).take().map(Content::finish) else { return };
        let kept = if whole && ended { &mut heard.bodies } else { &mut heard.unfinished };
        if !bytes.is_empty() {
            kept.entry(way(peers, from)).or_default().push(bytes);
        }
    }
}

fn way(peers: &Peers, from: End) -> Way {
    (peers.endpoint(from), peers.endpoint(from.other()))
}

impl Conversation for Ear {
    type World = Heard;

    fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_, Heard>) {
        let (peers, heard) = (cx.peers, &mut *cx.world);
        heard.streams.entry(way(peers, from)).or_default().extend(bytes.iter().copied().map(Some));
        if self.talk.is_none() {
            let by_words = || match (begins_message(bytes, Role::Client), begins_message(bytes, Role::Server)) {
                (true, _) => Some(from),
                (_, true) => Some(from.other()),
                _ => None,
            };
            self.talk = peers.opener.or_else(by_words).map(Talk::new);
        }
        let Some(talk) = self.talk.as_mut() else { return };
        let mut input = bytes;
        while !talk.switched {
            let reader = if from == talk.client { &mut talk.requests } else { &mut talk.responses };
            let Some(piece) = reader.next(&mut input) else { break };
            talk.piece(peers, from, &piece, heard);
        }
    }

    fn gap(&mut self, from: End, missing: usize, cx: &mut Context<'_, Heard>) {
        let (peers, heard) = (cx.peers, &mut *cx.world);
        heard.streams.entry(way(peers, from)).or_default().extend(std::iter::repeat_n(None, missing));
        let Some(talk) = self.talk.as_mut() else { return };
        let reader = if from == talk.client { &mut talk.requests } else { &mut talk.responses };
        if let Some(piece) = reader.gap(missing) {
            talk.piece(peers, from, &piece, heard);
        }
    }

    fn ended(&mut self, from: End, cx: &mut Context<'_, Heard>) {
        let (peers, heard) = (cx.peers, &mut *cx.world);
        let Some(talk) = self.talk.as_mut().filter(|talk| from != talk.client) else { return };
        if let Some(piece) = talk.responses.ended() {
            talk.piece(peers, from, &piece, heard);
        }
    }

    fn closed(&mut self, cx: &mut Context<'_, Heard>) {
        let (peers, heard) = (cx.peers, &mut *cx.world);
        if let Some(talk) = self.talk.as_mut() {
            [End::Low, End::High].into_iter().for_each(|from| talk.body_ends(peers, from, false, heard));
        }
    }
}
