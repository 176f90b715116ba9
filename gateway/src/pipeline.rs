//! The one way through: host_check, authenticate, read, authorize, limit, validate, forward, audit.
//!
//! Read [`pass`]: it is the policy of this gateway in the order in which it applies. `forward` takes a [`Permit`], and only
//! `authorize` has one to give.

use crate::{
    answer::{Body, CALL, Refusal, Whose, full},
    audit::{Log, Outcome, Record, Ticket},
    authenticate::authenticate,
    authorize,
    bundle::PolicySnapshot,
    config::{Bounds, Limit},
    forward::{
        Call, Forward, Reader, SESSION, Withdrawn, no_session,
        session::{Sealer, Session, TokenUse},
    },
    host_check::{HostCheck, Misaddressed},
    lifecycle,
    limit::{Limiter, Openings},
    read::{self, RequestContent},
    route::{Route, route},
    validate::era::{self, Era},
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header::HeaderValue, http::request::Parts};
use rules::{
    Timestamp,
    access::{Grant, Permit, Principal, Want},
    printable::printable,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Signatures a request that says its length in two ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ambiguous;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) policy: watch::Receiver<Option<Arc<PolicySnapshot>>>,
    pub(crate) bundles_refused: Arc<AtomicU64>,
    pub(crate) host_check: HostCheck,
    pub(crate) limit: Limit,
    pub(crate) limiter: Mutex<Limiter>,
    pub(crate) openings: Openings,
    pub(crate) forward: Forward,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) log: Log,
    pub(crate) bounds: Bounds,
    pub(crate) closing: CancellationToken,
}

/// One request on its way.
struct HttpTransaction<'a> {
    gateway: &'a Gateway,
    parts: &'a Parts,
    local: SocketAddr,
    call: &'a str,
    now: Timestamp,
    /// Where a client of 2024-11-05 was told to post.
    token: Option<&'a str>,
    policy: Option<Arc<PolicySnapshot>>,
    /// Moves into the answer's body when that streams.
    ticket: Option<Ticket>,
}

pub(crate) async fn serve(gateway: &Gateway, peer: SocketAddr, local: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let (now, started) = (Timestamp::now(), Instant::now());
    let call = call_id(now);
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("", |t| t.as_str());
    let (slug, token) = match route(target) {
        Route::Server(slug) => (Some(slug), None),
        Route::Message { slug, token } => (Some(slug), Some(token)),
        _ => (None, None),
    };
    let record = Record {
        call: call.clone(),
        at: now,
        peer: Some(peer),
        http: printable(parts.method.as_str(), 16),
        slug: slug.map(str::to_owned),
        ..Record::default()
    };
    let mut response = match gateway.log.ticket(record, started).await {
        Err(_) => no_record().response(&call),
        Ok(ticket) => {
            let policy = gateway.policy.borrow().clone();
            let mut exchange = HttpTransaction { gateway, parts: &parts, local, call: &call, now, token, policy, ticket: Some(ticket) };
            let answer = match pass(&mut exchange, slug, body).await {
                Ok(answer) => answer,
                Err(refusal) => exchange.refuse(refusal),
            };
            exchange.announced(answer, slug)
        }
    };
    if let Ok(call) = HeaderValue::try_from(call) {
        response.headers_mut().insert(CALL, call);
    }
    response
}

async fn pass(x: &mut HttpTransaction<'_>, slug: Option<&str>, body: Incoming) -> Result<Response<Body>, Refusal> {
    if x.parts.extensions.get::<Ambiguous>().is_some() {
        return Err(ambiguous());
    }
    x.gateway.host_check.check(&x.parts.uri, &x.parts.headers, x.local.ip()).map_err(misaddressed)?;
    let slug = slug.ok_or_else(|| unknown_path(x.parts))?;
    let policy = x.policy.clone().ok_or_else(no_bundle)?;
    let who = authenticate(policy.keyring(), &x.parts.headers)?;
    x.note(|r| (r.principal, r.generation) = (Some(who.clone()), Some(policy.generation())));
    // Before the body is read: one key cannot take all connections by sending slowly.
    x.open(&who)?;
    let said = read::request(x.parts, body, &x.gateway.bounds).await?;
    x.note(|r| said.describe(r));
    let permit = x.authorize(&policy, &who, slug, &said);
    // Refused requests are charged, too: trying costs as much as succeeding.
    x.limit(&who, said.envelope.as_ref().map_or(1, |e| e.messages.len()))?;
    let permit = permit?;
    x.note(|r| (r.grant, r.revision) = (Some(permit.grant().to_owned()), Some(permit.registration_revision())));
    let era = validate(&x.parts.headers, &said)?;
    x.forward(&policy, &permit, era, said).await
}

fn limited(rule: &'static str, error: &'static str) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, Outcome::Limited, rule, Whose::Caller, error)
}

/// The headers against the body; for requests without a body, that they belong to the era that has them.
fn validate(headers: &HeaderMap, said: &RequestContent) -> Result<Era, Refusal> {
    let invalid = |status, rule, why: String| Refusal::new(status, Outcome::Invalid, rule, Whose::Caller, why);
    match &said.envelope {
        Some(envelope) => era::check(headers, envelope).map_err(|m| {
            invalid(StatusCode::BAD_REQUEST, "validate.era", m.why)
                .code(m.code)
                .what_to_do("send headers and body as the protocol revision in MCP-Protocol-Version has them")
                .to(authorize::ids(Some(envelope)))
        }),
        None if era::of_headers(headers) == Era::Modern => {
            Err(invalid(StatusCode::METHOD_NOT_ALLOWED, "validate.method", format!("protocol revision 2026-07-28 knows no {}", said.http))
                .what_to_do("send requests by POST; `subscriptions/listen` opens a stream")
                .allow("POST"))
        }
        None => Ok(Era::Legacy),
    }
}

impl HttpTransaction<'_> {
    fn note(&mut self, what: impl FnOnce(&mut Record)) {
        if let Some(ticket) = &mut self.ticket {
            what(&mut ticket.record);
        }
    }

    fn authorize(&self, policy: &PolicySnapshot, who: &Principal, slug: &str, said: &RequestContent) -> Result<Permit, Refusal> {
        match &said.envelope {
            Some(envelope) => authorize::messages(policy, who, slug, envelope, self.now),
            None => authorize::one(policy, who, slug, &Want::Method("(stream)"), self.now),
        }
    }

    fn open(&mut self, who: &Principal) -> Result<(), Refusal> {
        let opening = self.gateway.openings.open(who, self.gateway.limit.open).ok_or_else(|| {
            limited("limit.open", "too many exchanges are open with this key")
                .what_to_do("end some of them first: streams and unanswered calls count")
                .retry_after(Duration::from_secs(1))
        })?;
        if let Some(ticket) = &mut self.ticket {
            ticket.opening = Some(opening);
        }
        Ok(())
    }

    fn limit(&self, who: &Principal, messages: usize) -> Result<(), Refusal> {
        let drawn = self.gateway.limiter.lock().unwrap_or_else(PoisonError::into_inner).draw(who, messages, Instant::now());
        drawn.map_err(|wait| {
            limited("limit.principal", "too many requests with this key")
                .what_to_do("slow down: Retry-After says when the next request is due")
                .retry_after(wait)
        })
    }

    async fn forward(
        &mut self,
        policy: &PolicySnapshot,
        permit: &Permit,
        era: Era,
        said: RequestContent,
    ) -> Result<Response<Body>, Refusal> {
        let headers = &self.parts.headers;
        let session = self.session(permit, era)?;
        let endpoint = self.endpoint(permit, era, &said)?;
        let who = permit.principal();
        let reader = Reader {
            who: who.clone(),
            slug: permit.slug().to_owned(),
            grants: policy.grants(&who.tenant, permit.slug()).to_vec(),
            modern: era == Era::Modern,
        };
        let envelope = said.envelope.as_ref();
        let id = envelope.filter(|e| !e.batch).and_then(|e| e.request_ids().next());
        let call = Call {
            http: said.http.clone(),
            headers,
            body: said.body.clone(),
            era,
            id,
            expects_answer: endpoint.is_none() && envelope.is_some_and(|e| e.request_ids().next().is_some()),
            lists_tools: envelope.is_some_and(|e| e.lists_tools()),
            targets: policy.targets(permit.slug()),
            reader,
            sealer: &self.gateway.sealer,
            session,
            endpoint,
            call: self.call,
        };
        let (policy, closing) = (self.gateway.policy.clone(), self.gateway.closing.clone());
        let (who, slug) = (who.clone(), permit.slug().to_owned());
        let grants = call.reader.grants.clone();
        let withdrawn = || withdrawn(policy, closing, who, slug, grants);
        self.gateway.forward.send(permit, call, withdrawn, &mut self.ticket).await
    }

    /// The modern era has no sessions: an id left over from another is of no meaning.
    fn session(&self, permit: &Permit, era: Era) -> Result<Option<(HeaderValue, Session)>, Refusal> {
        if era == Era::Modern {
            return Ok(None);
        }
        let mut presented = self.parts.headers.get_all(SESSION).iter();
        match (presented.next(), presented.next()) {
            (None, _) => Ok(None),
            (Some(token), None) => {
                let session = token
                    .to_str()
                    .ok()
                    .and_then(|t| self.gateway.sealer.open(permit.slug(), permit.principal(), TokenUse::Session, t))
                    .ok_or_else(no_session)?;
                Ok(Some((token.clone(), session)))
            }
            _ => Err(no_session()),
        }
    }

    /// What the token in the path stands for: only messages of the legacy era are posted there.
    fn endpoint(&self, permit: &Permit, era: Era, said: &RequestContent) -> Result<Option<Session>, Refusal> {
        let Some(token) = self.token else { return Ok(None) };
        let fits = era == Era::Legacy && said.http == Method::POST;
        let session = fits.then(|| self.gateway.sealer.open(permit.slug(), permit.principal(), TokenUse::Endpoint, token)).flatten();
        session.map(Some).ok_or_else(no_session)
    }

    fn refuse(&mut self, refusal: Refusal) -> Response<Body> {
        let response = match self.tell(&refusal) {
            true => accepted(),
            false => refusal.response(self.call),
        };
        if let Some(mut ticket) = self.ticket.take() {
            ticket.record.rule = Some(refusal.rule.to_owned());
            ticket.record.why = Some(printable(&refusal.error, 300));
            ticket.answered(response.status().as_u16());
            ticket.finish(refusal.outcome);
        }
        response
    }

    /// Whether the refusal comes on the stream where a client of 2024-11-05 reads answers.
    fn tell(&self, refusal: &Refusal) -> bool {
        let record = self.ticket.as_ref().map(|t| &t.record);
        let told = self.token.zip(refusal.message(self.call)).zip(record).and_then(|((token, message), record)| {
            let session = self.gateway.sealer.open(record.slug.as_deref()?, record.principal.as_ref()?, TokenUse::Endpoint, token)?;
            Some(self.gateway.forward.streams.tell(&session, message.as_bytes()))
        });
        told.unwrap_or(false)
    }

    fn announced(&self, mut response: Response<Body>, slug: Option<&str>) -> Response<Body> {
        // Only who may use a server learns of its state.
        let told = !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        let registration = slug.filter(|_| told).and_then(|s| self.policy.as_ref()?.registration(s));
        if let Some(registration) = registration {
            lifecycle::announce(registration, response.headers_mut());
        }
        response
    }
}

/// Ends an open stream when its key, its registration or something it was granted goes, when its server's sunset passes, or when
/// the gateway ends.
fn withdrawn(
    mut policy: watch::Receiver<Option<Arc<PolicySnapshot>>>,
    closing: CancellationToken,
    who: Principal,
    slug: String,
    grants: Vec<Grant>,
) -> Withdrawn {
    Box::pin(async move {
        loop {
            let known = policy.borrow_and_update().clone();
            let now = Timestamp::now();
            if let Some(Err(why)) = known.as_ref().map(|b| authorize::still(b, &who, &slug, &grants, now)) {
                return why;
            }
            let sunset = known.as_ref().and_then(|b| b.registration(&slug)).and_then(|r| lifecycle::ends(r, now));
            tokio::select! {
                () = closing.cancelled() => return "the gateway shuts down",
                Ok(()) = policy.changed() => {}
                () = tokio::time::sleep(sunset.unwrap_or_default()), if sunset.is_some() => {}
            }
        }
    })
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(full("Accepted"));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn ambiguous() -> Refusal {
    let error = "the request has both Content-Length and Transfer-Encoding";
    Refusal::new(StatusCode::BAD_REQUEST, Outcome::Invalid, "doorstep.framing", Whose::Caller, error)
        .what_to_do("send one of them: what is in between may have read another request than this gateway would")
}

fn misaddressed(why: Misaddressed) -> Refusal {
    let new = |status, rule, text: &str| Refusal::new(status, Outcome::Invalid, rule, Whose::Caller, text);
    match why {
        Misaddressed::Unclear => {
            new(StatusCode::BAD_REQUEST, "doorstep.unclear", "the request has no single, readable Host, or is meant for a proxy")
                .what_to_do("send one Host header and a target that begins with a slash")
        }
        Misaddressed::Host => new(StatusCode::FORBIDDEN, "doorstep.host", "the request is addressed to a name this gateway does not have")
            .what_to_do("use the gateway's own name; an administrator adds names in gateway.public_names"),
        Misaddressed::Origin => new(StatusCode::FORBIDDEN, "doorstep.origin", "the request comes from a web page of another origin")
            .what_to_do("call from a program; an administrator admits web origins in gateway.origins"),
    }
}

fn unknown_path(parts: &Parts) -> Refusal {
    let shown = printable(parts.uri.path(), 100);
    let refusal =
        Refusal::new(StatusCode::NOT_FOUND, Outcome::Invalid, "route.unknown", Whose::Caller, format!("nothing is served at {shown}"))
            .what_to_do("an MCP endpoint is /mcp/v1/tools/<slug>/rpc, spelt exactly so and without a query");
    // Whoever speaks MCP takes other bodies for a sign of the older era and would try that next.
    if parts.method == Method::POST { refusal } else { refusal.plain() }
}

fn no_bundle() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Outcome::GatewayFailed,
        "bundle.none",
        Whose::Gateway,
        "this gateway has no policy yet, so it lets nothing through",
    )
    .what_to_do("wait for the collector's signed bundle; `gnomon doctor` says what is missing")
    .retry_after(Duration::from_secs(5))
}

fn no_record() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Outcome::GatewayFailed,
        "audit.unavailable",
        Whose::Gateway,
        "the audit log cannot take a record of this call, so the call was not made",
    )
    .what_to_do("an administrator has to look at the gateway's disk and log")
    .retry_after(Duration::from_secs(5))
}

/// 32 hexadecimal digits: milliseconds since 1970, then 80 bits of chance. Ids sort by time.
fn call_id(now: Timestamp) -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut chance = [0; 10];
    // Without chance ids are less unlike, and still in order.
    let _ = SystemRandom::new().fill(&mut chance);
    format!("{:012x}{}", now.as_millisecond().max(0), crate::hex::hex(&chance))
}
