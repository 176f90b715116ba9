//! `/v1/findings`: findings, and people's decisions on them.

use super::Api;
use crate::{
    commit::Transaction,
    http::{
        problem::Problem,
        read::{body, query},
    },
    journal::{self, Actor, Verb},
    judge::amend,
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::Uri,
};
use rules::{
    Timestamp,
    admission::{Case, Escalation, Exemption, Unacceptable},
    finding::{FindingId, FindingKind, FindingPrefix},
    policy::Policy,
    printable::printable,
    wire::v1::FindingReport,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    site: Option<String>,
    kind: Option<FindingKind>,
    /// Closed ones too.
    #[serde(default)]
    all: bool,
    limit: Option<usize>,
}

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Vec<FindingReport>>, Problem> {
    let filter: Filter = query(&uri)?;
    let now = api.now();
    let found = api.read(move |image| {
        let mut reports = Vec::new();
        for (_, site) in image.sites.iter().filter(|(name, _)| filter.site.as_ref().is_none_or(|s| s == *name)) {
            let policy = image.policy(site);
            let open = site.matters.values().filter(|m| filter.all || m.case.escalation != Escalation::Closed);
            let wanted = open.filter(|m| filter.kind.is_none_or(|k| k == m.finding.kind));
            reports.extend(wanted.map(|m| FindingReport::new(&m.finding, &m.case, policy, site.kept.first_used, now)));
        }
        // The most urgent first.
        reports.sort_by(|a, b| (a.deadline.is_none(), a.deadline, &a.id).cmp(&(b.deadline.is_none(), b.deadline, &b.id)));
        reports.truncate(filter.limit.unwrap_or(usize::MAX));
        reports
    });
    Ok(Json(found.await?))
}

pub(super) async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<FindingReport>, Problem> {
    report(&api, &resolve(&api, &id)?).map(Json)
}

/// The one finding whose id begins so.
pub(super) fn resolve(api: &Api, text: &str) -> Result<FindingId, Problem> {
    /// Most that an ambiguous beginning names.
    const NAMED: usize = 5;
    let prefix = FindingPrefix::parse(text)
        .ok_or_else(|| Problem::bad(format!("`{}` is not a finding's id such as F-1a2b3c4d", printable(text, 40))))?;
    let image = api.snapshot();
    let all = image.sites.values().flat_map(|s| s.matters.keys());
    let found: Vec<FindingId> = all.filter(|id| prefix.is_of(id)).take(NAMED).cloned().collect();
    match found.as_slice() {
        [] => Err(Problem::missing(format!("there is no finding {prefix}"))),
        [one] => Ok(one.clone()),
        // A whole id of the first version may also be the beginning of another.
        several => several.iter().find(|id| id.as_str() == prefix.as_str()).cloned().ok_or_else(|| {
            let names: Vec<_> = several.iter().map(FindingId::as_str).collect();
            Problem::conflict(format!("{prefix} is the beginning of more than one finding: {}", names.join(", ")))
        }),
    }
}

fn report(api: &Api, id: &FindingId) -> Result<FindingReport, Problem> {
    let image = api.snapshot();
    let (_, site, matter) = image.matter(id).ok_or_else(|| unknown(id))?;
    Ok(FindingReport::new(&matter.finding, &matter.case, image.policy(site), site.kept.first_used, api.now()))
}

fn unknown(id: &FindingId) -> Problem {
    Problem::missing(format!("there is no finding {id}"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snooze {
    until: Timestamp,
    by: String,
}

pub(super) async fn exempt(State(api): State<Api>, Path(id): Path<String>, bytes: Bytes) -> Result<Json<FindingReport>, Problem> {
    let exemption: Exemption = body(&bytes)?;
    let reason = format!("{}; until {}", exemption.reason, exemption.until);
    let by = (Actor::person(&exemption.approved_by), Verb::Exempted);
    let detail = json!({"requested_by": printable(&exemption.requested_by, 200)});
    change(&api, resolve(&api, &id)?, by, reason, detail, |case, policy, _, now| case.exempt(exemption, policy, now)).await
}

pub(super) async fn end_exemption(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<FindingReport>, Problem> {
    // It ends as by its date: the next step says so and starts the clock anew.
    let end = |case: &mut Case, _: &Policy, _: Timestamp, now: Timestamp| {
        if let Some(exemption) = &mut case.exemption {
            exemption.until = now;
        }
        Ok(())
    };
    change(&api, resolve(&api, &id)?, (Actor::Admin, Verb::ExemptionEnded), "asked for".to_owned(), json!({}), end).await
}

pub(super) async fn snooze(State(api): State<Api>, Path(id): Path<String>, bytes: Bytes) -> Result<Json<FindingReport>, Problem> {
    let Snooze { until, by } = body(&bytes)?;
    let reason = format!("no messages until {until}");
    let act = move |case: &mut Case, policy: &Policy, start: Timestamp, now: Timestamp| case.snooze(until, policy, start, now);
    change(&api, resolve(&api, &id)?, (Actor::person(&by), Verb::Snoozed), reason, json!({}), act).await
}

/// Somebody's word on a case, with its journal row.
async fn change(
    api: &Api,
    id: FindingId,
    (by, verb): (Actor, Verb),
    reason: String,
    detail: serde_json::Value,
    act: impl FnOnce(&mut Case, &Policy, Timestamp, Timestamp) -> Result<(), Unacceptable> + Send + 'static,
) -> Result<Json<FindingReport>, Problem> {
    let about = id.clone();
    let job = move |tx: &mut Transaction<'_>| {
        let now = tx.now;
        match amend(tx, &about, |case, policy, start| act(case, policy, start, now))? {
            None => Ok(Err(unknown(&about))),
            Some(Err(why)) => Ok(Err(why.into())),
            Some(Ok(())) => {
                journal::write(tx, by, verb, about.as_str(), &reason, detail)?;
                Ok(Ok::<(), Problem>(()))
            }
        }
    };
    api.write(job).await?;
    report(api, &id).map(Json)
}
