//! One client and one server in JSON-RPC, whatever carries it: questions are remembered, answers are judged by them.

use super::{
    STATELESS,
    methods::{Family, family},
    progress::Said,
    series::Series,
    shapes::{self, Told},
    world::{Asked, World},
};
use crate::{
    dissect::jsonrpc::{Id, Message},
    moment::Moment,
};
use rules::{
    endpoint::{Endpoint, Place},
    evidence::{Auth, Client, Facts, Implementation, Transport},
};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};

/// Open questions of one dialogue; the oldest make room.
const MAX_OPEN: usize = 64;
const MAX_HELD: usize = 16;

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
    /// The client's side speaks MCP, by more than an `Accept` header.
    pub mcp: bool,
    /// The client accepts what MCP requires it to accept, or shook hands here.
    pub at_home: bool,
    /// The server began its stream with an address for messages.
    pub offered: bool,
    /// Not everything the client said is in the capture.
    pub unheard: bool,
    /// The client names a revision in the head of its request: of a revision with `initialize`, the one that the server chose.
    pub versioned: bool,
    /// `Mcp-Method` of the request.
    pub headed: Option<String>,
    /// Where only the two speak on a connection: bytes of the server's that the client has confirmed.
    pub taken: Option<u32>,
    software: Option<Implementation>,
    open: Vec<Call>,
    /// Signatures of the client's side. They are told when the server turns out to speak MCP, or cannot be heard.
    held: Vec<(&'static str, String)>,
    proven: bool,
    /// The server went along with what the client said: its revision is the one in use.
    agreed: bool,
    /// The server said what only a client says: an echo, or a conversation told by another. What it says unasked counts no more.
    recited: bool,
    /// A question of this client's was answered.
    conversed: bool,
    /// Messages of the client only MCP has, that ask for no answer.
    notices: u32,
    questions: u32,
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
            mcp: false,
            at_home: false,
            offered: false,
            unheard: false,
            versioned: false,
            headed: None,
            taken: None,
            software: None,
            open: Vec::new(),
            held: Vec::new(),
            proven: false,
            agreed: false,
            recited: false,
            conversed: false,
            notices: 0,
            questions: 0,
        }
    }

    /// The server took what it was sent.
    pub fn agree(&mut self) {
        self.agreed = true;
    }

    /// Who goes on where it is turned away does not look at answers: that it goes on shows nothing.
    pub fn turn_away(&mut self) {
        self.held.retain(|(signature, _)| *signature != "wire.client.established");
    }

    /// The client said only things that ask for no answer, and only MCP has them.
    pub fn only_notices(&self) -> bool {
        self.notices > 0 && self.questions == 0
    }

    pub fn has_questions(&self) -> bool {
        self.questions > 0
    }

    /// A signature of the client's side.
    pub fn client_mark(&mut self, signature: &'static str, detail: &str, at: Moment, world: &mut World) {
        if self.proven {
            let facts = self.facts(&Told::default());
            world.ledger.say(&self.place, signature, detail, at, facts);
        } else if self.held.len() < MAX_HELD && !self.held.iter().any(|(m, d)| *m == signature && d == detail) {
            self.held.push((signature, detail.to_owned()));
        }
    }

    /// A signature of the server's side: from now on the client's signatures count as well.
    pub fn server_mark(&mut self, signature: &'static str, detail: &str, at: Moment, world: &mut World) {
        self.prove(signature, detail, &Told::default(), at, world);
    }

    fn prove(&mut self, signature: &'static str, detail: &str, told: &Told, at: Moment, world: &mut World) {
        let facts = self.facts(told);
        world.ledger.say(&self.place, signature, detail, at, facts);
        self.proven = true;
        self.tell_held(at, world);
    }

    /// The client's next message.
    pub fn asks(&mut self, message: &Message, at: Moment, world: &mut World) {
        let (id, method, params) = match message {
            Message::Request { id, method, params } => (id, method, params),
            // One that answers itself tells a conversation instead of having it.
            Message::Result { id, .. } => return self.recited |= self.open.iter().any(|call| call.ours && call.id == *id),
            Message::Error { .. } => return,
        };
        self.note_meta(params);
        let ours = match family(method) {
            Family::McpClient => {
                self.client_mark("wire.client.method", method, at, world);
                true
            }
            Family::Initialize => self.initialize(params, at, world),
            _ => false,
        };
        self.mcp |= ours;
        match id {
            None => self.notices += u32::from(ours),
            Some(id) => {
                self.questions += 1;
                let tool = (method == "tools/call").then(|| params.get("name").and_then(Value::as_str).map(shapes::short)).flatten();
                let asked = Asked { method: shapes::short(method), tool };
                if ours || self.mcp {
                    world.ask(self.place.endpoint, self.client, self.session, *id, &asked);
                }
                if self.open.len() >= MAX_OPEN {
                    self.open.remove(0);
                    world.lose("questions-forgotten");
                }
                self.open.push(Call { id: *id, asked, ours });
            }
        }
        // A header may have told it already.
        if ours && self.headed.as_deref() != Some(method) {
            self.progress(method, at, world);
        }
    }

    /// How far the client has come, by its next method. Whether it was let in shows in what it goes on with: only the server can have told it.
    pub fn progress(&mut self, method: &str, at: Moment, world: &mut World) {
        let mut known = world.progress(&self.place, self.client);
        let said = Said {
            method,
            session: self.session,
            in_query: self.transport == Some(Transport::HttpSse),
            versioned: self.versioned,
            stateless: self.revision.as_deref().is_some_and(|revision| revision >= STATELESS),
            taken: self.taken,
        };
        if let Some(why) = known.go_on(&said) {
            self.client_mark("wire.client.established", why, at, world);
        }
        world.progressed(&self.place, self.client, known);
    }

    fn initialize(&mut self, params: &Value, at: Moment, world: &mut World) -> bool {
        let revision = params.get("protocolVersion").and_then(Value::as_str).filter(|v| super::is_revision(v));
        let (Some(revision), Some(client)) = (revision, params.get("clientInfo")) else { return false };
        self.software = shapes::implementation(client);
        let name = self.software.as_ref().map_or("a client", |s| s.name.as_str());
        let detail = format!("initialize by {name}, revision {revision}");
        self.client_mark("wire.client.initialize", &detail, at, world);
        self.at_home = true;
        true
    }

    fn note_meta(&mut self, params: &Value) {
        if shapes::has_meta(params) {
            self.mcp = true;
            self.at_home = true;
        }
        if let Some(revision) = shapes::meta(params, "protocolVersion").and_then(Value::as_str).filter(|v| super::is_revision(v)) {
            self.revision = Some(revision.to_owned());
        }
        if let Some(client) = shapes::meta(params, "clientInfo").and_then(shapes::implementation) {
            self.software = Some(client);
        }
    }

    /// The server's next message. With `stored`, the bytes are a file's and prove nothing by their shape.
    pub fn answers(&mut self, message: &Message, framing: Framing, stored: bool, at: Moment, world: &mut World) {
        match message {
            Message::Result { id, result } => self.result(*id, result, framing, stored, at, world),
            Message::Error { id, code, message, data } => {
                let asked = id.and_then(|id| self.take(id, world)).is_some_and(|(call, _)| call.ours);
                let in_session = self.session.is_some() && self.transport != Some(Transport::HttpSse);
                if let Some(signature) = shapes::error(*code, message, data, in_session)
                    .filter(|_| asked || (!self.recited && (self.mcp || (self.unheard && !stored))))
                {
                    self.server_mark(signature, &format!("error {code}: {}", shapes::redacted(message)), at, world);
                }
            }
            Message::Request { method, params, .. } if is_of_client(method, params) && !self.recited => self.recites(at, world),
            Message::Request { id, method, params } if framing == Framing::Stream => self.speaks(*id, method, params, at, world),
            Message::Request { .. } => {}
        }
    }

    /// 202 and nothing in it, to what is not in the capture.
    pub fn accepts(&mut self, world: &mut World) {
        world.gives(self.place.endpoint, self.client, Series::accepted);
    }

    /// Something to read, to what is not in the capture.
    pub fn shows(&mut self, world: &mut World) {
        world.gives(self.place.endpoint, self.client, Series::read);
    }

    /// The server says what only clients say, or what nobody asked. If it was believed for what it said unasked, that is withdrawn; answers
    /// stand.
    pub fn recites(&mut self, at: Moment, world: &mut World) {
        self.recited = true;
        if self.proven && !self.conversed {
            let facts = self.facts(&Told::default());
            let detail = "says both sides of a conversation: a recording or an echo";
            world.ledger.say(&self.place, "wire.server.against-jsonrpc", detail, at, facts);
        }
    }

    fn result(&mut self, id: Id, result: &Value, framing: Framing, stored: bool, at: Moment, world: &mut World) {
        let taken = self.take(id, world);
        let own = taken.as_ref().is_some_and(|(_, own)| *own);
        let unheard = self.unheard && !stored && !self.recited;
        match taken {
            Some((call, _)) => match shapes::answer(&call.asked.method, result) {
                Ok(told) if call.ours => self.good_answer(&call, told, result, at, world),
                Ok(_) => {}
                // Programs count their questions alike: one asked elsewhere, or one that is missing here, may have had this id too.
                Err(()) if unheard || !own => self.unasked(id, result, framing, unheard, at, world),
                Err(()) if self.mcp && world.ledger.proven(&self.place) => {
                    let detail = format!("another answer to {} than MCP's", call.asked.method);
                    let facts = self.facts(&Told::default());
                    world.ledger.say(&self.place, "wire.server.against-jsonrpc", &detail, at, facts);
                }
                Err(()) => {}
            },
            None => self.unasked(id, result, framing, unheard, at, world),
        }
    }

    /// What the server's next message begins with. That the rest is missing speaks neither for nor against.
    pub fn begins(&mut self, message: &Message, framing: Framing, stored: bool, at: Moment, world: &mut World) {
        let Message::Result { id, result } = message else { return };
        let told = shapes::shape(result);
        match self.take(*id, world) {
            Some((call, _)) if call.ours && told.signature.is_some_and(|signature| shapes::fits(&call.asked.method, signature)) => {
                self.good_answer(&call, told, result, at, world);
            }
            _ if stored || self.recited || !self.unheard => {}
            _ if told.signature.is_none() && shapes::welcomes(result) => {
                self.agreed = true;
                let what = "the beginning of an answer to initialize";
                self.server_mark("wire.server.unasked-result", what, at, world);
            }
            _ => self.unasked(*id, result, framing, true, at, world),
        }
    }

    /// An answer to nothing that was seen: where a question can have been missed, its shape tells.
    fn unasked(&mut self, id: Id, result: &Value, framing: Framing, unheard: bool, at: Moment, world: &mut World) {
        if !unheard {
            return world.lose("answer-without-question");
        }
        let told = shapes::shape(result);
        self.agreed = true;
        if let Some(signature) = told.signature.filter(|m| *m != "wire.server.result-type") {
            // A whole body may also be the text of an answer that was fetched: it takes a second sign.
            let certain = framing == Framing::Stream || self.mcp || world.ledger.proven(&self.place);
            let what = describe(&told, "an answer whose question was not seen");
            self.prove(if certain { signature } else { "wire.server.unasked-result" }, &what, &told, at, world);
            if !certain && world.gives(self.place.endpoint, self.client, |series| series.answered(id)).is_conversation() {
                self.server_mark("wire.server.unasked-series", "answers one client as a conversation goes", at, world);
            }
        }
    }

    fn good_answer(&mut self, call: &Call, mut told: Told, result: &Value, at: Moment, world: &mut World) {
        if told.signature == Some("wire.server.initialize-result") {
            self.revision = told.revisions.first().cloned();
        }
        self.agreed |= told.signature.is_some();
        self.conversed |= told.signature.is_some();
        if self.agreed {
            self.stop_waiting(world);
        }
        told.tools.extend(call.asked.tool.clone());
        let detail = describe(&told, &format!("an answer to {}", call.asked.method));
        match told.signature {
            // An empty list says little, unless the two have MCP in common already.
            Some("wire.server.answered") if !self.at_home => {}
            Some(signature) => self.prove(signature, &detail, &told, at, world),
            None => {}
        }
        if self.offered && told.signature.is_some() {
            self.server_mark("wire.server.endpoint-event", "answers on its stream what was asked at the address it gave there", at, world);
        }
        if shapes::has_server_meta(result) && told.signature != Some("wire.server.meta") {
            self.prove("wire.server.meta", &detail, &told, at, world);
        }
    }

    /// The server speaks by itself.
    fn speaks(&mut self, id: Option<Id>, method: &str, params: &Value, at: Moment, world: &mut World) {
        let expected = self.mcp || self.unheard || self.transport == Some(Transport::HttpSse) || world.ledger.proven(&self.place);
        let progress = method == "notifications/progress" && params.get("progressToken").is_some() && params.get("progress").is_some();
        if !expected || self.recited || !(family(method) == Family::McpServer || progress) {
            return;
        }
        // Others have methods of these names; where no more is known than that something was missed, the parameters must be MCP's.
        let known = self.mcp || self.transport == Some(Transport::HttpSse) || world.ledger.proven(&self.place);
        if !known && !shapes::speaks(method, params) {
            return;
        }
        self.agreed = true;
        let signature = match id {
            Some(_) => "wire.server.request",
            None => "wire.server.notification",
        };
        self.server_mark(signature, method, at, world);
        if shapes::has_server_meta(params) {
            self.server_mark("wire.server.meta", method, at, world);
        }
    }

    /// The question `id` answers, and whether it was asked here.
    fn take(&mut self, id: Id, world: &World) -> Option<(Call, bool)> {
        let alike = || self.open.iter().position(|call| call.id.alike == id.alike);
        if let Some(at) = self.open.iter().position(|call| call.id == id).or_else(alike) {
            return Some((self.open.remove(at), true));
        }
        let asked = world.asked(self.place.endpoint, self.client, self.session, id)?;
        Some((Call { id, asked: asked.clone(), ours: true }, false))
    }

    /// The attempt is over: signatures of the client's side are told, or dropped with a refusal that says nothing of MCP.
    pub fn conclude(&mut self, outcome: Outcome, at: Moment, world: &mut World) {
        if self.recited {
            self.held.clear();
        }
        if self.held.is_empty() {
            return;
        }
        let tell = match outcome {
            _ if world.ledger.proven(&self.place) => true,
            Outcome::Answered if self.transport == Some(Transport::HttpSse) => return self.wait(world),
            Outcome::Challenged if self.mcp => {
                let facts = self.facts(&Told::default());
                world.ledger.say(&self.place, "wire.server.auth-gate", "asks an MCP client for credentials", at, facts);
                true
            }
            Outcome::Unreadable if self.mcp => {
                // Whether it was accepted would be in what could not be read.
                self.held.retain(|(signature, _)| *signature != "wire.client.established");
                let facts = self.facts(&Told::default());
                world.ledger.say(&self.place, "wire.context.truncated", "an answer to an MCP client that could not be read", at, facts);
                true
            }
            Outcome::Unseen => {
                self.agreed = true;
                self.mcp
            }
            _ => false,
        };
        if tell {
            self.tell_held(at, world);
        } else {
            self.held.clear();
        }
    }

    /// The message was taken; the answer is to come on the stream of its session.
    fn wait(&mut self, world: &mut World) {
        let held = std::mem::take(&mut self.held);
        let server = self.place.endpoint;
        let Some(session) = self.session else { return };
        let Some(mut stream) = world.take_waiting(server, session) else { return };
        stream.waiting.extend(held);
        stream.waiting.truncate(MAX_HELD);
        stream.software = self.software.clone().or(stream.software);
        world.stream_opened(server, session, stream);
    }

    /// What waited for this stream to speak.
    fn stop_waiting(&mut self, world: &mut World) {
        let stream = self.session.filter(|_| self.offered).and_then(|session| world.take_waiting(self.place.endpoint, session));
        if let Some(stream) = stream {
            self.held.extend(stream.waiting);
            self.software = stream.software.or(self.software.take());
        }
    }

    fn tell_held(&mut self, at: Moment, world: &mut World) {
        for (signature, detail) in std::mem::take(&mut self.held) {
            let facts = self.facts(&Told::default());
            world.ledger.say(&self.place, signature, &detail, at, facts);
        }
    }

    fn facts(&self, told: &Told) -> Facts {
        // What a client offers and a server refuses is not what the server speaks.
        let agreed = self.revision.as_ref().filter(|_| self.agreed);
        let revisions: BTreeSet<String> = told.revisions.iter().chain(agreed).cloned().collect();
        let transport = match self.transport {
            Some(Transport::StreamableHttp) if !self.agreed => None,
            Some(Transport::StreamableHttp) if agreed.is_some_and(|r| r.as_str() >= STATELESS) => Some(Transport::StatelessHttp),
            other => other,
        };
        Facts {
            transport,
            revisions,
            auth: Some(self.auth.unwrap_or(Auth::None)),
            tls: Some(false),
            server_info: told.server.clone(),
            tools: told.tools.clone(),
            client: Some(Client { address: self.client, software: self.software.clone() }),
            ..Facts::default()
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

fn describe(told: &Told, what: &str) -> String {
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
