//! `/v1/journal`: who did what, when and why.

use super::{Api, problem::Problem, query};
use crate::journal;
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
    let rows = api.query(move |db| if latest { journal::latest(db, limit) } else { journal::read(db, after, subject.as_deref(), limit) });
    let rows = rows.await?;
    let (id, hash) = api.read(|state| (state.journal.id, crate::hex(&state.journal.hash))).await?;
    Ok(Json(json!({"rows": rows, "newest": {"id": id, "hash": hash}})))
}

/// Walks the chain. 200 either way: a broken one is an answer.
pub(super) async fn verify(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    Ok(Json(match api.query(|db| Ok(journal::verify(db))).await? {
        Ok(rows) => json!({"whole": true, "rows": rows}),
        Err(broken) => json!({"whole": false, "error": broken.to_string()}),
    }))
}
