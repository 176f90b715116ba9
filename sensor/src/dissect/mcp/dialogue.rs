//! One client and one server in JSON-RPC, whatever carries it: questions are remembered, answers are judged by them.

use super::{
    STATELESS,
    methods::{Family, family},
    progress::ClientStep,
    shapes::{self, ResultFacts},
    world::Asked,
};
use crate::dissect::{
    Context,
    jsonrpc::{Id, Message},
};
use rules::{
    endpoint::{Endpoint, Place},
    evidence::{Auth, Implementation, Transport},
};
use serde_json::Value;
use std::net::IpAddr;

mod answers;
mod conclusion;

/// Open questions of one dialogue; the oldest make room.
const MAX_OPEN: usize = 64;
const MAX_PENDING: usize = 16;

/// What carried a message of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The whole body of a response: it can only be an answer.
    Body,
    /// An event of a stream, a WebSocket message, a line: the server may also speak by itself.
    Stream,
}

/// How an attempt of a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// An answer came, but could not be read.
    Unreadable,
    Refused,
    /// Refused for lack of credentials.
    Challenged,
    /// The server's side is not in the capture.
    Unseen,
}

#[derive(Debug)]
struct Call {
    id: Id,
    asked: Asked,
    /// The method is one only MCP has, or `initialize` as MCP means it.
    ours: bool,
}

#[derive(Debug)]
pub struct Dialogue {
    pub place: Place,
    pub client: IpAddr,
    pub transport: Option<Transport>,
    pub auth: Option<Auth>,
    pub revision: Option<String>,
    /// A digest of the session, where there is one.
    pub session: Option<u64>,
    /// Not everything the client said is in the capture.
    pub unheard: bool,
    /// Where only the two speak on a connection: bytes of the server's that the client has confirmed.
    pub taken: Option<u32>,
    pub client_side: ClientSide,
    pub server_side: ServerSide,
    open: Vec<Call>,
    /// Signatures of the client's side. They are told when the server turns out to speak MCP, or cannot be heard.
    pending: Vec<(&'static str, String)>,
}

/// Everything the client's messages show.
#[derive(Debug, Default)]
pub struct ClientSide {
    /// It speaks MCP, by more than an `Accept` header.
    pub mcp: bool,
    /// It accepts what MCP requires it to accept, or shook hands here.
    pub at_home: bool,
    /// It names a revision in the head of its request: of a revision with `initialize`, the one that the server chose.
    pub versioned: bool,
    /// `Mcp-Method` of the request.
    pub headed: Option<String>,
    software: Option<Implementation>,
    /// Messages only MCP has, that ask for no answer.
    notices: u32,
    questions: u32,
}

/// Everything the server's messages show.
#[derive(Debug, Default)]
pub struct ServerSide {
    /// It began its stream with an address for messages.
    pub offered: bool,
    /// A signature of its own side was told.
    proven: bool,
    /// It went along with what the client said: the client's revision is the one in use.
    agreed: bool,
    /// It said what only a client says: an echo, or a conversation told by another. What it says unasked counts no more.
    recited: bool,
    /// It answered a question of this client's.
    conversed: bool,
}

impl Dialogue {
    pub fn new(server: Endpoint, client: IpAddr) -> Dialogue {
        Dialogue {
            place: Place::new(server),
            client,
            transport: None,
            auth: None,
            revision: None,
            session: None,
            unheard: false,
            taken: None,
            client_side: ClientSide::default(),
            server_side: ServerSide::default(),
            open: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// The server took what it was sent.
    pub fn agree(&mut self) {
        self.server_side.agreed = true;
    }

    /// Who goes on where it is turned away does not look at answers: that it goes on shows nothing.
    pub fn turn_away(&mut self) {
        self.pending.retain(|(signature, _)| *signature != "wire.client.established");
    }

    /// The client said only things that ask for no answer, and only MCP has them.
    pub fn only_notices(&self) -> bool {
        self.client_side.notices > 0 && self.client_side.questions == 0
    }

    pub fn has_questions(&self) -> bool {
        self.client_side.questions > 0
    }

    /// A signature of the client's side.
    pub fn client_mark(&mut self, signature: &'static str, detail: &str, cx: &mut Context<'_>) {
        if self.server_side.proven {
            let facts = self.facts(&ResultFacts::default());
            cx.world.ledger.say(&self.place, signature, detail, cx.now, facts);
        } else if self.pending.len() < MAX_PENDING && !self.pending.iter().any(|(m, d)| *m == signature && d == detail) {
            self.pending.push((signature, detail.to_owned()));
        }
    }

    /// A signature of the server's side: from now on the client's signatures count as well.
    pub fn server_mark(&mut self, signature: &'static str, detail: &str, cx: &mut Context<'_>) {
        self.prove(signature, detail, &ResultFacts::default(), cx);
    }

    fn prove(&mut self, signature: &'static str, detail: &str, told: &ResultFacts, cx: &mut Context<'_>) {
        let facts = self.facts(told);
        cx.world.ledger.say(&self.place, signature, detail, cx.now, facts);
        self.server_side.proven = true;
        self.tell_pending(cx);
    }

    /// The next message of a stream that both sides write to.
    pub fn says(&mut self, by_client: bool, message: &Message, cx: &mut Context<'_>) {
        if by_client {
            self.asks(message, cx);
        } else {
            self.answers(message, Framing::Stream, false, cx);
        }
    }

    /// The client's next message.
    pub fn asks(&mut self, message: &Message, cx: &mut Context<'_>) {
        let (id, method, params) = match message {
            Message::Request { id, method, params } => (id, method, params),
            // One that answers itself tells a conversation instead of having it.
            Message::Result { id, .. } => return self.server_side.recited |= self.open.iter().any(|call| call.ours && call.id == *id),
            Message::Error { .. } => return,
        };
        self.note_meta(params);
        let ours = match family(method) {
            Family::McpClient => {
                self.client_mark("wire.client.method", method, cx);
                true
            }
            Family::Initialize => self.initialize(params, cx),
            _ => false,
        };
        self.client_side.mcp |= ours;
        match id {
            None => self.client_side.notices += u32::from(ours),
            Some(id) => {
                self.client_side.questions += 1;
                let tool = (method == "tools/call").then(|| params.get("name").and_then(Value::as_str).map(shapes::short)).flatten();
                let asked = Asked { method: shapes::short(method), tool };
                if ours || self.client_side.mcp {
                    cx.world.ask(self.place.endpoint, self.client, self.session, *id, &asked);
                }
                if self.open.len() >= MAX_OPEN {
                    self.open.remove(0);
                    cx.world.lose("questions-forgotten");
                }
                self.open.push(Call { id: *id, asked, ours });
            }
        }
        // A header may have told it already.
        if ours && self.client_side.headed.as_deref() != Some(method) {
            self.progress(method, cx);
        }
    }

    /// How far the client has come, by its next method. Whether it was let in shows in what it goes on with: only the server can have told it.
    pub fn progress(&mut self, method: &str, cx: &mut Context<'_>) {
        let mut known = cx.world.progress(&self.place, self.client);
        let said = ClientStep {
            method,
            session: self.session,
            in_query: self.transport == Some(Transport::HttpSse),
            versioned: self.client_side.versioned,
            stateless: self.revision.as_deref().is_some_and(|revision| revision >= STATELESS),
            taken: self.taken,
        };
        if let Some(why) = known.go_on(&said) {
            self.client_mark("wire.client.established", why, cx);
        }
        cx.world.progressed(&self.place, self.client, known);
    }

    fn initialize(&mut self, params: &Value, cx: &mut Context<'_>) -> bool {
        let revision = params.get("protocolVersion").and_then(Value::as_str).filter(|v| super::is_revision(v));
        let (Some(revision), Some(client)) = (revision, params.get("clientInfo")) else { return false };
        self.client_side.software = shapes::implementation(client);
        let name = self.client_side.software.as_ref().map_or("a client", |s| s.name.as_str());
        let detail = format!("initialize by {name}, revision {revision}");
        self.client_mark("wire.client.initialize", &detail, cx);
        self.client_side.at_home = true;
        true
    }

    fn note_meta(&mut self, params: &Value) {
        if shapes::has_meta(params) {
            self.client_side.mcp = true;
            self.client_side.at_home = true;
        }
        if let Some(revision) = shapes::meta(params, "protocolVersion").and_then(Value::as_str).filter(|v| super::is_revision(v)) {
            self.revision = Some(revision.to_owned());
        }
        if let Some(client) = shapes::meta(params, "clientInfo").and_then(shapes::implementation) {
            self.client_side.software = Some(client);
        }
    }

    /// The question `id` answers, and whether it was asked here.
    fn take(&mut self, id: Id, cx: &Context<'_>) -> Option<(Call, bool)> {
        let alike = || self.open.iter().position(|call| call.id.alike == id.alike);
        if let Some(at) = self.open.iter().position(|call| call.id == id).or_else(alike) {
            return Some((self.open.remove(at), true));
        }
        let asked = cx.world.asked(self.place.endpoint, self.client, self.session, id)?;
        Some((Call { id, asked: asked.clone(), ours: true }, false))
    }
}
