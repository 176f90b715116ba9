//! The server's side of a dialogue: answers to questions, answers to nothing that was seen, and what it says by itself.

use super::{Call, Dialogue, Framing};
use crate::dissect::{
    Context,
    jsonrpc::{Id, Message},
    mcp::{
        methods::{Family, family},
        series::Series,
        shapes::{self, ResultFacts},
    },
};
use rules::evidence::Transport;
use serde_json::Value;

impl Dialogue {
    /// The server's next message. With `stored`, the bytes are a file's and prove nothing by their shape.
    pub fn answers(&mut self, message: &Message, framing: Framing, stored: bool, cx: &mut Context<'_>) {
        match message {
            Message::Result { id, result } => self.result(*id, result, framing, stored, cx),
            Message::Error { id, code, message, data } => {
                let asked = id.and_then(|id| self.take(id, cx)).is_some_and(|(call, _)| call.ours);
                let in_session = self.session.is_some() && self.transport != Some(Transport::HttpSse);
                if let Some(signature) = shapes::error(*code, message, data, in_session)
                    .filter(|_| asked || (!self.server_side.recited && (self.client_side.mcp || (self.unheard && !stored))))
                {
                    self.server_mark(signature, &format!("error {code}: {}", shapes::redacted(message)), cx);
                }
            }
            Message::Request { method, params, .. } if is_of_client(method, params) && !self.server_side.recited => self.recites(cx),
            Message::Request { id, method, params } if framing == Framing::Stream => self.speaks(*id, method, params, cx),
            Message::Request { .. } => {}
        }
    }

    /// 202 and nothing in it, to what is not in the capture.
    pub fn accepts(&mut self, cx: &mut Context<'_>) {
        cx.world.gives(self.place.endpoint, self.client, Series::accepted);
    }

    /// Something to read, to what is not in the capture.
    pub fn shows(&mut self, cx: &mut Context<'_>) {
        cx.world.gives(self.place.endpoint, self.client, Series::read);
    }

    /// The server says what only clients say, or what nobody asked. If it was believed for what it said unasked, that is withdrawn; answers
    /// stand.
    pub fn recites(&mut self, cx: &mut Context<'_>) {
        self.server_side.recited = true;
        if self.server_side.proven && !self.server_side.conversed {
            let facts = self.facts(&ResultFacts::default());
            let detail = "says both sides of a conversation: a recording or an echo";
            cx.world.ledger.say(&self.place, "wire.server.against-jsonrpc", detail, cx.now, facts);
        }
    }

    pub(super) fn result(&mut self, id: Id, result: &Value, framing: Framing, stored: bool, cx: &mut Context<'_>) {
        let taken = self.take(id, cx);
        let own = taken.as_ref().is_some_and(|(_, own)| *own);
        let unheard = self.unheard && !stored && !self.server_side.recited;
        match taken {
            Some((call, _)) => match shapes::answer(&call.asked.method, result) {
                Ok(told) if call.ours => self.good_answer(&call, told, result, cx),
                Ok(_) => {}
                // Programs count their questions alike: one asked elsewhere, or one that is missing here, may have had this id too.
                Err(()) if unheard || !own => self.unasked(id, result, framing, unheard, cx),
                Err(()) if self.client_side.mcp && cx.world.ledger.proven(&self.place) => {
                    let detail = format!("another answer to {} than MCP's", call.asked.method);
                    let facts = self.facts(&ResultFacts::default());
                    cx.world.ledger.say(&self.place, "wire.server.against-jsonrpc", &detail, cx.now, facts);
                }
                Err(()) => {}
            },
            None => self.unasked(id, result, framing, unheard, cx),
        }
    }

    /// What the server's next message begins with. That the rest is missing speaks neither for nor against.
    pub fn begins(&mut self, message: &Message, framing: Framing, stored: bool, cx: &mut Context<'_>) {
        let Message::Result { id, result } = message else { return };
        let told = shapes::shape(result);
        match self.take(*id, cx) {
            Some((call, _)) if call.ours && told.signature.is_some_and(|signature| shapes::fits(&call.asked.method, signature)) => {
                self.good_answer(&call, told, result, cx);
            }
            _ if stored || self.server_side.recited || !self.unheard => {}
            _ if told.signature.is_none() && shapes::welcomes(result) => {
                self.server_side.agreed = true;
                let what = "the beginning of an answer to initialize";
                self.server_mark("wire.server.unasked-result", what, cx);
            }
            _ => self.unasked(*id, result, framing, true, cx),
        }
    }

    /// An answer to nothing that was seen: where a question can have been missed, its shape tells.
    pub(super) fn unasked(&mut self, id: Id, result: &Value, framing: Framing, unheard: bool, cx: &mut Context<'_>) {
        if !unheard {
            return cx.world.lose("answer-without-question");
        }
        let told = shapes::shape(result);
        self.server_side.agreed = true;
        if let Some(signature) = told.signature.filter(|m| *m != "wire.server.result-type") {
            // A whole body may also be the text of an answer that was fetched: it takes a second sign.
            let certain = framing == Framing::Stream || self.client_side.mcp || cx.world.ledger.proven(&self.place);
            let what = describe(&told, "an answer whose question was not seen");
            self.prove(if certain { signature } else { "wire.server.unasked-result" }, &what, &told, cx);
            if !certain && cx.world.gives(self.place.endpoint, self.client, |series| series.answered(id)).is_conversation() {
                self.server_mark("wire.server.unasked-series", "answers one client as a conversation goes", cx);
            }
        }
    }

    pub(super) fn good_answer(&mut self, call: &Call, mut told: ResultFacts, result: &Value, cx: &mut Context<'_>) {
        if told.signature == Some("wire.server.initialize-result") {
            self.revision = told.revisions.first().cloned();
        }
        self.server_side.agreed |= told.signature.is_some();
        self.server_side.conversed |= told.signature.is_some();
        if self.server_side.agreed {
            self.stop_waiting(cx);
        }
        told.tools.extend(call.asked.tool.clone());
        let detail = describe(&told, &format!("an answer to {}", call.asked.method));
        match told.signature {
            // An empty list says little, unless the two have MCP in common already.
            Some("wire.server.answered") if !self.client_side.at_home => {}
            Some(signature) => self.prove(signature, &detail, &told, cx),
            None => {}
        }
        if self.server_side.offered && told.signature.is_some() {
            self.server_mark("wire.server.endpoint-event", "answers on its stream what was asked at the address it gave there", cx);
        }
        if shapes::has_server_meta(result) && told.signature != Some("wire.server.meta") {
            self.prove("wire.server.meta", &detail, &told, cx);
        }
    }

    /// The server speaks by itself.
    pub(super) fn speaks(&mut self, id: Option<Id>, method: &str, params: &Value, cx: &mut Context<'_>) {
        let expected =
            self.client_side.mcp || self.unheard || self.transport == Some(Transport::HttpSse) || cx.world.ledger.proven(&self.place);
        let progress = method == "notifications/progress" && params.get("progressToken").is_some() && params.get("progress").is_some();
        if !expected || self.server_side.recited || !(family(method) == Family::McpServer || progress) {
            return;
        }
        // Others have methods of these names; where no more is known than that something was missed, the parameters must be MCP's.
        let known = self.client_side.mcp || self.transport == Some(Transport::HttpSse) || cx.world.ledger.proven(&self.place);
        if !known && !shapes::speaks(method, params) {
            return;
        }
        self.server_side.agreed = true;
        let signature = match id {
            Some(_) => "wire.server.request",
            None => "wire.server.notification",
        };
        self.server_mark(signature, method, cx);
        if shapes::has_server_meta(params) {
            self.server_mark("wire.server.meta", method, cx);
        }
    }
}

/// What no server sends.
fn is_of_client(method: &str, params: &Value) -> bool {
    match family(method) {
        Family::McpClient => true,
        Family::Initialize => params.get("protocolVersion").is_some() && params.get("clientInfo").is_some(),
        _ => false,
    }
}

fn describe(told: &ResultFacts, what: &str) -> String {
    let mut text = what.to_owned();
    if let Some(server) = &told.server {
        text.push_str(&format!(" by {} {}", server.name, server.version.as_deref().unwrap_or_default()));
    }
    for revision in told.revisions.iter().take(5) {
        text.push_str(&format!(", {revision}"));
    }
    if !told.tools.is_empty() {
        let names: Vec<&str> = told.tools.iter().take(5).map(String::as_str).collect();
        text.push_str(&format!(", tools {}", names.join(" ")));
    }
    text.trim_end().to_owned()
}
