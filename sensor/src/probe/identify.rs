//! The interrogation of one endpoint: which question next, given the answers so far. Pure; time and chance are arguments.
//!
//! Gentle questions first. A usual path of a modern server takes two requests: `server/discover` and the negative control.
//! The one question that can hurt, `GET` of an event stream (a server-everything of early 2025 ends itself when an SSE
//! client hangs up, and also when anybody posts to `/message` before one came), is asked last, and not at all of a server
//! that looks like that one: there `OPTIONS`, which runs no handler, shows the routes.

use super::{
    answer::{Outcome, TlsFacts},
    question::{Ask, Question, host_header, safe_host, safe_target},
    reading::{Kind, Reading, Sign, read},
};
use rules::{
    Timestamp,
    endpoint::{Endpoint, Place},
    evidence::{Auth, Evidence, Facts, Transport, Witness},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// What somebody else already knows about an endpoint: passive traffic, a client's configuration, the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// A name for `Host` and SNI.
    pub host: Option<String>,
    /// Asked before the usual paths.
    pub paths: Vec<String>,
    pub tls: Option<bool>,
    /// Somebody says there is an MCP server here: counter-evidence and absence are then worth reporting.
    pub nominated: bool,
}

/// How far an interrogation may go.
#[derive(Clone, Debug)]
pub struct Manner {
    pub paths: Arc<[String]>,
    /// Ask `GET` for an event stream where gentler questions left it open.
    pub legacy_get: bool,
    /// Send the negative control under a `Host` that is not the server's, to learn whether it checks.
    pub foreign_host: bool,
    /// Questions per endpoint, but for the ending of sessions.
    pub max_questions: u16,
}

/// Paths MCP servers are found on, most likely first: SDK defaults, bridges, Java, gradio, Home Assistant.
pub const USUAL_PATHS: [&str; 14] = [
    "/mcp",
    "/sse",
    "/",
    "/mcp/",
    "/api/mcp",
    "/v1/mcp",
    "/mcp/sse",
    "/api/mcp/",
    "/mcp/v1",
    "/api/v1/mcp",
    "/gradio_api/mcp/",
    "/mcp/message",
    "/mcp_server/sse",
    "/api/sse",
];

impl Default for Manner {
    fn default() -> Self {
        let paths = USUAL_PATHS.iter().map(|p| (*p).to_owned()).collect();
        Manner { paths, legacy_get: true, foreign_host: true, max_questions: 32 }
    }
}

/// The name of the negative control's `Host` (RFC 2606: it exists nowhere).
const FOREIGN: &str = "gnomon-control.invalid";
const MAX_HOPS: u8 = 3;
/// Ports that usually speak TLS; the other way is tried when this one fails.
const TLS_FIRST: [u16; 5] = [443, 4443, 8443, 9443, 10443];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Todo {
    ask: Ask,
    path: String,
    /// Instead of the usual name.
    host: Option<String>,
    hops: u8,
}

/// What the server runs on, as far as it changes what is gentle.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    express: bool,
    cors: bool,
    /// A 404 to POST means that no method has this route.
    absent_is_absent: bool,
}

#[derive(Debug)]
pub struct Interrogation {
    endpoint: Endpoint,
    hint: Hint,
    manner: Manner,
    seed: u64,
    tls: bool,
    switched: bool,
    /// An HTTP answer came, in the scheme in use.
    spoke_http: bool,
    todo: VecDeque<Todo>,
    current: Option<Todo>,
    traits: Traits,
    asked: u16,
    silent: u8,
    other_rpc: u8,
    gates: BTreeSet<String>,
    localhost_tried: bool,
    /// A stream route that takes GET only.
    get_only: Option<String>,
    signs: Vec<(String, Sign)>,
    certificate: Option<TlsFacts>,
    reached: bool,
    absent: bool,
    waited: bool,
    pause: bool,
    sessions: (u16, u16),
}

impl Interrogation {
    pub fn new(endpoint: Endpoint, hint: Hint, manner: Manner, seed: u64) -> Interrogation {
        let tls = hint.tls.unwrap_or(TLS_FIRST.contains(&endpoint.port));
        let mut todo = VecDeque::new();
        let mut seen = BTreeSet::new();
        for path in hint.paths.iter().take(8).chain(manner.paths.iter()) {
            if let Some(path) = safe_target(path)
                && seen.insert(path.clone())
            {
                todo.push_back(Todo { ask: Ask::Discover, path, host: None, hops: 0 });
            }
        }
        Interrogation {
            endpoint,
            hint,
            manner,
            seed,
            tls,
            switched: false,
            spoke_http: false,
            todo,
            current: None,
            traits: Traits::default(),
            asked: 0,
            silent: 0,
            other_rpc: 0,
            gates: BTreeSet::new(),
            localhost_tried: false,
            get_only: None,
            signs: Vec::new(),
            certificate: None,
            reached: false,
            absent: false,
            waited: false,
            pause: false,
            sessions: (0, 0),
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The next question, or `None` when there is nothing left to learn.
    pub fn next_question(&mut self) -> Option<Question> {
        loop {
            let todo = self.todo.pop_front()?;
            let ends_session = matches!(todo.ask, Ask::EndSession(_));
            if self.asked >= self.manner.max_questions && !ends_session {
                continue;
            }
            self.asked = self.asked.saturating_add(1);
            let nonce = format!("gnomon-{:x}-{}", self.seed & 0xffff_ffff, self.asked);
            let name = self.name();
            let host = match &todo.host {
                Some(host) => host_header(Some(host), self.endpoint, self.tls),
                None => host_header(name.as_deref(), self.endpoint, self.tls),
            };
            let server_name = name.filter(|n| n != "localhost");
            let (path, ask) = (todo.path.clone(), todo.ask.clone());
            self.current = Some(todo);
            return Some(Question { endpoint: self.endpoint, tls: self.tls, server_name, host, path, ask, nonce });
        }
    }

    fn name(&self) -> Option<String> {
        let hinted = self.hint.host.as_deref().and_then(safe_host);
        hinted.or_else(|| self.endpoint.address.is_loopback().then(|| "localhost".to_owned()))
    }

    /// The answer to the question last given.
    pub fn absorb(&mut self, question: &Question, outcome: &Outcome) {
        let Some(todo) = self.current.take() else { return };
        let foreign = todo.host.as_deref() == Some(FOREIGN);
        let Reading { signs, kind, session } = read(question, outcome, foreign);
        self.notice(outcome);
        for sign in signs {
            // A message endpoint is known by its stream.
            let stream = self.get_only.clone().filter(|_| sign.mark == "probe.server.message-refusal");
            self.signs.push((stream.unwrap_or_else(|| todo.path.clone()), sign));
        }
        if matches!(todo.ask, Ask::EndSession(_)) {
            // 404: it is gone already.
            let ended = matches!(outcome, Outcome::Answer(a) if matches!(a.head.status, 200..=299 | 404));
            self.sessions.1 = self.sessions.1.saturating_add(u16::from(ended));
            return;
        }
        self.go_on(&todo, kind, foreign, outcome);
        if let Some(session) = session {
            self.sessions.0 = self.sessions.0.saturating_add(1);
            self.first(Ask::EndSession(session), &todo.path, todo.host.clone());
        }
    }

    fn go_on(&mut self, todo: &Todo, kind: Kind, foreign: bool, outcome: &Outcome) {
        match kind {
            Kind::Good => self.good(todo),
            Kind::TryInitialize => self.first(Ask::Initialize, &todo.path, todo.host.clone()),
            Kind::Legacy => self.legacy(&todo.path),
            Kind::Nonsense | Kind::Busy | Kind::Abusive | Kind::NotHttp | Kind::WantsCertificate => self.drop_rest(),
            Kind::ParsesJson => self.stream_after_routes(),
            Kind::OtherRpc => self.other_rpc(),
            Kind::Gate(metadata) => self.gate(todo, metadata.as_deref()),
            Kind::HostGuard if foreign => self.first(Ask::Control, &todo.path, None),
            Kind::HostGuard => self.host_guard(todo),
            Kind::Redirect(location, keeps_method) => self.redirect(todo, &location, keeps_method),
            Kind::Routes(allow) => self.routes(todo, &allow),
            Kind::NotFound => self.not_found(todo),
            Kind::Page if todo.ask == Ask::Discover => self.maybe_stream(&todo.path),
            Kind::Page | Kind::Refused => {}
            Kind::WantsTls if matches!(outcome, Outcome::Answer(_)) => {
                self.spoke_http = false;
                self.other_scheme(todo, false);
            }
            Kind::WantsTls | Kind::TlsFailed => self.other_scheme(todo, kind == Kind::TlsFailed),
            Kind::Silent => {
                self.silent = self.silent.saturating_add(1);
                if self.silent >= 2 {
                    self.drop_rest();
                }
            }
            // It answered before: it may be starting again. The question was not heard, so asking it once more harms nothing.
            Kind::Gone if self.reached && !self.waited => {
                self.waited = true;
                self.pause = true;
                self.todo.push_front(todo.clone());
            }
            Kind::Gone => {
                self.absent = !self.reached;
                self.drop_rest();
            }
        }
    }

    /// What the answer shows about the server beside the question.
    fn notice(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Answer(answer) => {
                self.reached = true;
                self.spoke_http = true;
                let head = &answer.head;
                let text = String::from_utf8_lossy(answer.body.get(..512).unwrap_or(&answer.body)).into_owned();
                let express = head.get("x-powered-by").is_some_and(|v| v.eq_ignore_ascii_case("express"));
                self.traits.express |= express || (head.status == 404 && text.contains("<pre>Cannot POST /"));
                self.traits.cors |= head.get("access-control-allow-origin").is_some();
                let starlette = head.get("server") == Some("uvicorn") || text == r#"{"detail":"Not Found"}"#;
                self.traits.absent_is_absent |= head.status == 404 && starlette;
                if let Some(tls) = &answer.tls {
                    self.certificate.get_or_insert_with(|| tls.clone());
                }
            }
            Outcome::TlsFailed { wants_certificate: true, .. } => {
                self.reached = true;
                self.certificate.get_or_insert_with(|| TlsFacts { wants_certificate: true, ..TlsFacts::default() });
            }
            _ => {}
        }
    }

    fn good(&mut self, todo: &Todo) {
        // One server per endpoint is found; what others it holds is told by hints, which stay.
        self.todo.retain(|t| matches!(t.ask, Ask::EndSession(_)) || (self.hint.paths.contains(&t.path) && t.path != todo.path));
        if matches!(todo.ask, Ask::Discover | Ask::Initialize) {
            let foreign = self.manner.foreign_host && todo.host.is_none();
            self.first(Ask::Control, &todo.path, foreign.then(|| FOREIGN.to_owned()).or_else(|| todo.host.clone()));
        }
    }

    fn other_rpc(&mut self) {
        self.other_rpc = self.other_rpc.saturating_add(1);
        if self.other_rpc >= 2 {
            self.drop_rest();
        }
    }

    fn gate(&mut self, todo: &Todo, metadata: Option<&str>) {
        self.gates.insert(todo.path.clone());
        if self.gates.len() > 1 {
            // Everything is gated: that says nothing about any one path.
            self.signs.retain(|(_, s)| s.mark != "probe.server.auth-gate");
            return self.drop_rest();
        }
        let path = match metadata {
            Some(url) => self.same_origin(url),
            None => Some(format!("/.well-known/oauth-protected-resource{}", todo.path.trim_end_matches('/'))),
        };
        if let Some(path) = path {
            self.todo.push_front(Todo { ask: Ask::Metadata, path, host: todo.host.clone(), hops: 0 });
        }
    }

    fn host_guard(&mut self, todo: &Todo) {
        if !std::mem::replace(&mut self.localhost_tried, true) {
            self.first(todo.ask.clone(), &todo.path, Some("localhost".to_owned()));
        }
    }

    fn redirect(&mut self, todo: &Todo, location: &str, keeps_method: bool) {
        let Some(path) = self.same_origin(location) else { return };
        let known = path == todo.path || self.todo.iter().any(|t| t.path == path);
        // 301 and 302 lose the method (RFC 9110 §15.4): only a slash more or less is worth asking for again.
        let moved = keeps_method || path.trim_end_matches('/') == todo.path.trim_end_matches('/');
        if moved && todo.hops < MAX_HOPS && path != todo.path {
            self.todo.retain(|t| !(known && t.path == path && t.ask == todo.ask));
            self.todo.push_front(Todo { ask: todo.ask.clone(), path, host: todo.host.clone(), hops: todo.hops + 1 });
        }
    }

    /// The path of a URL that leads back to where we are; anything else is not ours to ask.
    fn same_origin(&self, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return safe_target(location);
        }
        let url = url::Url::parse(location).ok()?;
        let scheme = if self.tls { "https" } else { "http" };
        let host = url.host_str()?.trim_matches(['[', ']']);
        let ours = host.parse() == Ok(self.endpoint.address) || self.name().as_deref() == Some(host);
        let port = url.port_or_known_default()? == self.endpoint.port;
        (url.scheme() == scheme && ours && port).then(|| safe_target(url.path()))?
    }

    fn not_found(&mut self, todo: &Todo) {
        match todo.ask {
            Ask::Discover => self.maybe_stream(&todo.path),
            // The page of a server with a stream and a message route: there is none, and no CORS either.
            Ask::Page if self.get_only.is_some() && !self.traits.cors => {
                self.shape("probe.server.not-for-browsers", "no page at / and no CORS: no browser can use this stream");
            }
            Ask::Garbled => self.first(Ask::Page, "/", None),
            Ask::Routes if todo.path != "/message" => {}
            Ask::Routes => self.stream_after_routes(),
            _ => {}
        }
    }

    /// A path that may hold an event stream: ask for it, or look first where asking can hurt.
    fn maybe_stream(&mut self, path: &str) {
        if !is_stream_path(path) || (self.traits.absent_is_absent && self.get_only.is_none()) {
            return;
        }
        if self.traits.express && !self.traits.cors {
            self.first(Ask::Routes, path, None);
        } else if self.manner.legacy_get {
            self.first(Ask::Stream, path, None);
        }
    }

    fn routes(&mut self, todo: &Todo, allow: &str) {
        let takes = |method: &str| allow.split(',').any(|m| m.trim() == method);
        let get_only = takes("GET") && !takes("POST");
        match (&todo.ask, todo.path.as_str()) {
            (Ask::Routes, "/message") if takes("POST") && !takes("GET") => {
                self.shape("probe.server.sse-routes", "OPTIONS: the stream takes GET only, /message takes POST only");
                // Only a server with a JSON parser in front is surely not the one that dies of a stream that hangs up.
                self.drop_rest();
                self.first(Ask::Garbled, &self.get_only.clone().unwrap_or_default(), None);
            }
            (Ask::Routes, "/message") => self.stream_after_routes(),
            (Ask::Routes, path) if get_only => {
                self.get_only = Some(path.to_owned());
                self.first(Ask::Routes, "/message", None);
            }
            // Older fastapi-mcp opens its stream at /mcp itself.
            (Ask::Discover, path) if is_stream_path(path) && !takes("POST") || path.ends_with("/mcp") && get_only => {
                self.get_only = Some(path.to_owned());
                if self.manner.legacy_get {
                    self.first(Ask::Stream, path, None);
                } else {
                    self.first(Ask::Discover, "/messages/", None);
                }
            }
            _ => {}
        }
    }

    fn stream_after_routes(&mut self) {
        if let Some(path) = self.get_only.clone().filter(|_| self.manner.legacy_get) {
            self.first(Ask::Stream, &path, None);
        }
    }

    /// A message endpoint refused: its stream is beside it.
    fn legacy(&mut self, path: &str) {
        let stream = match (&self.get_only, path) {
            (Some(found), _) => found.clone(),
            (None, p) if is_stream_path(p) => p.to_owned(),
            _ => "/sse".to_owned(),
        };
        if self.get_only.is_some() {
            self.shape("probe.server.sse-routes", "the stream takes GET only, and a message endpoint beside it wants a session");
        }
        let asked = self.signs.iter().any(|(_, s)| s.mark.starts_with("probe.server.endpoint"));
        if self.manner.legacy_get && !asked {
            self.todo.retain(|t| t.path != stream);
            self.first(Ask::Stream, &stream, None);
        }
    }

    fn shape(&mut self, mark: &'static str, what: &str) {
        let path = self.get_only.clone().unwrap_or_else(|| "/sse".to_owned());
        let facts = Facts { transport: Some(Transport::HttpSse), tls: Some(self.tls), ..Facts::default() };
        self.signs.push((path, Sign { mark, detail: what.to_owned(), facts }));
    }

    fn other_scheme(&mut self, todo: &Todo, failed: bool) {
        if self.spoke_http {
            // It did speak HTTP this way: what ended is the connection, or the server.
            self.silent = self.silent.saturating_add(1);
            if self.silent >= 2 {
                self.drop_rest();
            }
            return;
        }
        let wants_ours = self.certificate.as_ref().is_some_and(|c| c.wants_certificate);
        if std::mem::replace(&mut self.switched, true) || self.hint.tls.is_some() || (failed && wants_ours) {
            return self.drop_rest();
        }
        self.tls = !self.tls;
        self.todo.push_front(todo.clone());
    }

    fn first(&mut self, ask: Ask, path: &str, host: Option<String>) {
        self.todo.push_front(Todo { ask, path: path.to_owned(), host, hops: 0 });
    }

    fn drop_rest(&mut self) {
        self.todo.retain(|t| matches!(t.ask, Ask::EndSession(_)));
    }

    /// A question that was not sent after all.
    pub fn give_back(&mut self, question: Option<Question>) {
        if let (Some(_), Some(todo)) = (question, self.current.take()) {
            self.todo.push_front(todo);
        }
    }

    /// Nothing more is asked here but that our sessions end.
    pub fn only_end_sessions(&mut self) {
        self.drop_rest();
    }

    /// Sessions servers minted for us, and those we ended.
    pub fn sessions(&self) -> (u16, u16) {
        self.sessions
    }

    /// Whether to let the server be for a few seconds before the next question; says so once.
    pub fn take_pause(&mut self) -> bool {
        std::mem::take(&mut self.pause)
    }

    /// Nothing took the connection.
    pub fn absent(&self) -> bool {
        self.absent
    }

    /// An HTTP server, or anything else that talked, was here.
    pub fn reached(&self) -> bool {
        self.reached
    }

    /// All that was learned, as evidence. What speaks only against a place nobody named is left out.
    pub fn evidence(&self, at: Timestamp) -> Vec<Evidence> {
        let mut out: Vec<Evidence> = Vec::new();
        let mut told = BTreeSet::new();
        for (path, sign) in &self.signs {
            let place = self.place(path);
            if self.worth_telling(path, sign) && told.insert((place.clone(), sign.mark)) {
                out.push(Evidence::new(place, Witness::Probe, sign.mark, at).detail(&sign.detail).facts(sign.facts.clone()));
            }
        }
        if let (Some(tls), Some(first)) = (&self.certificate, out.first().map(|e| e.place.clone())) {
            out.push(certificate(tls, first, at));
        } else if let (Some(tls), true) = (&self.certificate, out.is_empty() && self.hint.nominated) {
            out.push(certificate(tls, self.place(self.known_path()), at));
        }
        let silent_here = self.absent || (self.reached && out.is_empty());
        if self.hint.nominated && silent_here {
            let what = if self.absent { "connection refused or no answer" } else { "answers, but not as an MCP server" };
            out.push(Evidence::new(self.place(self.known_path()), Witness::Probe, "probe.context.gone", at).detail(what));
        }
        out
    }

    fn worth_telling(&self, path: &str, sign: &Sign) -> bool {
        let positive = |mark: &str| mark.starts_with("probe.server.") && !mark.contains("against") && mark != "probe.server.auth-gate";
        match sign.mark {
            "probe.server.auth-gate" => path.contains("mcp") || is_stream_path(path) || self.hint.paths.iter().any(|p| p == path),
            mark if positive(mark) => true,
            "probe.context.silent-sse" => true,
            _ => self.hint.nominated || self.signs.iter().any(|(p, s)| p == path && positive(s.mark)),
        }
    }

    fn known_path(&self) -> &str {
        self.hint.paths.first().map_or("", String::as_str)
    }

    /// Metadata is about the path it was asked for.
    fn place(&self, path: &str) -> Place {
        let path = match path.strip_prefix("/.well-known/oauth-protected-resource") {
            Some(_) => self.gates.first().map_or(path, String::as_str),
            None => path,
        };
        let place = Place::new(self.endpoint).with_target(path);
        match &self.hint.host {
            Some(host) => place.with_host(host),
            None => place,
        }
    }
}

/// `/sse`, `/mcp/sse`, `/events`: where the 2024-11-05 transport opens its stream.
fn is_stream_path(path: &str) -> bool {
    matches!(path.trim_end_matches('/').rsplit('/').next(), Some("sse" | "events"))
}

fn certificate(tls: &TlsFacts, place: Place, at: Timestamp) -> Evidence {
    let mutual = if tls.wants_certificate { ", asks for a client certificate" } else { "" };
    let detail = format!("{} {} by {}, names {}, until {}{mutual}", tls.version, tls.subject, tls.issuer, tls.names.join(" "), tls.expires);
    let auth = tls.wants_certificate.then_some(Auth::Mtls);
    let facts = Facts { tls: Some(true), auth, ..Facts::default() };
    Evidence::new(place, Witness::Probe, "probe.context.certificate", at).detail(&detail).facts(facts)
}

#[cfg(test)]
#[path = "identify/tests.rs"]
mod tests;
