//! One answer, read: which signatures it carries, and what it says about how to go on. Pure.

use super::{
    answer::{HttpAnswer, Outcome, pick},
    question::{Ask, Question, safe_session},
    rpc, words,
    words::About,
};
use rules::{
    evidence::{Auth, Exposure, Facts, Transport},
    mcp::{code, header, well_known},
    printable::printable,
};

/// One signature, with what showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    pub signature: &'static str,
    pub detail: String,
    pub facts: Facts,
}

/// What an answer means for the next question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// A decisive answer to what was asked.
    Good,
    /// Understood and refused; `initialize` may do better.
    TryInitialize,
    /// Refused, and that is all there is to learn here.
    Refused,
    /// The refusal of an HTTP+SSE message endpoint.
    Legacy,
    /// Answered nonsense, or our own words.
    Nonsense,
    /// JSON-RPC of another protocol.
    OtherRpc,
    /// 401 or 403; where the metadata is, if it said.
    Gate(Option<String>),
    /// A foreign `Host` was refused.
    HostGuard,
    /// Where to, and whether the method is kept (307, 308).
    Redirect(String, bool),
    /// 405 or a listing: the methods this route takes.
    Routes(String),
    NotFound,
    /// Some other HTTP answer.
    Page,
    /// It reads JSON before it looks for a handler.
    ParsesJson,
    /// It asks for TLS.
    WantsTls,
    /// It serves nobody without a client certificate.
    WantsCertificate,
    /// 429 or 503: leave it alone.
    Busy,
    /// Connected, no useful byte.
    Silent,
    /// No HTTP here.
    NotHttp,
    Abusive,
    /// Nothing listens, or nobody answers.
    Gone,
    TlsFailed,
    /// It speaks HTTP/2 and nothing else.
    WantsHttp2,
}

impl Reaction {
    /// The same of what nothing that speaks JSON-RPC, and no guard of its own, says.
    pub fn sounds_like_another_site(&self) -> bool {
        matches!(self, Reaction::NotFound | Reaction::Page | Reaction::Gate(_) | Reaction::Redirect(..) | Reaction::Routes(_))
    }

    /// Under a `Host` that is not the server's: whether another site may have said so.
    pub fn may_be_another_site(&self) -> bool {
        matches!(
            self,
            Reaction::HostGuard
                | Reaction::NotFound
                | Reaction::Page
                | Reaction::Refused
                | Reaction::TryInitialize
                | Reaction::Legacy
                | Reaction::Gate(_)
                | Reaction::Redirect(..)
                | Reaction::Routes(_)
        )
    }
}

#[derive(Clone, Debug)]
pub struct Reading {
    pub indicators: Vec<Indicator>,
    pub kind: Reaction,
    /// A session the server minted for us, to be ended.
    pub session: Option<String>,
}

/// Reads what came back for `question`. `foreign`: the `Host` we sent was none of the server's.
pub fn read(question: &Question, outcome: &Outcome, foreign: bool) -> Reading {
    let answer = match outcome {
        Outcome::Answer(answer) => answer,
        other => return Reading { indicators: Vec::new(), kind: silence(other), session: None },
    };
    let mut reader = Reader { question, answer, foreign, indicators: Vec::new() };
    let session = answer.head.get(header::SESSION_ID).and_then(safe_session);
    if session.is_some() && question.ask != Ask::Control {
        reader.indicator("probe.server.session-header", "Mcp-Session-Id", legacy_facts());
    }
    reader.cors();
    let kind = reader.kind();
    let mut indicators = reader.indicators;
    for indicator in &mut indicators {
        indicator.facts.tls = Some(question.tls);
    }
    Reading { indicators, kind, session }
}

fn silence(outcome: &Outcome) -> Reaction {
    match outcome {
        Outcome::Refused | Outcome::Unreachable => Reaction::Gone,
        Outcome::Silent => Reaction::Silent,
        Outcome::Closed => Reaction::WantsTls,
        Outcome::NotHttp(bytes) if is_tls(bytes) => Reaction::WantsTls,
        Outcome::NotHttp(bytes) if is_http2(bytes) => Reaction::WantsHttp2,
        Outcome::TlsFailed { why, .. } if why.contains("NoApplicationProtocol") => Reaction::WantsHttp2,
        Outcome::NotHttp(_) => Reaction::NotHttp,
        Outcome::Abusive(_) => Reaction::Abusive,
        Outcome::TlsFailed { .. } => Reaction::TlsFailed,
        Outcome::Answer(_) => Reaction::Page,
    }
}

/// A TLS alert record (RFC 8446 §5.1).
fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x15) && bytes.get(1) == Some(&0x03)
}

/// SETTINGS on stream 0, what an HTTP/2 server says first (RFC 9113 §3.4, §6.5).
fn is_http2(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0) && bytes.get(3..9) == Some(&[4, 0, 0, 0, 0, 0])
}

fn legacy_facts() -> Facts {
    Facts { transport: Some(Transport::StreamableHttp), ..Facts::default() }
}

struct Reader<'a> {
    question: &'a Question,
    answer: &'a HttpAnswer,
    foreign: bool,
    indicators: Vec<Indicator>,
}

impl Reader<'_> {
    fn indicator(&mut self, signature: &'static str, what: &str, facts: Facts) {
        let detail = format!("{} -> {} {}", self.question.words(), self.answer.head.status, printable(what, 160));
        self.indicators.push(Indicator { signature, detail, facts });
    }

    /// Headers that only an MCP server lets browsers see. What merely reflects our own request does not count: we ask for none.
    fn cors(&mut self) {
        for name in ["access-control-expose-headers", "access-control-allow-headers"] {
            let value = self.answer.head.get(name).unwrap_or_default().to_ascii_lowercase();
            if value.contains(header::SESSION_ID) || value.contains(header::PROTOCOL_VERSION) {
                self.indicator("probe.server.cors-header", &format!("{name}: {value}"), Facts::default());
                return;
            }
        }
    }

    fn kind(&mut self) -> Reaction {
        let status = self.answer.head.status;
        if !self.question.tls && asks_for_tls(status, &self.answer.text()) {
            return Reaction::WantsTls;
        }
        let asked = self.answer.tls.as_ref().is_some_and(|t| t.wants_certificate);
        if asked && matches!(status, 400 | 403 | 495 | 496) && self.answer.text().to_ascii_lowercase().contains("certificate") {
            return Reaction::WantsCertificate;
        }
        match self.question.ask {
            Ask::Stream => self.stream(),
            Ask::Lines => self.lines(),
            Ask::Metadata => self.metadata(),
            Ask::Control => self.control(),
            Ask::Routes => match self.answer.head.get("allow") {
                Some(allow) => Reaction::Routes(allow.to_ascii_uppercase()),
                None => self.plain(),
            },
            Ask::Garbled if status == 400 && self.answer.text().to_ascii_lowercase().contains("json") => Reaction::ParsesJson,
            Ask::Garbled | Ask::Page | Ask::Site | Ask::EndSession(_) => self.plain(),
            Ask::Discover | Ask::Initialize => self.message(),
        }
    }

    fn message(&mut self) -> Reaction {
        match self.answer.rpc(&self.question.nonce) {
            Some(rpc) => self.rpc(&rpc),
            // Too long to be read, but of a session.
            None if self.answer.cut && self.indicators.iter().any(|s| s.signature == "probe.server.session-header") => Reaction::Good,
            None => self.refusal(),
        }
    }

    fn rpc(&mut self, rpc: &rpc::RpcAnswer) -> Reaction {
        let ours = rpc.id.as_deref() == Some(self.question.nonce.as_str());
        if rpc.is_request {
            self.indicator("probe.control.answered", "echoes the request", Facts::default());
            return Reaction::Nonsense;
        }
        match (&rpc.result, &rpc.error) {
            (Some(result), _) if self.question.ask == Ask::Discover => self.discovered(result, ours),
            (Some(result), _) => self.initialized(result, ours),
            (None, Some(fault)) => self.fault(fault, ours),
            (None, None) => Reaction::Refused,
        }
    }

    fn discovered(&mut self, result: &serde_json::Value, ours: bool) -> Reaction {
        match rpc::discovered(result) {
            Some((revisions, info)) if ours => {
                let what = format!("supportedVersions {}", revisions.iter().cloned().collect::<Vec<_>>().join(" "));
                let facts = Facts { transport: Some(Transport::StatelessHttp), revisions, server_info: info, ..open(self.question) };
                self.indicator("probe.server.discover-result", &what, facts);
                Reaction::Good
            }
            None if rpc::initialized(result).is_none() => {
                self.indicator("probe.server.against-jsonrpc", "a result to server/discover without supportedVersions", Facts::default());
                Reaction::OtherRpc
            }
            _ => {
                self.indicator("probe.control.answered", "a canned result: not to what was asked, or not with its id", Facts::default());
                Reaction::Nonsense
            }
        }
    }

    fn initialized(&mut self, result: &serde_json::Value, ours: bool) -> Reaction {
        match rpc::initialized(result) {
            Some((revision, info)) if ours => {
                let what = format!("protocolVersion {revision}, serverInfo {}", info.name);
                let facts = Facts {
                    transport: Some(Transport::StreamableHttp),
                    revisions: [revision].into(),
                    server_info: Some(info),
                    ..open(self.question)
                };
                let (what, facts) = self.under_any_name(what, facts);
                self.indicator("probe.server.initialize-result", &what, facts);
                Reaction::Good
            }
            Some(_) => {
                self.indicator("probe.control.answered", "a canned result with an id that is not ours", Facts::default());
                Reaction::Nonsense
            }
            None => {
                self.indicator(
                    "probe.server.against-jsonrpc",
                    "a result to initialize without protocolVersion or serverInfo",
                    Facts::default(),
                );
                Reaction::OtherRpc
            }
        }
    }

    fn fault(&mut self, fault: &rpc::Fault, ours: bool) -> Reaction {
        let listed = rpc::revisions(fault.data.get("supported").unwrap_or(&serde_json::Value::Null));
        let said = format!("{} {}", fault.code, printable(&fault.message, 140));
        if code::is_modern(fault.code) && (ours || !listed.is_empty()) {
            let legacy = listed.iter().any(|r| r.as_str() < super::question::MODERN);
            let facts = Facts { transport: Some(Transport::StatelessHttp), revisions: listed, ..Facts::default() };
            self.indicator("probe.server.modern-error", &said, facts);
            return if legacy && self.question.ask == Ask::Discover { Reaction::TryInitialize } else { Reaction::Good };
        }
        let named = rpc::revisions_in(&fault.message.replace(super::question::MODERN, ""));
        if named.len() >= 2 && fault.message.to_ascii_lowercase().contains("version") {
            self.indicator("probe.server.version-list", &said, Facts { revisions: named, ..legacy_facts() });
            return Reaction::TryInitialize;
        }
        let body = self.answer.text();
        if let Some((_, about, whose)) = words::find(self.answer.head.status.max(400), &body) {
            return self.spoken(about, &format!("{said} ({whose})"));
        }
        match (self.question.ask == Ask::Initialize, fault.code) {
            (true, code::METHOD_NOT_FOUND) => {
                self.indicator("probe.server.against-jsonrpc", &format!("initialize is unknown: {said}"), Facts::default());
                Reaction::OtherRpc
            }
            (true, _) => Reaction::Refused,
            (false, _) => Reaction::TryInitialize,
        }
    }

    fn spoken(&mut self, about: About, what: &str) -> Reaction {
        match about {
            About::Message => {
                self.indicator("probe.server.sdk-error", what, Facts::default());
                if self.question.ask == Ask::Discover { Reaction::TryInitialize } else { Reaction::Refused }
            }
            About::Legacy => {
                let facts = Facts { transport: Some(Transport::HttpSse), ..Facts::default() };
                self.indicator("probe.server.message-refusal", what, facts);
                Reaction::Legacy
            }
            About::Host => {
                self.indicator("probe.server.host-guard", what, Facts::default());
                Reaction::HostGuard
            }
            About::Auth => {
                self.indicator("probe.server.sdk-error", what, Facts { auth: Some(Auth::Bearer), ..Facts::default() });
                self.gate()
            }
        }
    }

    /// No JSON-RPC in it.
    fn refusal(&mut self) -> Reaction {
        let status = self.answer.head.status;
        let body = self.answer.text();
        if status >= 400
            && let Some((words, about, whose)) = words::find(status, &body)
        {
            return self.spoken(about, &format!("\"{words}\" ({whose})"));
        }
        let html = self.answer.content_type().contains("html");
        // Some SDKs answer 404 to a message without a session.
        let session = body.len() < 500 && body.to_ascii_lowercase().contains("session");
        match (status, &self.question.ask) {
            (400 | 406 | 415 | 422 | 500, Ask::Discover) if !html => Reaction::TryInitialize,
            (404, Ask::Discover) if session && !html => Reaction::TryInitialize,
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Reaction {
        let head = &self.answer.head;
        match head.status {
            401 => self.gate(),
            403 if head.get("www-authenticate").is_some() => self.gate(),
            405 => Reaction::Routes(head.get("allow").unwrap_or_default().to_ascii_uppercase()),
            301 | 302 | 307 | 308 => head.get("location").map_or(Reaction::Page, |l| Reaction::Redirect(l.to_owned(), head.status >= 307)),
            429 | 503 => Reaction::Busy,
            404 | 410 | 501 | 502 | 504 => Reaction::NotFound,
            _ => Reaction::Page,
        }
    }

    fn gate(&mut self) -> Reaction {
        let challenge = self.answer.head.get("www-authenticate").unwrap_or_default().to_owned();
        let lower = challenge.to_ascii_lowercase();
        let auth = match lower.split(' ').next() {
            Some("bearer") => Auth::Bearer,
            Some("basic") => Auth::Basic,
            _ => Auth::Unknown,
        };
        self.indicator("probe.server.auth-gate", &format!("asks for {}", auth.as_str()), Facts { auth: Some(auth), ..Facts::default() });
        Reaction::Gate(metadata_url(&challenge))
    }

    fn metadata(&mut self) -> Reaction {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&self.answer.body) else { return Reaction::Page };
        if self.answer.head.status != 200 {
            return Reaction::NotFound;
        }
        let resource = value.get("resource").and_then(|r| r.as_str()).unwrap_or_default();
        let scopes: Vec<&str> =
            value.get("scopes_supported").and_then(|s| s.as_array()).into_iter().flatten().filter_map(|s| s.as_str()).take(32).collect();
        let path = url::Url::parse(resource).map(|u| u.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        let named = path.rsplit('/').next().is_some_and(|last| matches!(last, "mcp" | "sse"));
        let scoped = scopes.iter().any(|s| s.starts_with("mcp:") || s.starts_with("mcp."));
        if named || scoped {
            let what = format!("resource {resource}, scopes {}", scopes.join(" "));
            let facts = Facts { auth: Some(Auth::Bearer), ..Facts::default() };
            self.indicator("probe.server.auth-challenge", &what, facts.clone());
            // RFC 9728 §3.1: the path of the resource stands behind the well-known one.
            let about = self.question.path.strip_prefix(well_known::PROTECTED_RESOURCE).unwrap_or_default();
            if named && about.trim_end_matches('/') == path {
                self.indicator("probe.server.resource-match", &what, facts);
            }
            return Reaction::Good;
        }
        Reaction::Page
    }

    /// Lines over bare TCP: the answer to `initialize`, and to nonsense after it.
    fn lines(&mut self) -> Reaction {
        let answered = |nonce: &str| pick(self.answer.stream.iter(), nonce).filter(|a| a.id.as_deref() == Some(nonce));
        let Some(first) = answered(&self.question.nonce) else { return Reaction::NotHttp };
        let second = self.answer.posted.as_ref().and_then(|(nonce, _)| answered(nonce));
        if first.is_request {
            return Reaction::Nonsense;
        }
        let Some((revision, info)) = first.result.as_ref().and_then(rpc::initialized) else { return Reaction::OtherRpc };
        let what = format!("protocolVersion {revision}, serverInfo {}", info.name);
        let facts =
            Facts { transport: Some(Transport::RawTcp), revisions: [revision].into(), server_info: Some(info), ..open(self.question) };
        self.indicator("probe.server.initialize-result", &what, facts);
        match second {
            Some(rpc::RpcAnswer { error: Some(fault), is_request: false, .. }) => {
                self.indicator("probe.control.refused", &format!("{} {}", fault.code, fault.message), Facts::default());
                Reaction::Good
            }
            Some(_) => {
                self.indicator("probe.control.answered", "a method nobody has was answered", Facts::default());
                Reaction::Nonsense
            }
            None => Reaction::Good,
        }
    }

    fn control(&mut self) -> Reaction {
        let foreign = self.foreign;
        let status = self.answer.head.status;
        let rpc = self.answer.rpc(&self.question.nonce);
        if let Some((_, About::Host, _)) = words::find(status, &self.answer.text()) {
            return Reaction::HostGuard;
        }
        match rpc {
            Some(rpc) if rpc.is_request || rpc.result.is_some() => {
                self.indicator("probe.control.answered", "a method nobody has was answered", Facts::default());
                Reaction::Nonsense
            }
            Some(rpc::RpcAnswer { error: Some(fault), .. }) => {
                let (said, facts) = self.under_any_name(format!("{} {}", fault.code, fault.message), Facts::default());
                self.indicator("probe.control.refused", &said, facts);
                Reaction::Refused
            }
            // Under a foreign Host another site may have answered: that refuses nothing.
            _ if foreign => Reaction::HostGuard,
            _ if status >= 400 => {
                self.indicator("probe.control.refused", "", Facts::default());
                Reaction::Refused
            }
            _ => Reaction::Page,
        }
    }

    /// An answer given under a `Host` that is not the server's: it takes any.
    fn under_any_name(&self, said: String, mut facts: Facts) -> (String, Facts) {
        if !self.foreign {
            return (said, facts);
        }
        facts.exposures.insert(Exposure::ForeignHostAccepted);
        (format!("{said} (a foreign Host was accepted)"), facts)
    }

    fn stream(&mut self) -> Reaction {
        if !self.answer.is_event_stream() || self.answer.head.status != 200 {
            return self.refusal();
        }
        let Some(endpoint) = self.answer.stream.iter().find(|e| e.name == "endpoint") else {
            if self.answer.stream.is_empty() {
                self.indicator("probe.context.silent-sse", "", Facts::default());
            }
            return Reaction::Page;
        };
        let facts = Facts { transport: Some(Transport::HttpSse), ..open(self.question) };
        // The message URI holds a session: its path is kept, its query is not.
        let uri = endpoint.data.split('?').next().unwrap_or_default().to_owned();
        let said = |nonce: &str| pick(self.answer.stream.iter(), nonce).filter(|a| a.id.as_deref() == Some(nonce));
        let first = self.answer.posted.as_ref().and_then(|(nonce, _)| said(nonce));
        let Some((revision, info)) = first.and_then(|a| a.result).and_then(|r| rpc::initialized(&r)) else {
            self.indicator(
                "probe.server.endpoint-unanswered",
                &format!("event endpoint {uri}"),
                Facts { exposures: Default::default(), ..facts },
            );
            return Reaction::Refused;
        };
        self.indicator("probe.server.endpoint-event", &format!("event endpoint {uri}"), facts.clone());
        let what = format!("protocolVersion {revision}, serverInfo {}", info.name);
        self.indicator("probe.server.initialize-result", &what, Facts { revisions: [revision].into(), server_info: Some(info), ..facts });
        if self.answer.posted.as_ref().is_some_and(|(_, status)| (200..300).contains(status)) {
            self.indicator("probe.control.two-channels", &format!("posted to {uri}, answered on the stream"), Facts::default());
        }
        Reaction::Good
    }
}

/// What an answer without credentials exposes.
fn open(question: &Question) -> Facts {
    let mut facts = Facts { auth: Some(Auth::None), ..Facts::default() };
    facts.exposures.insert(Exposure::NoAuth);
    if !question.tls && !question.endpoint.address.is_loopback() {
        facts.exposures.insert(Exposure::NoTls);
    }
    facts
}

/// nginx, Go, Apache, Node proxies: all say so in their own words.
fn asks_for_tls(status: u16, body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    matches!(status, 400 | 426 | 497) && ["https port", "https server", "ssl-enabled server port"].iter().any(|w| body.contains(w))
}

/// `resource_metadata` of a challenge (RFC 9728 §5.1).
fn metadata_url(challenge: &str) -> Option<String> {
    let (_, rest) = challenge.split_once("resource_metadata=")?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([',', ' ']).next()?,
    };
    (value.len() <= 512).then(|| value.to_owned())
}
