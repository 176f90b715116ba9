//! The admin API of a collector, as the commands use it.

mod calls;

pub use calls::{KeyReport, Row, TenantReport};

use crate::failure::{Failure, Side};
use launch::Global;
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::Path, time::Duration};
use url::Url;

/// Where the collector is, and by what right we ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Access {
    /// The collector's admin API
    #[arg(long, global = true, value_name = "URL", env = "GNOMON_API", default_value = DEFAULT_API, hide_env_values = true)]
    api: Url,
    /// Admin token [default: read from DIR/admin.token]
    #[arg(long, global = true, value_name = "TOKEN", env = "GNOMON_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// One command speaks to one collector.
#[derive(Debug)]
pub struct Api {
    base: Url,
    token: String,
    client: reqwest::Client,
}

const DEFAULT_API: &str = "http://127.0.0.1:7411";
/// Long enough for a busy collector, short enough for a person.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read: an inventory of a large site.
const MAX_ANSWER: usize = 256 << 20;

/// How the collector says no.
#[derive(Debug, serde::Deserialize)]
struct Refusal {
    error: String,
    what_to_do: Option<String>,
}

impl Api {
    pub fn open(access: &Access, global: &Global) -> Result<Api, Failure> {
        if access.api.as_str().trim_end_matches('/') != DEFAULT_API {
            launch::global::remember_api(access.api.as_str().trim_end_matches('/'));
        }
        let token = match &access.token {
            Some(token) => token.clone(),
            None => read_token(&global.data())?,
        };
        Api::new(access.api.clone(), token)
    }

    pub fn new(base: Url, token: String) -> Result<Api, Failure> {
        gnomon_sensor::install_crypto();
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            // The token must not wander off to a proxy or to wherever a redirection points.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|why| Failure::new(Side::Machine, format!("cannot make an HTTP client: {why}"), "please report this"))?;
        Ok(Api { base, token: token.trim().to_owned(), client })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, Failure> {
        self.ask(Method::GET, path, query, None::<&()>).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Failure> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Failure> {
        self.ask(Method::PUT, path, &[], Some(body)).await
    }

    async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        self.ask(Method::DELETE, path, &[], None::<&()>).await
    }

    /// Segments are encoded one by one: a name with a slash in it cannot become another path.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|why| self.unreachable(&why))?;
        let status = answer.status();
        let bytes = self.read(answer).await?;
        if !status.is_success() {
            return Err(self.refused(status, &bytes));
        }
        // 204, or a deletion that has nothing to say.
        let bytes = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(bytes).map_err(|why| self.not_understood(why))
    }

    fn not_understood(&self, why: impl std::fmt::Display) -> Failure {
        let what = format!("{} answered what this version does not understand: {why}", self.base);
        Failure::new(Side::Collector, what, "use a command and a collector of the same version")
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|why| self.unreachable(&why))? {
            if bytes.len().saturating_add(chunk.len()) > MAX_ANSWER {
                return Err(Failure::new(
                    Side::Collector,
                    "the answer is longer than 256 MiB",
                    "ask for less, for example with --site or --limit",
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unreachable(&self, why: &reqwest::Error) -> Failure {
        let reason =
            std::iter::successors(std::error::Error::source(why), |e| e.source()).last().map_or_else(|| why.to_string(), |e| e.to_string());
        let todo =
            "start one with `gnomon up`, or say where it is: --api URL or GNOMON_API (from elsewhere: ssh -L 7411:127.0.0.1:7411 HOST)";
        Failure::new(Side::Collector, format!("no collector answers at {}: {reason}", self.base), todo)
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let said = serde_json::from_slice::<Refusal>(body).ok();
        if status == StatusCode::UNAUTHORIZED {
            let what = format!("{} does not take this token", self.base);
            return Failure::new(
                Side::CommandLine,
                what,
                "give the collector's own: --data DIR where its admin.token is, --token or GNOMON_TOKEN",
            );
        }
        let what = said.as_ref().map_or_else(
            || format!("{} refused: {}", self.base, status.canonical_reason().unwrap_or("no reason given").to_lowercase()),
            |r| r.error.clone(),
        );
        let side = if status.is_client_error() { Side::CommandLine } else { Side::Collector };
        let fallback = match status {
            StatusCode::NOT_FOUND => "the list command shows what there is",
            s if s.is_client_error() => "correct it and try again",
            _ => "look into the collector's log",
        };
        Failure::new(side, what, said.and_then(|r| r.what_to_do).unwrap_or_else(|| fallback.to_owned()))
    }
}

/// What the collector wrote for the people of this machine.
pub fn read_token(data: &Path) -> Result<String, Failure> {
    let path = data.join("admin.token");
    std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|why| {
        Failure::new(
            Side::Machine,
            format!("cannot read the admin token from {}: {why}", path.display()),
            "name the collector's data directory (--data DIR), or give the token itself (--token or GNOMON_TOKEN)",
        )
    })
}
