//! The intake for sensors, enforcers and gateways elsewhere: HTTPS, and a client certificate for all but joining.

use super::Api;
use crate::{
    dispatch,
    enrol::{self, Csr},
    http::{
        guard,
        peer::Peer,
        problem::{self, Problem},
        read::{body, query},
    },
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
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// How long a question for news waits for some.
const LONG_POLL: Duration = Duration::from_secs(25);
const MAX_ENROLL: usize = 64 << 10;

/// Batches that are read, checked and stored at the same time. It bounds the memory that they take.
const BATCHES: usize = 32;
/// Strangers may ask to join, and signatures are dear.
const ENROLMENTS: usize = 4;
/// How long a request waits for its place.
const PLACE_TIMEOUT: Duration = Duration::from_secs(2);

type Certified = Extension<Option<Peer>>;

pub(crate) fn routes(api: Api) -> Router {
    let places = Places { api: api.clone(), free: Arc::new(Semaphore::new(BATCHES)) };
    let joining = Extension(Arc::new(Semaphore::new(ENROLMENTS)));
    Router::new()
        .route("/v1/enroll", post(enroll).layer(DefaultBodyLimit::max(MAX_ENROLL)))
        .route("/v1/renew", post(renew).layer(DefaultBodyLimit::max(MAX_ENROLL)))
        .route(
            "/v1/observations",
            post(observations).layer(DefaultBodyLimit::max(Batch::MAX_BYTES)).layer(from_fn_with_state(places, bounded)),
        )
        .route("/v1/decisions", get(decisions))
        .route("/v1/bundle", get(bundle))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(joining)
        .layer(axum::middleware::from_fn(guard::in_time))
        .with_state(api)
}

#[derive(Clone)]
struct Places {
    api: Api,
    free: Arc<Semaphore>,
}

/// Lets so many batches in at a time, before their bodies are read; a request that waits too long is told to come back. A client without
/// a certificate that stands waits for no place and takes none.
async fn bounded(State(places): State<Places>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Option<Peer>>().cloned().flatten();
    if let Err(problem) = admit(&places.api, peer, &[Role::Sensor, Role::Enforcer]) {
        return problem.into_response();
    }
    match place(&places.free).await {
        Ok(_place) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn place(free: &Semaphore) -> Result<SemaphorePermit<'_>, Problem> {
    match tokio::time::timeout(PLACE_TIMEOUT, free.acquire()).await {
        Ok(Ok(tx)) => Ok(tx),
        _ => Err(Problem::from(crate::Unavailable::Busy)),
    }
}

/// The client and its site, if its role may ask. Looked up with each request: a revoked certificate ends with it.
fn admit(api: &Api, peer: Option<Peer>, may: &[Role]) -> Result<(Peer, String), Problem> {
    let advice = "enrol with a join token (`gnomon sensor --token …`)";
    let peer = peer.ok_or_else(|| Problem::forbidden("this needs a client certificate of this collector", advice))?;
    let image = api.snapshot();
    let known = image.sensor(&peer.name).map(|sensor| (sensor.stands(&peer.serial), sensor.role, sensor.site.clone()));
    match known {
        Some((true, role, site)) if may.contains(&role) => Ok((peer, site)),
        Some((true, ..)) => Err(Problem::forbidden(format!("the role of `{}` may not ask this", peer.name), "enrol it in another role")),
        _ => Err(Problem::forbidden(format!("`{}` was revoked", peer.name), advice)),
    }
}

/// The place is taken when the whole request is here, so a slow sender holds up nobody.
async fn enroll(
    State(api): State<Api>,
    Extension(joining): Extension<Arc<Semaphore>>,
    bytes: Bytes,
) -> Result<Json<EnrollResponse>, Problem> {
    let _place = place(&joining).await?;
    let request: EnrollRequest = body(&bytes)?;
    let csr = Csr::parse(&request.csr).map_err(Problem::bad)?;
    let secret = api.authority.secret(&request.token).ok_or(Problem::from(enrol::Refusal::Token))?.to_owned();
    let wanted = csr.common_name();
    let identity = api.write(move |tx| enrol::join(tx, &secret, wanted.as_deref())).await?;
    certify(&api, &csr, &identity)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    csr: String,
}

async fn renew(State(api): State<Api>, Extension(peer): Certified, bytes: Bytes) -> Result<Json<EnrollResponse>, Problem> {
    let (peer, _) = admit(&api, peer, &[Role::Sensor, Role::Enforcer, Role::Gateway])?;
    let csr = Csr::parse(&body::<Renewal>(&bytes)?.csr).map_err(Problem::bad)?;
    let identity = api.write(move |tx| enrol::renew(tx, &peer.name)).await?;
    certify(&api, &csr, &identity)
}

fn certify(api: &Api, csr: &Csr, identity: &enrol::Identity) -> Result<Json<EnrollResponse>, Problem> {
    // Certificates live by the machine's time, as TLS does.
    let certificate = api.authority.certify(csr, identity, rules::Timestamp::now()).map_err(Problem::bad)?;
    let root = api.authority.root_pem().to_owned();
    Ok(Json(EnrollResponse { sensor: identity.name.clone(), site: identity.site.clone(), certificate, root }))
}

async fn observations(State(api): State<Api>, Extension(peer): Certified, bytes: Bytes) -> Result<Json<Ack>, Problem> {
    let (peer, _) = admit(&api, peer, &[Role::Sensor, Role::Enforcer])?;
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
    let (asking, site) = admit(&api, peer, &[Role::Enforcer])?;
    let news = news(api.handle.inner.windows.decisions(&site), query::<After>(&uri)?.after).await;
    admit(&api, Some(asking), &[Role::Enforcer])?;
    Ok(news)
}

/// Holds the tenants' secrets: for gateways only.
async fn bundle(State(api): State<Api>, Extension(peer): Certified, uri: Uri) -> Result<Response, Problem> {
    let (asking, _) = admit(&api, peer, &[Role::Gateway])?;
    let (after, name) = (query::<After>(&uri)?.after, asking.name.clone());
    if dispatch::is_behind(&api.snapshot(), after) {
        api.write(move |tx| dispatch::raise_bundle(tx, &name, after).map(Ok::<(), Problem>)).await?;
    }
    let news = news(api.handle.inner.windows.bundle(), after).await;
    admit(&api, Some(asking), &[Role::Gateway])?;
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

    use tower_free::ask;

    /// One request through the layer, with no network.
    mod tower_free {
        use super::*;
        use hyper::service::Service;

        pub(super) async fn ask(places: Places, peer: Option<Peer>) -> (u16, Option<String>) {
            let router = Router::new().route("/", get(|| async {}).layer(from_fn_with_state(places, bounded)));
            let request = Request::get("/").extension(peer).body(axum::body::Body::empty()).unwrap();
            let answer = hyper_util::service::TowerToHyperService::new(router).call(request).await.unwrap();
            let later = answer.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
            (answer.status().as_u16(), later)
        }
    }

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_when_to_come_back_and_a_stranger_takes_none() {
        let data = tempfile::tempdir().unwrap();
        let config = crate::tests::config(data.path());
        let (running, stop) = crate::tests::run(&config).await;
        let authority = Arc::new(enrol::Authority::open(data.path(), rules::Timestamp::now(), false).unwrap());
        let gate = guard::Gate { admin: guard::Admin::new("x"), token_file: data.path().join("admin.token") };
        let api = Api { handle: running.handle(), authority, turned: Arc::default(), gate };
        let mut known = crate::sensors::Sensor::new("default", Role::Sensor);
        known.serials = vec!["01".to_owned()];
        let handle = running.handle();
        let joined = handle.inner.writer.write(move |tx| tx.image.keep_sensor(tx.records, "s1", known));
        joined.await.unwrap();
        let peer = |serial: &str| Some(Peer { name: "s1".to_owned(), serial: serial.to_owned() });
        let places = |free| Places { api: api.clone(), free: Arc::new(Semaphore::new(free)) };
        assert_eq!(ask(places(1), peer("01")).await, (200, None));
        assert_eq!(ask(places(0), peer("01")).await, (503, Some("2".to_owned())));
        for stranger in [None, peer("02")] {
            assert_eq!(ask(places(0), stranger).await.0, 403, "no place is waited for");
        }
        crate::tests::end(running, stop).await;
    }
}
