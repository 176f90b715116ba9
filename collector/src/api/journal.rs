//! `/v1/journal`: acts with actor, time and reason.

use super::Api;
use crate::{
    http::{problem::Problem, read::query},
    store::Read,
};
use axum::{Json, extract::State, http::Uri};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Rows after this number.
    #[serde(default)]
    after: i64,
    /// A finding, a slug, a sensor, `generation 42`.
    subject: Option<String>,
    limit: Option<u32>,
    /// Newest first instead; `after` and `subject` are not looked at.
    #[serde(default)]
    latest: bool,
}

const MOST: u32 = 10_000;

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Problem> {
    let Filter { after, subject, limit, latest } = query(&uri)?;
    let limit = limit.unwrap_or(1000).min(MOST);
    let ask = move |read: &dyn Read| match latest {
        true => read.journal_latest(limit),
        false => read.journal_after(after, subject.as_deref(), limit),
    };
    let rows = api.query(ask).await?;
    let newest = &api.snapshot().journal;
    Ok(Json(json!({"rows": rows, "newest": {"id": newest.id, "hash": crate::hex(&newest.hash)}})))
}

/// Walks the chain. 200 either way: a broken one is an answer.
pub(super) async fn verify(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    Ok(Json(match api.query(|read| Ok(read.verify_journal())).await? {
        Ok(rows) => json!({"whole": true, "rows": rows}),
        Err(broken) => json!({"whole": false, "error": broken.to_string()}),
    }))
}
