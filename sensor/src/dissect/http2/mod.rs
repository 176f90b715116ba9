//! HTTP/2 in the clear on one connection (RFC 9113): frames, header compression, and one exchange per stream. Joined in the
//! middle, what the compression refers back to is unknown, and the exchange is judged by what is left.

mod frames;
mod hpack;
mod huffman;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use super::{
    Context,
    exchange::Exchange,
    http::{RequestHead, ResponseHead, Verb},
};
use crate::flow::{Both, End};
use frames::{PREFACE, Piece, Reader};
use std::collections::BTreeMap;

/// Streams open at a time, on one connection.
const MAX_STREAMS: usize = 128;

#[derive(Debug)]
pub(super) struct Connection {
    client: Option<End>,
    readers: Both<Reader>,
    headers: Both<hpack::Decoder>,
    streams: BTreeMap<u32, Exchange>,
    /// What came before is not in the capture.
    joined: bool,
}

/// A header block by what it turned out to be.
enum Block {
    Request(RequestHead),
    Response(ResponseHead),
    /// Trailers, or nothing that is known.
    Other,
}

impl Connection {
    /// A connection whose client is about to send its preface.
    pub(super) fn new(client: End) -> Connection {
        let mut connection = Connection::joined(Some(client));
        connection.joined = false;
        *connection.readers.at_mut(client) = Reader::new(true);
        connection
    }

    pub(super) fn buffered(&self) -> usize {
        let readers = self.readers.low.buffered() + self.readers.high.buffered();
        readers + self.headers.low.size() + self.headers.high.size()
    }

    /// A connection that began as HTTP/1.1 with `exchange`.
    pub(super) fn upgraded(client: End, exchange: Exchange) -> Connection {
        let mut connection = Connection::new(client);
        connection.streams.insert(1, exchange);
        connection
    }

    pub(super) fn joined(client: Option<End>) -> Connection {
        Connection { client, readers: Both::default(), headers: Both::default(), streams: BTreeMap::new(), joined: true }
    }

    /// Whether bytes of a client begin a connection.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        let n = bytes.len().min(PREFACE.len());
        n >= 4 && bytes.get(..n) == PREFACE.get(..n)
    }

    /// Whether bytes can be the middle of a connection.
    pub(super) fn joins(bytes: &[u8]) -> bool {
        frames::joins(bytes)
    }

    pub(super) fn bytes(&mut self, from: End, mut input: &[u8], cx: &mut Context<'_>) {
        if input.starts_with(PREFACE) {
            // The server may have spoken first, or the connection changed into this one.
            *self.readers.at_mut(from) = Reader::new(true);
            self.client = Some(from);
        }
        while let Some(piece) = self.readers.at_mut(from).next(&mut input) {
            self.piece(piece, from, cx);
        }
    }

    pub(super) fn gap(&mut self, from: End, missing: usize, cx: &mut Context<'_>) {
        if let Some(piece) = self.readers.at_mut(from).gap(missing) {
            self.piece(piece, from, cx);
        }
    }

    pub(super) fn closed(&mut self, cx: &mut Context<'_>) {
        for (_, mut exchange) in std::mem::take(&mut self.streams) {
            exchange.response_end(cx);
        }
    }

    fn piece(&mut self, piece: Piece<'_>, from: End, cx: &mut Context<'_>) {
        match piece {
            Piece::Headers { stream, block, end } => {
                let block = self.block(from, &block, cx);
                self.headers(stream, block, from, cx);
                if end {
                    self.end(stream, from, cx);
                }
            }
            Piece::Data { stream, bytes } => {
                let by_client = self.client == Some(from);
                let Some(exchange) = self.stream(stream, from, cx) else { return };
                if by_client {
                    exchange.request_body(bytes, cx);
                } else {
                    exchange.response_body(bytes, cx);
                }
            }
            Piece::Hole { stream } => {
                let by_client = self.client == Some(from);
                match self.streams.get_mut(&stream) {
                    Some(exchange) if by_client => exchange.request_hole(),
                    Some(exchange) => exchange.response_hole(cx),
                    None => {}
                }
            }
            Piece::End { stream } => self.end(stream, from, cx),
            Piece::Reset { stream } => {
                if let Some(mut exchange) = self.streams.remove(&stream) {
                    exchange.response_end(cx);
                }
            }
            Piece::LostBlock => {
                self.joined = true;
                *self.headers.at_mut(from) = hpack::Decoder::default();
                cx.world.lose("headers-lost");
            }
        }
    }

    fn block(&mut self, from: End, block: &[u8], cx: &mut Context<'_>) -> Block {
        let mut request = RequestHead::new(Verb::Other, b"");
        let mut response = ResponseHead::default();
        let (mut verb, mut status) = (None, None);
        let decoded = self.headers.at_mut(from).decode(block, |name, value| match name {
            b":method" => verb = Some(Verb::parse(value)),
            b":path" => request.target = RequestHead::new(Verb::Other, value).target,
            b":status" => status = std::str::from_utf8(value).ok().and_then(|s| s.parse::<u16>().ok()),
            _ => {
                request.header(name, value);
                response.header(name, value);
            }
        });
        if decoded.is_err() {
            cx.world.lose("headers-lost");
            *self.headers.at_mut(from) = hpack::Decoder::default();
            self.joined = true;
        }
        if let Some(status) = status {
            response.status = status;
            self.client.get_or_insert(from.other());
            return Block::Response(response);
        }
        if verb.is_some() || !request.target.is_empty() {
            self.client.get_or_insert(from);
            request.verb = verb.unwrap_or(Verb::Post);
            return Block::Request(request);
        }
        Block::Other
    }

    fn headers(&mut self, stream: u32, block: Block, from: End, cx: &mut Context<'_>) {
        match block {
            Block::Request(head) => {
                let exchange = Exchange::new(&head, cx.peers.endpoint(from.other()), cx.peers.endpoint(from).address, cx);
                self.keep(stream, exchange, cx);
            }
            Block::Response(head) if (100..200).contains(&head.status) => {}
            Block::Response(head) => {
                if let Some(exchange) = self.stream(stream, from, cx) {
                    exchange.response_head(&head, cx);
                }
            }
            Block::Other => {}
        }
    }

    /// The exchange of a stream; one whose beginning is unknown, if it was not seen.
    fn stream(&mut self, stream: u32, from: End, cx: &mut Context<'_>) -> Option<&mut Exchange> {
        if !self.streams.contains_key(&stream) {
            let client = self.client?;
            if !self.joined && client == from.other() {
                // Data of a stream that is over already.
                return None;
            }
            let exchange = Exchange::headless(cx.peers.endpoint(client.other()), cx.peers.endpoint(client).address, cx);
            self.keep(stream, exchange, cx);
        }
        self.streams.get_mut(&stream)
    }

    fn keep(&mut self, stream: u32, exchange: Exchange, cx: &mut Context<'_>) {
        if self.streams.len() >= MAX_STREAMS {
            cx.world.lose("requests-unanswered");
            if let Some((_, mut oldest)) = self.streams.pop_first() {
                oldest.close(cx);
            }
        }
        if let Some(mut old) = self.streams.insert(stream, exchange) {
            old.close(cx);
        }
    }

    fn end(&mut self, stream: u32, from: End, cx: &mut Context<'_>) {
        if self.client == Some(from) {
            if let Some(exchange) = self.streams.get_mut(&stream) {
                exchange.request_end(cx);
            }
        } else if let Some(mut exchange) = self.streams.remove(&stream) {
            exchange.response_end(cx);
        }
    }
}
