//! To a backend and back. Needs a [`Permit`]: whoever has none cannot even ask.

mod address;
mod cause;
mod dial;
mod endpoint;
mod headers;
mod lens;
mod list;
mod pool;
mod relay;
pub(crate) mod session;
mod sse;
mod target;

pub(crate) use headers::SESSION;
#[cfg(test)]
pub(crate) use lens::Lens;
pub(crate) use list::Reader;
pub(crate) use relay::Withdrawn;
pub(crate) use target::Target;

use crate::{
    answer::{Body, Ids, Refusal, Whose, full},
    audit::{Outcome, Ticket},
    config::Forward as Config,
    validate::era::Era,
};
use bytes::Bytes;
use endpoint::{ANSWERS, Endpoint, Streams};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
};
use pool::{BackendResponse, Failure, Pools};
use relay::{Relay, Terms};
use rules::{access::Permit, printable::printable};
use serde_json::Value;
use session::{Sealer, Session};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

const ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Into a stream, beside what its backend sends.
type Answers = tokio::sync::mpsc::Sender<Bytes>;

/// Reaches backends.
#[derive(Debug)]
pub(crate) struct Forward {
    pools: Pools,
    pub(crate) streams: Streams,
    config: Config,
    turn: AtomicUsize,
}

/// What goes to the backend, and what is known about it.
pub(crate) struct Call<'a> {
    pub(crate) http: Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) era: Era,
    /// The request the answer is for, when there is exactly one.
    pub(crate) id: Option<&'a Value>,
    /// Whether the body held a request, so that JSON or events must come back.
    pub(crate) expects_answer: bool,
    pub(crate) lists_tools: bool,
    pub(crate) targets: &'a [Arc<Target>],
    pub(crate) reader: Reader,
    pub(crate) sealer: &'a Arc<Sealer>,
    /// What the client presented, and what it stands for.
    pub(crate) session: Option<(HeaderValue, Session)>,
    /// Where a client of 2024-11-05 posts: the answer comes on the stream it opened.
    pub(crate) endpoint: Option<Session>,
    pub(crate) call: &'a str,
}

impl Forward {
    pub(crate) fn new(config: &Config) -> Forward {
        Forward { pools: Pools::new(config), streams: Streams::default(), config: config.clone(), turn: AtomicUsize::new(0) }
    }

    /// Forgets the connections of backends that are no longer registered.
    pub(crate) fn keep<'a>(&self, registered: impl Iterator<Item = &'a Arc<Target>>) {
        self.pools.keep(&registered.collect());
    }

    /// The answer, streaming; `ticket` goes with its body, and so does what ends an open stream early.
    pub(crate) async fn send(
        &self,
        permit: &Permit,
        call: Call<'_>,
        withdrawn: impl FnOnce() -> Withdrawn,
        ticket: &mut Option<Ticket>,
    ) -> Result<Response<Body>, Refusal> {
        let (target, answer) = self.ask(&call).await.map_err(|r| to(r, &call))?;
        if let Some(ticket) = ticket {
            ticket.record.backend = Some(answer.lease.peer);
        }
        let judged = judge(&answer.response, &call).map_err(|r| to(r, &call))?;
        let (parts, from) = answer.response.into_parts();
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = parts.status;
        *response.headers_mut() = headers::to_client(&parts.headers);
        let session = self.session(permit, &call, &target, &parts.headers).map_err(|r| to(r, &call))?;
        if let Some(session) = session {
            response.headers_mut().insert(SESSION, session);
        }
        let events = judged == BodyKind::Events;
        if events {
            response.headers_mut().insert(ACCEL, HeaderValue::from_static("no"));
        }
        if judged == BodyKind::Json && call.lists_tools {
            let view = self.list(from, &call).await.map_err(|r| to(r, &call))?;
            answer.pool.put(answer.lease);
            if let Some(mut ticket) = ticket.take() {
                ticket.record.bytes = view.len() as u64;
                ticket.answered(parts.status.as_u16());
                ticket.finish(Outcome::Answered);
            }
            *response.body_mut() = full(view);
            return Ok(response);
        }
        let (answers, of_ours) = tokio::sync::mpsc::channel(ANSWERS);
        let lens = events.then(|| self.lens(permit, &call, &target, answers)).flatten();
        let terms = Terms {
            lens,
            withdrawn: events.then(withdrawn),
            answers: events.then_some(of_ours),
            idle: self.config.idle_stream.map(|p| p.0),
            events,
        };
        if let Some(mut ticket) = ticket.take() {
            ticket.answered(parts.status.as_u16());
            *response.body_mut() = Relay::new(from, answer.lease, answer.pool, ticket, terms).boxed_unsync();
        }
        Ok(response)
    }

    /// Asks the backend that has the session, or else each in turn until one can be connected to.
    async fn ask(&self, call: &Call<'_>) -> Result<(Arc<Target>, BackendResponse), Refusal> {
        let mut why = Failure::Unreachable("it has no backend that can be dialled".into());
        for target in self.candidates(call)? {
            let session = call.session.as_ref().map(|(_, s)| s.id.as_str());
            let mut request = Request::new(Full::new(call.body.clone()));
            *request.method_mut() = call.http.clone();
            *request.uri_mut() = match &call.endpoint {
                None => target.path.clone(),
                Some(endpoint) => endpoint.id.parse().map_err(|_| no_session())?,
            };
            *request.headers_mut() =
                headers::to_backend(call.headers, call.era, &self.config.headers, &target.authority, session, call.call);
            match self.pools.send(&target, request).await {
                Ok(answer) => return Ok((target, answer)),
                Err(Failure::Unreachable(text)) => why = Failure::Unreachable(text),
                Err(other) => return Err(failed(other)),
            }
        }
        Err(failed(why))
    }

    fn candidates(&self, call: &Call<'_>) -> Result<Vec<Arc<Target>>, Refusal> {
        if let Some(session) = call.session.as_ref().map(|(_, s)| s).or(call.endpoint.as_ref()) {
            let has_it = call.targets.iter().find(|t| t.url == session.backend);
            return has_it.map(|t| vec![t.clone()]).ok_or_else(no_session);
        }
        let mut all = call.targets.to_vec();
        let first = self.turn.fetch_add(1, Relaxed).checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(first);
        Ok(all)
    }

    /// The session id for the client: the one it presented as long as the backend means the same session.
    fn session(&self, permit: &Permit, call: &Call<'_>, target: &Target, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let Some(minted) = headers.get(SESSION).filter(|_| call.era == Era::Legacy) else { return Ok(None) };
        let minted = minted.to_str().unwrap_or_default();
        if let Some((presented, _)) = call.session.as_ref().filter(|(_, s)| s.id == minted) {
            return Ok(Some(presented.clone()));
        }
        let session = Session { kind: session::TokenUse::Session, backend: target.url.clone(), id: minted.to_owned() };
        let sealed = call.sealer.seal(permit, &session).and_then(|s| HeaderValue::try_from(s).ok());
        match sealed {
            Some(sealed) => Ok(Some(sealed)),
            None => Err(backend("forward.session", "the backend gave a session id that the protocol does not allow".into())),
        }
    }

    /// A whole list of tools, as this principal may see it.
    async fn list(&self, from: Incoming, call: &Call<'_>) -> Result<Bytes, Refusal> {
        let body = Limited::new(from, self.config.list_bytes).collect().await;
        let body = body.map_err(|e| match e.downcast_ref::<LengthLimitError>() {
            Some(_) => backend("forward.list", format!("the backend's list of tools is larger than {} bytes", self.config.list_bytes)),
            None => failed(Failure::BrokeOff(printable(&e.to_string(), 200))),
        })?;
        let body = body.to_bytes();
        match call.reader.view(&body) {
            Ok(Some(view)) => Ok(view.into()),
            Ok(None) => Ok(body),
            Err(why) => Err(backend("forward.list", why.to_string())),
        }
    }

    /// A reader who may see everything needs no filter but on the list itself, whose `cacheScope` is set.
    fn lens(&self, permit: &Permit, call: &Call<'_>, target: &Arc<Target>, answers: Answers) -> Option<lens::Lens> {
        let reader = (call.lists_tools || !call.reader.sees_all()).then(|| call.reader.clone());
        let owed = (call.era == Era::Modern).then(|| call.id.cloned()).flatten();
        let opened = call.http == Method::GET;
        let endpoint = opened.then(|| Endpoint {
            sealer: call.sealer.clone(),
            permit: permit.clone(),
            target: target.clone(),
            streams: self.streams.clone(),
            answers,
        });
        lens::Lens::new(reader, owed, endpoint, self.config.list_bytes, call.call)
    }
}

/// What an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyKind {
    Json,
    Events,
    /// Of an answer that has no message.
    Other,
}

/// Whether an answer may be passed on as it is.
fn judge(response: &Response<Incoming>, call: &Call<'_>) -> Result<BodyKind, Refusal> {
    let (status, headers) = (response.status(), response.headers());
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = match essence.as_str() {
        "application/json" => BodyKind::Json,
        "text/event-stream" => BodyKind::Events,
        _ => BodyKind::Other,
    };
    match status.as_u16() {
        300..=399 => return Err(backend("forward.redirect", format!("the backend redirects ({status}); redirects are not followed"))),
        401 | 403 | 407 | 421 => {
            return Err(backend(
                "forward.refused",
                format!("the backend refuses the gateway ({status}); the caller's key is not passed on to it"),
            ));
        }
        100..=199 => return Err(backend("forward.upgrade", format!("the backend answered {status}, which is no answer to a call"))),
        // Clients tell protocol eras by these, and by whether the body is JSON-RPC.
        400..=499 if kind != BodyKind::Json && call.http == Method::POST => {
            let shown = printable(if essence.is_empty() { "no content type" } else { &essence }, 60);
            let error = format!("the backend answered {status} with {shown}: no MCP endpoint seems to be there");
            let refusal = Refusal::new(status, Outcome::BackendFailed, "forward.not-mcp", Whose::Backend, error);
            return Err(refusal.what_to_do("ask the server's owner"));
        }
        200..=299 if call.expects_answer && kind == BodyKind::Other => {
            let shown = printable(if essence.is_empty() { "no content type" } else { &essence }, 60);
            return Err(backend("forward.not-mcp", format!("the backend answered {shown}, which is no MCP answer")));
        }
        _ => {}
    }
    let looked_at =
        call.lists_tools || (kind == BodyKind::Events && (!call.reader.sees_all() || call.era == Era::Modern || call.http == Method::GET));
    let encoding = text(CONTENT_ENCODING);
    if looked_at && kind != BodyKind::Other && !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(backend("forward.encoding", "the backend compressed an answer that has to be read, though it was asked not to".into()));
    }
    Ok(kind)
}

pub(crate) fn no_session() -> Refusal {
    // -32001 is what clients of the era with sessions know.
    Refusal::new(StatusCode::NOT_FOUND, Outcome::Invalid, "session.unknown", Whose::Caller, "Session not found")
        .code(-32001)
        .what_to_do("send `initialize` without a session id to begin a new session")
}

fn backend(rule: &'static str, error: String) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, Outcome::BackendFailed, rule, Whose::Backend, error).what_to_do("ask the server's owner")
}

fn failed(why: Failure) -> Refusal {
    let (rule, status, what_to_do) = match why {
        Failure::Unreachable(_) => {
            ("forward.unreachable", StatusCode::BAD_GATEWAY, "nothing was executed: try again later, or ask the server's owner")
        }
        Failure::BrokeOff(_) => {
            ("forward.broke-off", StatusCode::BAD_GATEWAY, "the call may have been executed: look before you repeat it")
        }
        Failure::Silent(_) => ("forward.silent", StatusCode::GATEWAY_TIMEOUT, "the call may have been executed: look before you repeat it"),
    };
    Refusal::new(status, Outcome::BackendFailed, rule, Whose::Backend, format!("the backend {why}")).what_to_do(what_to_do)
}

fn to(refusal: Refusal, call: &Call<'_>) -> Refusal {
    refusal.to(Ids::One(call.id.cloned()))
}
