//! The body and the query of a request.

use super::problem::Problem;
use axum::http::Uri;
use serde::de::DeserializeOwned;

/// A JSON body, or a problem that says where it is wrong.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|why| Problem::bad(format!("the body is not what is expected here: {why}")))
}

/// Query parameters, or a problem that names the unknown one.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri).map(|axum::extract::Query(q)| q).map_err(|why| Problem::bad(why.body_text()))
}
