//! May they? Asks [`rules::access`], and says no in a way that fits who asks.

use crate::{
    answer::{Ids, Refusal, Whose},
    audit::Outcome,
    bundle::PolicySnapshot,
    validate::envelope::{Envelope, INVALID_PARAMS},
};
use hyper::StatusCode;
use rules::{
    Timestamp,
    access::{self, Grant, Permit, Principal, Want},
    printable::printable,
};

/// For every message of the envelope; one that is denied denies them all.
pub(crate) fn messages(
    policy: &PolicySnapshot,
    who: &Principal,
    slug: &str,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Permit, Refusal> {
    let mut first = None;
    for message in &envelope.messages {
        match decide(policy, who, slug, &message.want(), now) {
            Ok(permit) => drop(first.get_or_insert(permit)),
            Err(access::Refusal::UnknownTool(tool)) if envelope.batch => {
                let each = |wanted: &Want<'_>| match decide(policy, who, slug, wanted, now) {
                    Err(access::Refusal::UnknownTool(tool)) => unknown(&tool),
                    _ => "not done: another message of the batch was refused".to_owned(),
                };
                let told = envelope.messages.iter().filter_map(|m| Some((m.id()?.clone(), each(&m.want())))).collect();
                return Err(unknown_tool(&tool, Some(envelope)).to(Ids::Each(told)));
            }
            Err(why) => return Err(refusal(why, Some(envelope))),
        }
    }
    match first {
        Some(permit) => Ok(permit),
        None => one(policy, who, slug, &Want::Method("(nothing)"), now),
    }
}

/// For a request without messages: opening a stream, ending a session.
pub(crate) fn one(policy: &PolicySnapshot, who: &Principal, slug: &str, want: &Want<'_>, now: Timestamp) -> Result<Permit, Refusal> {
    decide(policy, who, slug, want, now).map_err(|why| refusal(why, None))
}

/// Whether an open stream may stay open: everything that was granted when it was opened still is.
pub(crate) fn still(policy: &PolicySnapshot, who: &Principal, slug: &str, granted: &[Grant], now: Timestamp) -> Result<(), &'static str> {
    if !policy.keyring().knows(who) {
        return Err("the key was revoked");
    }
    decide(policy, who, slug, &Want::Method("(stream)"), now).map_err(|why| match why {
        access::Refusal::UnknownServer(_) => "the server is no longer registered",
        access::Refusal::Retired { .. } => "the server's sunset has passed",
        _ => "the grant was withdrawn",
    })?;
    let mine = |g: &&Grant| g.subject.as_ref().is_none_or(|s| *s == who.subject);
    let grants = policy.grants(&who.tenant, slug);
    let stands = |tool: &String| grants.iter().filter(mine).any(|g| g.tools.iter().any(|t| t == tool || t == "*"));
    let stand = granted.iter().filter(mine).flat_map(|g| &g.tools).all(stands);
    if stand { Ok(()) } else { Err("the grant was narrowed") }
}

fn decide(policy: &PolicySnapshot, who: &Principal, slug: &str, want: &Want<'_>, now: Timestamp) -> Result<Permit, access::Refusal> {
    access::decide(who, slug, want, policy.registry(), policy.grants(&who.tenant, slug), now)
}

fn refusal(why: access::Refusal, envelope: Option<&Envelope>) -> Refusal {
    use access::Refusal::*;
    let text = printable(&why.to_string(), 300);
    match why {
        UnknownServer(_) => Refusal::new(StatusCode::NOT_FOUND, Outcome::Denied, "access.unknown-server", Whose::Caller, text)
            .what_to_do("look the server up in the catalog, or register it"),
        Retired { .. } => Refusal::new(StatusCode::GONE, Outcome::Retired, "access.retired", Whose::Policy, text)
            .what_to_do("use its successor: the catalog names it"),
        NotGranted { .. } => Refusal::new(StatusCode::FORBIDDEN, Outcome::Denied, "access.default-deny", Whose::Policy, text)
            .what_to_do("ask the server's owner for a grant; `gnomon explain <call>` shows what was decided"),
        UnknownTool(tool) => unknown_tool(&tool, envelope),
    }
    .to(ids(envelope))
}

/// Not to be told apart from a tool that does not exist: no rule, no hint, the status of an ordinary answer.
fn unknown_tool(tool: &str, envelope: Option<&Envelope>) -> Refusal {
    let answered = envelope.is_some_and(|e| e.request_ids().next().is_some());
    let status = if answered { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Refusal::new(status, Outcome::Denied, "access.tool", Whose::Policy, unknown(tool)).code(INVALID_PARAMS).bare()
}

fn unknown(tool: &str) -> String {
    format!("Unknown tool: {tool}")
}

pub(crate) fn ids(envelope: Option<&Envelope>) -> Ids {
    match envelope {
        Some(e) if e.batch => Ids::Batch(e.request_ids().cloned().collect()),
        Some(e) => Ids::One(e.request_ids().next().cloned()),
        None => Ids::One(None),
    }
}
