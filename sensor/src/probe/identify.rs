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
    question::{Ask, MODERN, Question, host_header, safe_host, safe_target},
    reading::{Kind, Reading, Sign, read},
};
use rules::{endpoint::Endpoint, evidence::Facts};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod elsewhere;
mod manner;
mod posture;
mod sites;
mod stream;
mod told;

pub use manner::{Hint, Manner, USUAL_PATHS};

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

/// What the server runs on, as far as it changes what is gentle.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    express: bool,
    cors: bool,
    /// A 404 to POST means that no method has this route.
    absent_is_absent: bool,
    /// Something stands in front that may keep several sites apart by `Host`.
    proxied: bool,
}

#[derive(Debug)]
pub struct Interrogation {
    endpoint: Endpoint,
    hint: Hint,
    manner: Manner,
    seed: u64,
    tls: bool,
    switched: bool,
    http2: bool,
    /// The test identity is shown.
    certified: bool,
    /// An HTTP answer came, in the scheme in use.
    spoke_http: bool,
    todo: VecDeque<Todo>,
    current: Option<Todo>,
    traits: Traits,
    asked: u16,
    silent: u8,
    other_rpc: u8,
    gates: BTreeSet<String>,
    /// Where `server/discover` was refused as a server refuses nonsense: no negative control is needed there.
    refused: BTreeSet<String>,
    /// Refusals, and how often `initialize` did no better after one.
    in_vain: BTreeMap<String, u8>,
    /// The refusal at the path of the last `server/discover`.
    refusal: String,
    /// Stream paths asked by `GET` or looked at by `OPTIONS`.
    streamed: BTreeSet<String>,
    /// Sessions to be ended, or ended already; at most one for each question.
    minted: BTreeSet<String>,
    localhost_tried: bool,
    legacy_asked: bool,
    gate_asked: bool,
    /// Paths where nothing is.
    nothing_at: BTreeSet<String>,
    /// Something took the connection, and said nothing that lines of JSON exclude.
    may_take_lines: Option<bool>,
    /// A stream route that takes GET only.
    get_only: Option<String>,
    signs: Vec<(String, Sign)>,
    certificate: Option<TlsFacts>,
    /// How it refused us for having no certificate.
    refused_without: Option<String>,
    reached: bool,
    absent: bool,
    waited: bool,
    pause: bool,
    ended: u16,
    /// Its refusals have the id `server-error`, as those of the Python SDK's first transport.
    old_python: bool,
    sites: sites::Sites,
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
                todo.push_back(Todo::new(Ask::Discover, &path, None));
            }
        }
        Interrogation {
            endpoint,
            hint,
            manner,
            seed,
            tls,
            switched: false,
            http2: false,
            certified: false,
            spoke_http: false,
            todo,
            current: None,
            traits: Traits::default(),
            asked: 0,
            silent: 0,
            other_rpc: 0,
            gates: BTreeSet::new(),
            refused: BTreeSet::new(),
            in_vain: BTreeMap::new(),
            refusal: String::new(),
            streamed: BTreeSet::new(),
            minted: BTreeSet::new(),
            localhost_tried: false,
            legacy_asked: false,
            gate_asked: false,
            nothing_at: BTreeSet::new(),
            may_take_lines: None,
            get_only: None,
            signs: Vec::new(),
            certificate: None,
            refused_without: None,
            reached: false,
            absent: false,
            waited: false,
            pause: false,
            ended: 0,
            old_python: false,
            sites: sites::Sites::default(),
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The next question, or `None` when there is nothing left to learn.
    pub fn next_question(&mut self) -> Option<Question> {
        loop {
            let todo =
                self.todo.pop_front().or_else(|| self.methods_of_the_gate()).or_else(|| self.lines()).or_else(|| self.other_site())?;
            let ends_session = matches!(todo.ask, Ask::EndSession(_));
            let todo = self.by_the_stream(todo);
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
            // A name that a certificate is for is asked for in the handshake, too; one that is nobody's would only be refused there.
            let other = todo.host.clone().filter(|host| todo.ask == Ask::Site && host != FOREIGN);
            let server_name = other.or(name).filter(|n| n != "localhost");
            let (path, ask) = (todo.path.clone(), todo.ask.clone());
            self.current = Some(todo);
            let (endpoint, tls, http2, certified) = (self.endpoint, self.tls && ask != Ask::Lines, self.http2, self.certified);
            return Some(Question { endpoint, tls, http2, certified, server_name, host, path, ask, nonce });
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
        let Reading { mut signs, kind, session } = read(question, outcome, foreign);
        self.notice(outcome);
        if todo.ask == Ask::Site {
            return self.site(&todo, outcome);
        }
        let asks_for_it = matches!(todo.ask, Ask::Initialize | Ask::Control);
        self.sites.hinted |= foreign && asks_for_it && kind.sounds_like_another_site();
        if matches!(todo.ask, Ask::EndSession(_)) {
            // 404: it is gone already.
            let ended = matches!(outcome, Outcome::Answer(a) if matches!(a.head.status, 200..=299 | 404));
            self.ended = self.ended.saturating_add(u16::from(ended));
            return;
        }
        if foreign && todo.ask == Ask::Initialize && kind != Kind::Good {
            // Another site may have answered: what it said is not this server's word.
            signs.retain(|s| matches!(s.signature, "probe.server.host-guard" | "probe.server.session-header" | "probe.control.answered"));
        }
        // Words, lists and headers that only MCP has; what else refuses may refuse everybody.
        let sounds_like_mcp = signs.iter().any(|s| s.signature.starts_with("probe.server.") && !s.signature.contains("against"));
        for sign in signs {
            // A message endpoint is known by its stream.
            let stream = self.get_only.clone().filter(|_| sign.signature == "probe.server.message-refusal");
            self.signs.push((stream.unwrap_or_else(|| todo.path.clone()), sign));
        }
        if let Some(id) = session.filter(|id| self.minted.insert(id.clone())) {
            self.first(Ask::EndSession(id), &todo.path, todo.host.clone());
        }
        match kind {
            _ if foreign && todo.ask == Ask::Initialize && kind.may_be_another_site() => {
                self.todo.push_front(Todo { host: None, ..todo });
            }
            Kind::TryInitialize if todo.ask == Ask::Discover => self.initialize(&todo, sounds_like_mcp, question, outcome),
            // It may take messages where it gives no stream.
            Kind::Refused if todo.ask == Ask::Stream => self.first(Ask::Discover, &todo.path, None),
            kind => self.go_on(&todo, kind, foreign, outcome),
        }
    }

    fn go_on(&mut self, todo: &Todo, kind: Kind, foreign: bool, outcome: &Outcome) {
        match kind {
            Kind::Good => self.good(todo),
            Kind::TryInitialize => {}
            Kind::Legacy => self.legacy(&todo.path),
            Kind::WantsCertificate => {
                let shown = self.show_certificate(todo);
                if let Outcome::Answer(answer) = outcome {
                    self.refused_without = Some(format!("{} {}", answer.head.status, rules::printable::printable(&answer.text(), 80)));
                }
                if !shown {
                    self.drop_rest();
                }
            }
            Kind::WantsHttp2 if std::mem::replace(&mut self.http2, true) => self.drop_rest(),
            Kind::WantsHttp2 => self.todo.push_front(todo.clone()),
            Kind::TlsFailed if matches!(outcome, Outcome::TlsFailed { wants_certificate: true, .. }) && self.show_certificate(todo) => {}
            Kind::Nonsense | Kind::Busy | Kind::Abusive | Kind::NotHttp => self.drop_rest(),
            Kind::ParsesJson => self.stream_after_routes(),
            Kind::OtherRpc => {
                self.vain(todo);
                self.other_rpc();
            }
            Kind::Gate(metadata) => self.gate(todo, metadata.as_deref()),
            Kind::HostGuard if foreign => self.first(Ask::Control, &todo.path, None),
            Kind::HostGuard => self.host_guard(todo),
            Kind::Redirect(location, keeps_method) => self.redirect(todo, &location, keeps_method),
            Kind::Routes(allow) => self.routes(todo, &allow),
            Kind::NotFound => self.not_found(todo),
            Kind::Page if todo.ask == Ask::Discover => self.maybe_stream(&todo.path),
            Kind::Page | Kind::Refused => self.vain(todo),
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
                let front = head.get("server").unwrap_or_default().to_ascii_lowercase();
                self.traits.proxied |= head.get("via").is_some() || FRONTS.iter().any(|f| front.contains(f));
                let express = head.get("x-powered-by").is_some_and(|v| v.eq_ignore_ascii_case("express"));
                self.traits.express |= express || (head.status == 404 && text.contains("<pre>Cannot POST /"));
                self.traits.cors |= head.get("access-control-allow-origin").is_some();
                self.old_python |= text.contains(r#""id":"server-error""#);
                let starlette = head.get("server") == Some("uvicorn") || text == r#"{"detail":"Not Found"}"#;
                self.traits.absent_is_absent |= head.status == 404 && starlette;
                if let Some(tls) = &answer.tls {
                    self.certificate.get_or_insert_with(|| tls.clone());
                }
            }
            Outcome::TlsFailed { wants_certificate: true, why } => {
                self.reached = true;
                self.refused_without.get_or_insert_with(|| why.clone());
                self.certificate.get_or_insert_with(|| TlsFacts { wants_certificate: true, ..TlsFacts::default() });
            }
            Outcome::Silent | Outcome::Closed => {
                self.may_take_lines.get_or_insert(true);
            }
            // Whoever speaks first, or otherwise, takes no lines of JSON.
            Outcome::NotHttp(bytes) => {
                let json = bytes.trim_ascii_start().starts_with(b"{");
                self.may_take_lines = Some(self.may_take_lines != Some(false) && json);
            }
            _ => {}
        }
    }

    /// Python SDK 1.8 and 1.9 stop serving anybody after the first `DELETE` of a session (measured with 1.8.1 and 1.9.4; 1.10.1 does
    /// not). They know no revision after 2025-03-26. There a session that is left does less harm than one that is ended.
    fn dies_of_an_end(&self) -> bool {
        let newest = |(_, s): &(String, Sign)| {
            s.signature == "probe.server.initialize-result" && s.facts.revisions.last().is_some_and(|r| r.as_str() <= "2025-03-26")
        };
        self.old_python && self.signs.iter().any(newest)
    }

    fn good(&mut self, todo: &Todo) {
        if self.dies_of_an_end() {
            self.todo.retain(|t| !matches!(t.ask, Ask::EndSession(_)));
        }
        // One server per endpoint is found; what others it holds is told by hints, which stay.
        self.todo.retain(|t| matches!(t.ask, Ask::EndSession(_)) || (self.hint.paths.contains(&t.path) && t.path != todo.path));
        let asked = matches!(todo.ask, Ask::Discover | Ask::Initialize);
        if asked && !self.refused.contains(&todo.path) {
            self.first(Ask::Control, &todo.path, self.foreign(todo));
        }
    }

    /// `server/discover` was refused; `initialize` may do better. To a server that refused as MCP does the question was
    /// nonsense; another refusal may be a canned one, and the control is still to be asked.
    fn initialize(&mut self, todo: &Todo, sounds_like_mcp: bool, question: &Question, outcome: &Outcome) {
        self.refusal = refusal(question, outcome);
        if self.in_vain.get(&self.refusal).is_some_and(|n| *n >= IN_VAIN) {
            return;
        }
        if sounds_like_mcp {
            self.refused.insert(todo.path.clone());
            let facts = Facts { tls: Some(self.tls), ..Facts::default() };
            let detail = format!("POST {} server/discover {MODERN} was refused", todo.path);
            self.signs.push((todo.path.clone(), Sign { signature: "probe.control.refused", detail, facts }));
        }
        // Where it may come to nothing, the name is not made a second reason.
        let host = if sounds_like_mcp { self.foreign(todo) } else { todo.host.clone() };
        self.todo.push_front(Todo::new(Ask::Initialize, &todo.path, host));
    }

    /// `initialize` did no better.
    fn vain(&mut self, todo: &Todo) {
        if todo.ask == Ask::Initialize && self.in_vain.len() < usize::from(self.manner.max_questions) {
            let count = self.in_vain.entry(self.refusal.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// It serves nobody without a certificate: asked once more as the test identity, where there is one.
    fn show_certificate(&mut self, todo: &Todo) -> bool {
        let first = self.manner.test_identity && !std::mem::replace(&mut self.certified, true);
        if first {
            self.todo.push_front(todo.clone());
        }
        first
    }

    /// Lines of JSON over bare TCP, once, where nobody spoke HTTP and that is asked for.
    fn lines(&mut self) -> Option<Todo> {
        let asked = self.manner.raw && !self.spoke_http && self.may_take_lines.replace(false) == Some(true);
        asked.then(|| Todo::new(Ask::Lines, "", None))
    }

    /// The name to ask a second question under: not the server's, where that can mean no other site.
    fn foreign(&self, todo: &Todo) -> Option<String> {
        let alone = todo.host.is_none() && !self.traits.proxied;
        (self.manner.foreign_host && alone).then(|| FOREIGN.to_owned()).or_else(|| todo.host.clone())
    }

    fn other_rpc(&mut self) {
        self.other_rpc = self.other_rpc.saturating_add(1);
        if self.other_rpc >= 2 {
            self.drop_rest();
        }
    }

    fn not_found(&mut self, todo: &Todo) {
        self.vain(todo);
        match todo.ask {
            Ask::Discover | Ask::Stream => {
                self.nothing_at.insert(todo.path.clone());
            }
            _ => {}
        }
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

    fn first(&mut self, ask: Ask, path: &str, host: Option<String>) {
        self.todo.push_front(Todo::new(ask, path, host));
    }

    fn drop_rest(&mut self) {
        self.sites.over = true;
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
        (u16::try_from(self.minted.len()).unwrap_or(u16::MAX), self.ended)
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
