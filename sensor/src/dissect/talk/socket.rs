//! A WebSocket: messages of JSON-RPC in frames.

use crate::{
    dissect::{Context, jsonrpc, mcp::Dialogue, websocket},
    flow::{Both, End, Peers},
};
use rules::evidence::{Facts, Transport};

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) readers: Both<websocket::Reader>,
    pub(super) client: End,
    pub(super) dialogue: Dialogue,
}

impl Socket {
    /// One whose beginning is not in the capture.
    pub(super) fn joined(peers: &Peers, client: End) -> Socket {
        let mut dialogue = Dialogue::new(peers.endpoint(client.other()), peers.endpoint(client).address);
        dialogue.transport = Some(Transport::WebSocket);
        dialogue.unheard = true;
        Socket { readers: Both { low: websocket::Reader::joined(), high: websocket::Reader::joined() }, client, dialogue }
    }

    pub(super) fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_>) -> bool {
        let Socket { readers, client, dialogue } = self;
        dialogue.taken = Some(*cx.peers.taken.at(client.other()));
        readers.at_mut(from).feed(bytes, |text| {
            for message in jsonrpc::parse(text) {
                dialogue.says(from == *client, &message, cx);
            }
            if from != *client && text.contains(&websocket::UNKNOWN) && tells_of_mcp(text) {
                let what = "a compressed message of a server, a part of which refers back to what is not in the capture";
                cx.world.ledger.say(&dialogue.place, "wire.context.truncated", what, cx.now, Facts::default());
            }
        })
    }
}

/// Of a text with holes: a key that lists of tools have, and few others.
fn tells_of_mcp(text: &[u8]) -> bool {
    [&b"\"inputSchema\""[..], b"\"protocolVersion\"", b"\"notifications/"].iter().any(|word| memchr::memmem::find(text, word).is_some())
}
