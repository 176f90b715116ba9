//! `/v1/explain`: why things are as they are.

use super::Api;
use crate::http::{problem::Problem, read::query};
use axum::{Json, extract::State, http::Uri};
use rules::{
    explain::{self, Subject},
    server::Server,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    subject: String,
}

/// The chain from evidence to decision, as lines.
pub(super) async fn explain(State(api): State<Api>, uri: Uri) -> Result<Json<serde_json::Value>, Problem> {
    let About { subject } = query(&uri)?;
    let wanted: Subject = subject.parse().map_err(Problem::bad)?;
    let now = api.now();
    let lines = api.read(move |image| {
        let mut lines = Vec::new();
        for (name, site) in &image.sites {
            let servers: Vec<&Server> = site.inventory.servers().collect();
            let policy = image.policy(site);
            let points = image.points(name);
            let known = explain::Known {
                site: image.view(name, site, policy, &points),
                servers: &servers,
                matters: &site.matters,
                set: site.issued.as_ref().map(|i| &i.set),
                held: &site.held,
            };
            lines.extend(explain::explain(&wanted, &known, now));
        }
        lines
    });
    Ok(Json(json!({"subject": subject, "lines": lines.await?})))
}
