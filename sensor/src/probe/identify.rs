//! The interrogation of one endpoint: which question next, given the answers so far. Pure; time and chance are arguments.
//!
//! Gentle questions first, and two of them on a usual path. `server/discover` is the first: a modern server answers it, and
//! then the negative control is the second; to a server of before it is nonsense, so its refusal is the negative control,
//! and `initialize` is the second; only a refusal that any JSON-RPC server may give leaves the control to be asked. The second
//! goes out under a `Host` that is not the server's, which tells whether it checks. A session that was minted for us is ended.
//!
//! The one question that can hurt, `GET` of an event stream (a server-everything of early 2025 ends itself when an SSE
//! client hangs up, and also when anybody posts to `/message` before one came), is asked last, and not at all of a server
//! that looks like that one: there `OPTIONS`, which runs no handler, shows the routes.

use super::{
    answer::{Outcome, TlsFacts},
    question::{Ask, MODERN, Question, host_header, safe_host},
    reading::{Indicator, Reaction, Reading, read},
};
use rules::{endpoint::Endpoint, evidence::Facts};

mod elsewhere;
mod options;
mod posture;
mod sites;
mod state;
mod stream;
mod told;

pub use options::{Hint, Options, USUAL_PATHS};
use state::{Certificates, Channel, Gates, Presence, Queue, Refusals, Sessions, Streams, Traits};

/// The name of the negative control's `Host` (RFC 2606: it exists nowhere).
const FOREIGN: &str = "gnomon-control.invalid";
/// Software that keeps sites apart by name, as `Server` names it.
const FRONTS: [&str; 9] = ["nginx", "caddy", "envoy", "traefik", "apache", "haproxy", "cloudflare", "openresty", "istio"];
/// After the same refusal `initialize` is tried so often in vain.
const IN_VAIN: u8 = 2;
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

impl Todo {
    fn new(ask: Ask, path: &str, host: Option<String>) -> Todo {
        Todo { ask, path: path.to_owned(), host, hops: 0 }
    }
}

#[derive(Debug)]
pub struct Interrogation {
    endpoint: Endpoint,
    hint: Hint,
    options: Options,
    queue: Queue,
    channel: Channel,
    traits: Traits,
    refusals: Refusals,
    streams: Streams,
    gates: Gates,
    sessions: Sessions,
    certificates: Certificates,
    presence: Presence,
    /// What was learned, and at which path.
    indicators: Vec<(String, Indicator)>,
    sites: sites::Sites,
}

impl Interrogation {
    pub fn new(endpoint: Endpoint, hint: Hint, options: Options, seed: u64) -> Interrogation {
        Interrogation {
            endpoint,
            queue: Queue::new(&hint, &options, seed),
            channel: Channel::new(endpoint, &hint),
            hint,
            options,
            traits: Traits::default(),
            refusals: Refusals::default(),
            streams: Streams::default(),
            gates: Gates::default(),
            sessions: Sessions::default(),
            certificates: Certificates::default(),
            presence: Presence::default(),
            indicators: Vec::new(),
            sites: sites::Sites::default(),
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The next question, or `None` when there is nothing left to learn.
    pub fn next_question(&mut self) -> Option<Question> {
        loop {
            let todo = self
                .queue
                .todo
                .pop_front()
                .or_else(|| self.methods_of_the_gate())
                .or_else(|| self.lines())
                .or_else(|| self.other_site())?;
            let ends_session = matches!(todo.ask, Ask::EndSession(_));
            let todo = self.by_the_stream(todo);
            if self.queue.asked >= self.options.max_questions && !ends_session {
                continue;
            }
            self.queue.asked = self.queue.asked.saturating_add(1);
            let nonce = format!("gnomon-{:x}-{}", self.queue.seed & 0xffff_ffff, self.queue.asked);
            let name = self.name();
            let host = match &todo.host {
                Some(host) => host_header(Some(host), self.endpoint, self.channel.tls),
                None => host_header(name.as_deref(), self.endpoint, self.channel.tls),
            };
            // A name that a certificate is for is asked for in the handshake, too; one that is nobody's would only be refused there.
            let other = todo.host.clone().filter(|host| todo.ask == Ask::Site && host != FOREIGN);
            let server_name = other.or(name).filter(|n| n != "localhost");
            let (path, ask) = (todo.path.clone(), todo.ask.clone());
            self.queue.current = Some(todo);
            let (endpoint, tls, http2, certified) =
                (self.endpoint, self.channel.tls && ask != Ask::Lines, self.channel.http2, self.certificates.ours_shown);
            return Some(Question { endpoint, tls, http2, certified, server_name, host, path, ask, nonce });
        }
    }

    fn name(&self) -> Option<String> {
        let hinted = self.hint.host.as_deref().and_then(safe_host);
        hinted.or_else(|| self.endpoint.address.is_loopback().then(|| "localhost".to_owned()))
    }

    /// The answer to the question last given.
    pub fn absorb(&mut self, question: &Question, outcome: &Outcome) {
        let Some(todo) = self.queue.current.take() else { return };
        let foreign = todo.host.as_deref() == Some(FOREIGN);
        let Reading { mut indicators, kind, session } = read(question, outcome, foreign);
        self.notice(outcome);
        if todo.ask == Ask::Site {
            return self.site(&todo, outcome);
        }
        let asks_for_it = matches!(todo.ask, Ask::Initialize | Ask::Control);
        self.sites.hinted |= foreign && asks_for_it && kind.sounds_like_another_site();
        if matches!(todo.ask, Ask::EndSession(_)) {
            // 404: it is gone already.
            let ended = matches!(outcome, Outcome::Answer(a) if matches!(a.head.status, 200..=299 | 404));
            self.sessions.ended = self.sessions.ended.saturating_add(u16::from(ended));
            return;
        }
        if foreign && todo.ask == Ask::Initialize && kind != Reaction::Good {
            // Another site may have answered: what it said is not this server's word.
            indicators
                .retain(|s| matches!(s.signature, "probe.server.host-guard" | "probe.server.session-header" | "probe.control.answered"));
        }
        // Words, lists and headers that only MCP has; what else refuses may refuse everybody.
        let sounds_like_mcp = indicators.iter().any(|s| s.signature.starts_with("probe.server.") && !s.signature.contains("against"));
        for indicator in indicators {
            // A message endpoint is known by its stream.
            let stream = self.streams.get_only.clone().filter(|_| indicator.signature == "probe.server.message-refusal");
            self.indicators.push((stream.unwrap_or_else(|| todo.path.clone()), indicator));
        }
        if let Some(id) = session.filter(|id| self.sessions.minted.insert(id.clone())) {
            self.first(Ask::EndSession(id), &todo.path, todo.host.clone());
        }
        match kind {
            _ if foreign && todo.ask == Ask::Initialize && kind.may_be_another_site() => {
                self.queue.todo.push_front(Todo { host: None, ..todo });
            }
            Reaction::TryInitialize if todo.ask == Ask::Discover => self.initialize(&todo, sounds_like_mcp, question, outcome),
            // It may take messages where it gives no stream.
            Reaction::Refused if todo.ask == Ask::Stream => self.first(Ask::Discover, &todo.path, None),
            kind => self.go_on(&todo, kind, foreign, outcome),
        }
    }

    fn go_on(&mut self, todo: &Todo, kind: Reaction, foreign: bool, outcome: &Outcome) {
        match kind {
            Reaction::Good => self.good(todo),
            Reaction::TryInitialize => {}
            Reaction::Legacy => self.legacy(&todo.path),
            Reaction::WantsCertificate => {
                let shown = self.show_certificate(todo);
                if let Outcome::Answer(answer) = outcome {
                    self.certificates.refused_without =
                        Some(format!("{} {}", answer.head.status, rules::printable::printable(&answer.text(), 80)));
                }
                if !shown {
                    self.drop_rest();
                }
            }
            Reaction::WantsHttp2 if std::mem::replace(&mut self.channel.http2, true) => self.drop_rest(),
            Reaction::WantsHttp2 => self.queue.todo.push_front(todo.clone()),
            Reaction::TlsFailed if matches!(outcome, Outcome::TlsFailed { wants_certificate: true, .. }) && self.show_certificate(todo) => {
            }
            Reaction::Nonsense | Reaction::Busy | Reaction::Abusive | Reaction::NotHttp => self.drop_rest(),
            Reaction::ParsesJson => self.stream_after_routes(),
            Reaction::OtherRpc => {
                self.vain(todo);
                self.other_rpc();
            }
            Reaction::Gate(metadata) => self.gate(todo, metadata.as_deref()),
            Reaction::HostGuard if foreign => self.first(Ask::Control, &todo.path, None),
            Reaction::HostGuard => self.host_guard(todo),
            Reaction::Redirect(location, keeps_method) => self.redirect(todo, &location, keeps_method),
            Reaction::Routes(allow) => self.routes(todo, &allow),
            Reaction::NotFound => self.not_found(todo),
            Reaction::Page if todo.ask == Ask::Discover => self.maybe_stream(&todo.path),
            Reaction::Page | Reaction::Refused => self.vain(todo),
            Reaction::WantsTls if matches!(outcome, Outcome::Answer(_)) => {
                self.channel.spoke_http = false;
                self.other_scheme(todo, false);
            }
            Reaction::WantsTls | Reaction::TlsFailed => self.other_scheme(todo, kind == Reaction::TlsFailed),
            Reaction::Silent => {
                self.refusals.silent = self.refusals.silent.saturating_add(1);
                if self.refusals.silent >= 2 {
                    self.drop_rest();
                }
            }
            // It answered before: it may be starting again. The question was not heard, so asking it once more harms nothing.
            Reaction::Gone if self.presence.reached && !self.presence.waited => {
                self.presence.waited = true;
                self.presence.pause = true;
                self.queue.todo.push_front(todo.clone());
            }
            Reaction::Gone => {
                self.presence.absent = !self.presence.reached;
                self.drop_rest();
            }
        }
    }

    /// What the answer shows about the server beside the question.
    fn notice(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Answer(answer) => {
                self.presence.reached = true;
                self.channel.spoke_http = true;
                let head = &answer.head;
                let text = String::from_utf8_lossy(answer.body.get(..512).unwrap_or(&answer.body)).into_owned();
                let front = head.get("server").unwrap_or_default().to_ascii_lowercase();
                self.traits.proxied |= head.get("via").is_some() || FRONTS.iter().any(|f| front.contains(f));
                let express = head.get("x-powered-by").is_some_and(|v| v.eq_ignore_ascii_case("express"));
                self.traits.express |= express || (head.status == 404 && text.contains("<pre>Cannot POST /"));
                self.traits.cors |= head.get("access-control-allow-origin").is_some();
                self.traits.old_python |= text.contains(r#""id":"server-error""#);
                let starlette = head.get("server") == Some("uvicorn") || text == r#"{"detail":"Not Found"}"#;
                self.traits.absent_is_absent |= head.status == 404 && starlette;
                if let Some(tls) = &answer.tls {
                    self.certificates.theirs.get_or_insert_with(|| tls.clone());
                }
            }
            Outcome::TlsFailed { wants_certificate: true, why } => {
                self.presence.reached = true;
                self.certificates.refused_without.get_or_insert_with(|| why.clone());
                self.certificates.theirs.get_or_insert_with(|| TlsFacts { wants_certificate: true, ..TlsFacts::default() });
            }
            Outcome::Silent | Outcome::Closed => {
                self.channel.may_take_lines.get_or_insert(true);
            }
            // Whoever speaks first, or otherwise, takes no lines of JSON.
            Outcome::NotHttp(bytes) => {
                let json = bytes.trim_ascii_start().starts_with(b"{");
                self.channel.may_take_lines = Some(self.channel.may_take_lines != Some(false) && json);
            }
            _ => {}
        }
    }

    /// Python SDK 1.8 and 1.9 stop serving anybody after the first `DELETE` of a session (measured with 1.8.1 and 1.9.4; 1.10.1 does
    /// not). They know no revision after 2025-03-26. There a session that is left does less harm than one that is ended.
    fn dies_of_an_end(&self) -> bool {
        let newest = |(_, s): &(String, Indicator)| {
            s.signature == "probe.server.initialize-result" && s.facts.revisions.last().is_some_and(|r| r.as_str() <= "2025-03-26")
        };
        self.traits.old_python && self.indicators.iter().any(newest)
    }

    fn good(&mut self, todo: &Todo) {
        if self.dies_of_an_end() {
            self.queue.todo.retain(|t| !matches!(t.ask, Ask::EndSession(_)));
        }
        // One server per endpoint is found; what others it holds is told by hints, which stay.
        self.queue.todo.retain(|t| matches!(t.ask, Ask::EndSession(_)) || (self.hint.paths.contains(&t.path) && t.path != todo.path));
        let asked = matches!(todo.ask, Ask::Discover | Ask::Initialize);
        if asked && !self.refusals.as_nonsense.contains(&todo.path) {
            self.first(Ask::Control, &todo.path, self.foreign(todo));
        }
    }

    /// `server/discover` was refused; `initialize` may do better. To a server that refused as MCP does the question was
    /// nonsense; another refusal may be a canned one, and the control is still to be asked.
    fn initialize(&mut self, todo: &Todo, sounds_like_mcp: bool, question: &Question, outcome: &Outcome) {
        self.refusals.last = refusal(question, outcome);
        if self.refusals.in_vain.get(&self.refusals.last).is_some_and(|n| *n >= IN_VAIN) {
            return;
        }
        if sounds_like_mcp {
            self.refusals.as_nonsense.insert(todo.path.clone());
            let facts = Facts { tls: Some(self.channel.tls), ..Facts::default() };
            let detail = format!("POST {} server/discover {MODERN} was refused", todo.path);
            self.indicators.push((todo.path.clone(), Indicator { signature: "probe.control.refused", detail, facts }));
        }
        // Where it may come to nothing, the name is not made a second reason.
        let host = if sounds_like_mcp { self.foreign(todo) } else { todo.host.clone() };
        self.queue.todo.push_front(Todo::new(Ask::Initialize, &todo.path, host));
    }

    /// `initialize` did no better.
    fn vain(&mut self, todo: &Todo) {
        if todo.ask == Ask::Initialize && self.refusals.in_vain.len() < usize::from(self.options.max_questions) {
            let count = self.refusals.in_vain.entry(self.refusals.last.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// It serves nobody without a certificate: asked once more as the test identity, where there is one.
    fn show_certificate(&mut self, todo: &Todo) -> bool {
        let first = self.options.test_identity && !std::mem::replace(&mut self.certificates.ours_shown, true);
        if first {
            self.queue.todo.push_front(todo.clone());
        }
        first
    }

    /// Lines of JSON over bare TCP, once, where nobody spoke HTTP and that is asked for.
    fn lines(&mut self) -> Option<Todo> {
        let asked = self.options.raw && !self.channel.spoke_http && self.channel.may_take_lines.replace(false) == Some(true);
        asked.then(|| Todo::new(Ask::Lines, "", None))
    }

    /// The name to ask a second question under: not the server's, where that can mean no other site.
    fn foreign(&self, todo: &Todo) -> Option<String> {
        let alone = todo.host.is_none() && !self.traits.proxied;
        (self.options.foreign_host && alone).then(|| FOREIGN.to_owned()).or_else(|| todo.host.clone())
    }

    fn other_rpc(&mut self) {
        self.refusals.other_rpc = self.refusals.other_rpc.saturating_add(1);
        if self.refusals.other_rpc >= 2 {
            self.drop_rest();
        }
    }

    fn not_found(&mut self, todo: &Todo) {
        self.vain(todo);
        match todo.ask {
            Ask::Discover | Ask::Stream => {
                self.refusals.nothing_at.insert(todo.path.clone());
            }
            _ => {}
        }
        match todo.ask {
            Ask::Discover => self.maybe_stream(&todo.path),
            // The page of a server with a stream and a message route: there is none, and no CORS either.
            Ask::Page if self.streams.get_only.is_some() && !self.traits.cors => {
                self.shape("probe.server.not-for-browsers", "no page at / and no CORS: no browser can use this stream");
            }
            Ask::Garbled => self.first(Ask::Page, "/", None),
            Ask::Routes if todo.path != "/message" => {}
            Ask::Routes => self.stream_after_routes(),
            _ => {}
        }
    }

    fn first(&mut self, ask: Ask, path: &str, host: Option<String>) {
        self.queue.todo.push_front(Todo::new(ask, path, host));
    }

    fn drop_rest(&mut self) {
        self.sites.over = true;
        self.queue.todo.retain(|t| matches!(t.ask, Ask::EndSession(_)));
    }

    /// A question that was not sent after all.
    pub fn give_back(&mut self, question: Option<Question>) {
        if let (Some(_), Some(todo)) = (question, self.queue.current.take()) {
            self.queue.todo.push_front(todo);
        }
    }

    /// Nothing more is asked here but that our sessions end.
    pub fn only_end_sessions(&mut self) {
        self.drop_rest();
    }

    /// Sessions servers minted for us, and those we ended.
    pub fn sessions(&self) -> (u16, u16) {
        (u16::try_from(self.sessions.minted.len()).unwrap_or(u16::MAX), self.sessions.ended)
    }

    /// Whether to let the server be for a few seconds before the next question; says so once.
    pub fn take_pause(&mut self) -> bool {
        std::mem::take(&mut self.presence.pause)
    }

    /// Nothing took the connection.
    pub fn absent(&self) -> bool {
        self.presence.absent
    }

    /// An HTTP server, or anything else that talked, was here.
    pub fn reached(&self) -> bool {
        self.presence.reached
    }
}

/// A refusal, comparable from path to path.
fn refusal(question: &Question, outcome: &Outcome) -> String {
    let Outcome::Answer(answer) = outcome else { return String::new() };
    let body: String = answer.text().chars().take(256).collect();
    format!("{} {}", answer.head.status, body.replace(&question.nonce, "").replace(&question.path, ""))
}

#[cfg(test)]
#[path = "identify/tests.rs"]
mod tests;
