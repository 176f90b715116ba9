//! The guard of the admin API: it answers callers on this machine, by a loopback name, with the token, and no web page.

use super::problem::{self, Problem};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ring::{digest, hmac};
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// A request that takes longer was never going to end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const COOKIE: &str = "gnomon";

/// Hashes of the token and of the cookie: comparing hashes does not tell how much of a guess was right.
#[derive(Clone)]
pub(crate) struct Admin {
    token: digest::Digest,
    cookie: String,
    cookie_hash: digest::Digest,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    pub(crate) fn new(token: &str) -> Admin {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        let cookie = crate::hex(hmac::sign(&key, b"status page").as_ref());
        Admin { token: hash(token), cookie_hash: hash(&cookie), cookie }
    }

    pub(crate) fn is_token(&self, given: &str) -> bool {
        hash(given).as_ref() == self.token.as_ref()
    }

    /// The value of the status page's cookie: not the token, and good for the page only.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(crate) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let pairs = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
        let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == COOKIE);
        values.any(|(_, value)| hash(value).as_ref() == self.cookie_hash.as_ref())
    }
}

fn hash(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

/// The admin's proofs, and the file with the token.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) admin: Admin,
    pub(crate) token_file: PathBuf,
}

/// The bearer token, on everything but the page and `/healthz`.
pub(crate) async fn token(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given = given.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, t)| t.trim());
    if given.is_some_and(|t| gate.admin.is_token(t)) {
        return next.run(request).await;
    }
    let file = gate.token_file.display();
    Problem::unauthorized(&format!("send `Authorization: Bearer TOKEN` with the token in {file}")).into_response()
}

/// DNS rebinding: a page in a browser reaches loopback under its own name. So only loopback's names are answered, and nothing
/// that says it comes from a page.
pub(crate) async fn loopback_names(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).or_else(|| request.uri().host());
    if !host.is_some_and(is_loopback) {
        let advice = "use http://127.0.0.1:PORT or http://localhost:PORT; from elsewhere by ssh -L";
        return Problem::forbidden("the Host header does not name loopback", advice).into_response();
    }
    let cross = headers.get("sec-fetch-site").is_some_and(|v| v != "none" && v != "same-origin");
    if headers.contains_key(header::ORIGIN) || cross {
        return Problem::forbidden("requests from web pages are not answered", "use the command line or a script").into_response();
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => problem::shaped(response),
        Err(_) => Problem::slow().into_response(),
    }
}
