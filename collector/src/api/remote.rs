//! The intake for sensors, enforcers and gateways elsewhere: HTTPS, and a client certificate for all but joining.

use super::{Api, body, guard, peer::Peer, problem::Problem, query};
use crate::{
    enrol::{self, Csr},
    intake::Speaker,
    sensors::Role,
};
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, Uri},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rules::wire::v1::{Ack, Batch, EnrollRequest, EnrollResponse, Signed};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};

/// How long a question for news waits for some.
const LONG_POLL: Duration = Duration::from_secs(25);
const MAX_ENROLL: usize = 64 << 10;

/// Batches that are read, checked and stored at the same time: what they may hold in memory together.
const BATCHES: usize = 32;
const TURN: Duration = Duration::from_secs(2);

type Certified = Extension<Option<Peer>>;

pub(crate) fn routes(api: Api) -> Router {
    let turns = Arc::new(Semaphore::new(BATCHES));
    Router::new()
        .route("/v1/enroll", post(enroll).layer(DefaultBodyLimit::max(MAX_ENROLL)))
        .route("/v1/renew", post(renew).layer(DefaultBodyLimit::max(MAX_ENROLL)))
        .route(
            "/v1/observations",
            post(observations).layer(DefaultBodyLimit::max(Batch::MAX_BYTES)).layer(from_fn_with_state(turns, in_turn)),
        )
        .route("/v1/decisions", get(decisions))
        .route("/v1/bundle", get(bundle))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(super::problem::not_found)
        .method_not_allowed_fallback(super::problem::wrong_method)
        .layer(axum::middleware::from_fn(guard::in_time))
        .with_state(api)
}

/// Lets so many requests in at a time, before their bodies are read; whoever waits too long is told to come back.
async fn in_turn(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(TURN, turns.acquire()).await {
        Ok(Ok(_turn)) => next.run(request).await,
        _ => Problem::from(crate::Unavailable::Busy).into_response(),
    }
}

/// Who asks, in a role that may. Asked anew with each request: a revoked certificate ends with it.
async fn admit(api: &Api, peer: Option<Peer>, may: &'static [Role]) -> Result<(Peer, String), Problem> {
    let advice = "enrol with a join token (`gnomon sensor --token …`)";
    let peer = peer.ok_or_else(|| Problem::forbidden("this needs a client certificate of this collector", advice))?;
    let asked = peer.clone();
    let known = api.read(move |state| {
        let sensor = state.sensors.get(&asked.name)?;
        Some((sensor.stands(&asked.serial), sensor.role, sensor.site.clone()))
    });
    match known.await? {
        Some((true, role, site)) if may.contains(&role) => Ok((peer, site)),
        Some((true, ..)) => Err(Problem::forbidden(format!("the role of `{}` may not ask this", peer.name), "enrol it in another role")),
        _ => Err(Problem::forbidden(format!("`{}` was revoked", peer.name), advice)),
    }
}

async fn enroll(State(api): State<Api>, bytes: Bytes) -> Result<Json<EnrollResponse>, Problem> {
    let request: EnrollRequest = body(&bytes)?;
    let csr = Csr::parse(&request.csr).map_err(Problem::bad)?;
    let secret = api.authority.secret(&request.token).ok_or(Problem::from(enrol::Refusal::Token))?.to_owned();
    let wanted = csr.common_name();
    let place = api.write(move |turn| enrol::join(turn, &secret, wanted.as_deref())).await?;
    certify(&api, &csr, &place)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    csr: String,
}

async fn renew(State(api): State<Api>, Extension(peer): Certified, bytes: Bytes) -> Result<Json<EnrollResponse>, Problem> {
    let (peer, _) = admit(&api, peer, &[Role::Sensor, Role::Enforcer, Role::Gateway]).await?;
    let csr = Csr::parse(&body::<Renewal>(&bytes)?.csr).map_err(Problem::bad)?;
    let place = api.write(move |turn| enrol::renew(turn, &peer.name)).await?;
    certify(&api, &csr, &place)
}

fn certify(api: &Api, csr: &Csr, place: &enrol::Place) -> Result<Json<EnrollResponse>, Problem> {
    // Certificates live by the machine's time, as TLS does.
    let certificate = api.authority.certify(csr, place, rules::Timestamp::now()).map_err(Problem::bad)?;
    let root = api.authority.root_pem().to_owned();
    Ok(Json(EnrollResponse { sensor: place.name.clone(), site: place.site.clone(), certificate, root }))
}

async fn observations(State(api): State<Api>, Extension(peer): Certified, bytes: Bytes) -> Result<Json<Ack>, Problem> {
    let (peer, _) = admit(&api, peer, &[Role::Sensor, Role::Enforcer]).await?;
    let batch: Batch = body(&bytes)?;
    let speaker = Speaker::Certified { name: peer.name, serial: peer.serial };
    Ok(Json(api.handle.accept_from(speaker, batch).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn decisions(State(api): State<Api>, Extension(peer): Certified, uri: Uri) -> Result<Response, Problem> {
    let (asking, site) = admit(&api, peer, &[Role::Enforcer]).await?;
    let news = news(api.handle.inner.shown.decisions(&site), query::<After>(&uri)?.after).await;
    admit(&api, Some(asking), &[Role::Enforcer]).await?;
    Ok(news)
}

/// Holds the tenants' secrets: for gateways only.
async fn bundle(State(api): State<Api>, Extension(peer): Certified, uri: Uri) -> Result<Response, Problem> {
    let (asking, _) = admit(&api, peer, &[Role::Gateway]).await?;
    let news = news(api.handle.inner.shown.bundle(), query::<After>(&uri)?.after).await;
    admit(&api, Some(asking), &[Role::Gateway]).await?;
    Ok(news)
}

/// The newest signed thing if it is newer than `after`, now or soon; else 204.
async fn news(mut shown: watch::Receiver<Option<Arc<Signed>>>, after: u64) -> Response {
    let newer = |signed: &Option<Arc<Signed>>| signed.as_ref().is_some_and(|s| generation(s) > after);
    let found = tokio::time::timeout(LONG_POLL, shown.wait_for(newer)).await;
    match found.ok().and_then(Result::ok).and_then(|signed| signed.clone()) {
        Some(signed) => Json(&*signed).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn generation(signed: &Signed) -> u64 {
    #[derive(Deserialize)]
    struct Numbered {
        generation: u64,
    }
    let payload = STANDARD.decode(&signed.payload).unwrap_or_default();
    serde_json::from_slice::<Numbered>(&payload).map_or(0, |n| n.generation)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_turn_is_told_when_to_come_back() {
        let router = Router::new().route("/", get(|| async {}).layer(from_fn_with_state(Arc::new(Semaphore::new(0)), in_turn)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let stop = tokio_util::sync::CancellationToken::new();
        tokio::spawn(crate::api::listen::serve(listener, None, router, 4, stop.clone()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "2"));
        stop.cancel();
    }
}
