//! How a role becomes known to a collector elsewhere, and goes on to be.

use clap::Args;
use collector_client::{Error, Identity, Origin, join};
use launch::{Failure, Side, out};

use std::path::Path;
use url::Url;

/// How to become known to a collector elsewhere.
#[derive(Debug, Args)]
pub struct Join {
    /// The collector's intake, such as https://collector.corp.example:7412
    #[arg(long, value_name = "URL", env = "GNOMON_COLLECTOR", hide_env_values = true)]
    pub collector: Option<Url>,
    /// A join token from `gnomon tokens issue`; needed once, then the data directory holds a certificate
    #[arg(long, value_name = "TOKEN", env = "GNOMON_JOIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

impl Join {
    /// The identity this data directory holds, or a new one: also when it has expired and there is a token.
    pub async fn identity(&self, data: &Path) -> Result<Identity, Failure> {
        let known = Identity::load(data).map_err(failed)?;
        let url = self.collector.as_ref().map(Url::as_str);
        let expired = match &known {
            Some(known) => known.expired(rules::Timestamp::now()).map_err(failed)?,
            None => false,
        };
        match (known, url, &self.token) {
            (Some(known), url, Some(token)) if expired => join(url.unwrap_or(&known.url), token, data).await.map_err(failed),
            (Some(known), None, _) => Ok(known),
            (Some(known), Some(url), token) if known.url == url.trim_end_matches('/') => {
                if token.is_some() {
                    out::note(format!("{} holds an identity (`{}`) already: the token is not used", data.display(), known.name));
                }
                Ok(known)
            }
            (_, Some(url), Some(token)) => join(url, token, data).await.map_err(failed),
            _ => Err(Failure::new(
                Side::CommandLine,
                format!("{} holds no identity for this collector", data.display()),
                "ask whoever runs it for a join token (gnomon tokens issue), then give --collector URL --token TOKEN",
            )),
        }
    }
}

/// The way to the collector names the origin of each error and the next step.
pub fn failed(why: Error) -> Failure {
    let side = match why.origin() {
        Origin::CommandLine => Side::CommandLine,
        Origin::Machine => Side::Machine,
        Origin::Network => Side::Network,
        Origin::Collector => Side::Collector,
    };
    let fix = why.fix();
    Failure::new(side, why, fix)
}
