//! The status page: one page, rendered here, nothing to run in the browser.
//!
//! `/?token=…` swaps the admin token for a cookie that is good for this page only, and redirects, so that the token stays out of
//! the address bar and the history's next entries.

mod page;
mod tables;
mod text;

use crate::{
    api::{self, Api},
    http::{guard::COOKIE, problem::Problem, read::query},
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use page::View;
use rules::{
    admission::Escalation,
    nomination,
    server::Server,
    wire::v1::{FindingReport, ServerReport},
};
use serde::Deserialize;

/// Nothing but our own style sheet: no script, no frame, no form, no other origin.
const POLICY: &str = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Rows of one table; more are counted.
const ROWS: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    token: Option<String>,
}

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/", get(page)).route("/style.css", get(style))
}

async fn page(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Response {
    let login: Login = query(&uri).unwrap_or_default();
    let response = match login.token {
        Some(token) if api.gate.admin.is_token(token.trim()) => welcome(&api),
        None if api.gate.admin.has_cookie(&headers) => match gather(&api).await {
            Ok(view) => Html(page::render(&view).into_string()).into_response(),
            Err(problem) => return problem.into_response(),
        },
        wrong => {
            let file = api.gate.token_file.display().to_string();
            (StatusCode::UNAUTHORIZED, Html(page::closed(&file, wrong.is_some()).into_string())).into_response()
        }
    };
    sealed(response)
}

async fn style() -> Response {
    let css = include_str!("style.css");
    sealed(([(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"))], css).into_response())
}

fn welcome(api: &Api) -> Response {
    let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", COOKIE, api.gate.admin.cookie());
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static("/"))]).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn sealed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn gather(api: &Api) -> Result<View, Problem> {
    let status = api::status::gather(api).await?;
    let journal = api.query(|read| read.journal_latest(12)).await?;
    let now = api.now();
    let view = api.read(move |image| {
        let (mut findings, mut servers) = (Vec::new(), Vec::new());
        for site in image.sites.values() {
            let policy = image.policy(site);
            let open = site.matters.values().filter(|m| m.case.escalation != Escalation::Closed);
            findings.extend(open.map(|m| FindingReport::new(&m.finding, &m.case, policy, site.kept.first_used, now)));
            let report = |s| ServerReport::new(s, &image.pack).registered(s, &image.registry, now).named(s, policy);
            let shown = |s: &&Server| !s.is_attempt(&image.pack) || nomination::nominates(s, policy);
            servers.extend(site.inventory.servers().filter(shown).map(report));
        }
        findings.sort_by(|a, b| (a.deadline.is_none(), a.deadline, &a.id).cmp(&(b.deadline.is_none(), b.deadline, &b.id)));
        servers.sort_by(|a, b| b.confidence.cmp(&a.confidence).then_with(|| a.key.cmp(&b.key)));
        let (all_findings, all_servers) = (findings.len(), servers.len());
        findings.truncate(ROWS);
        servers.truncate(ROWS);
        let mut sensors = api::sensors::reports(image);
        let all_sensors = sensors.len();
        sensors.truncate(ROWS);
        View { status, findings, all_findings, servers, all_servers, sensors, all_sensors, journal }
    });
    view.await
}
