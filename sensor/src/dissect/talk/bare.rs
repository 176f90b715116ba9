//! Lines of JSON-RPC over bare TCP.

use crate::{
    dissect::{
        Context,
        jsonrpc::{self, Message},
        lines::Splitter,
        mcp::{Dialogue, Family, family},
    },
    flow::{Both, End},
};
use rules::evidence::Transport;

#[derive(Debug)]
pub(super) struct Lines {
    pub(super) splitters: Both<Splitter>,
    /// Known from the handshake, or from the first message that only one side can send.
    pub(super) client: Option<End>,
    pub(super) dialogue: Option<Dialogue>,
    /// Lines without JSON-RPC in a row.
    strange: u32,
    /// Results since the client last said anything.
    unprompted: u32,
}

/// Lines that are not JSON-RPC, after which a connection is left alone.
const MAX_STRANGE: u32 = 64;

impl Lines {
    pub(super) fn new(client: Option<End>) -> Lines {
        Lines { splitters: Both::default(), client, dialogue: None, strange: 0, unprompted: 0 }
    }

    /// False when this is something else.
    pub(super) fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_>) -> bool {
        let Lines { splitters, client, dialogue, strange, unprompted } = self;
        if *client == Some(from) {
            *unprompted = 0;
        }
        splitters.at_mut(from).feed(bytes, |line| {
            let messages = jsonrpc::parse(line);
            *strange = if messages.is_empty() { strange.saturating_add(1) } else { 0 };
            for message in &messages {
                take_line(client, dialogue, from, message, cx);
                let result = matches!(message, Message::Result { .. });
                *unprompted += u32::from(result && *client == Some(from.other()));
                // Nobody asked in between: lines that are shipped, not answers.
                if let Some(dialogue) = dialogue.as_mut().filter(|_| *unprompted > 1 && *cx.peers.seen.at(from.other())) {
                    dialogue.recites(cx);
                }
            }
        });
        *strange < MAX_STRANGE
    }

    pub(super) fn ended(&mut self, from: End, cx: &mut Context<'_>) {
        let Lines { splitters, client, dialogue, .. } = self;
        splitters.at_mut(from).finish(|line| {
            for message in &jsonrpc::parse(line) {
                take_line(client, dialogue, from, message, cx);
            }
        });
    }
}

fn take_line(client: &mut Option<End>, dialogue: &mut Option<Dialogue>, from: End, message: &Message, cx: &mut Context<'_>) {
    // Who is who does not change any more: a file of both sides' words is one side's.
    let Some(client) = client.or_else(|| speaker(message, from)).inspect(|known| *client = Some(*known)) else { return };
    let dialogue = dialogue.get_or_insert_with(|| {
        let mut new = Dialogue::new(cx.peers.endpoint(client.other()), cx.peers.endpoint(client).address);
        new.transport = Some(Transport::RawTcp);
        // Joined later, or only one side is in the capture: questions may have been missed.
        new.unheard = cx.peers.opener.is_none() || !*cx.peers.seen.at(client);
        new
    });
    dialogue.taken = Some(*cx.peers.taken.at(client.other()));
    dialogue.says(from == client, message, cx);
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
