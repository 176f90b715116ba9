//! May they? Asks [`rules::access`], and says no in a way that fits who asks.

use crate::{
    answer::{Ids, Refusal, Whose},
    audit::Outcome,
    bundle::PolicySnapshot,
    validate::envelope::{Envelope, Message},
};
use hyper::StatusCode;
use rules::{
    Timestamp,
    access::{self, Action, Denial, Entitlement, Grant, Permit, Principal, Reason, Request, Resource},
    mcp::code::INVALID_PARAMS,
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
        let denial = match decide(policy, who, slug, (message.action, &message.resource), now) {
            Ok(permit) => {
                first.get_or_insert(permit);
                continue;
            }
            Err(denial) => denial,
        };
        return Err(match denial.reason() {
            Reason::UnknownTool(tool) if envelope.batch => {
                let each = |m: &Message| match decide(policy, who, slug, (m.action, &m.resource), now) {
                    Err(denial) => batch_words(&denial),
                    Ok(_) => NOT_DONE.to_owned(),
                };
                let told = envelope.messages.iter().filter_map(|m| Some((m.id()?.clone(), each(m)))).collect();
                unknown_tool(tool, Some(envelope)).to(Ids::Each(told))
            }
            _ => refusal(&denial, Some(envelope)),
        });
    }
    match first {
        Some(permit) => Ok(permit),
        None => connection(policy, who, slug, now),
    }
}

const NOT_DONE: &str = "not done: another message of the batch was refused";

fn batch_words(denial: &Denial) -> String {
    match denial.reason() {
        Reason::UnknownTool(tool) => unknown(tool),
        _ => NOT_DONE.to_owned(),
    }
}

/// For a request without messages: opening a stream, ending a session.
pub(crate) fn connection(policy: &PolicySnapshot, who: &Principal, slug: &str, now: Timestamp) -> Result<Permit, Refusal> {
    decide(policy, who, slug, (Action::Connect, &Resource::Server), now).map_err(|denial| refusal(&denial, None))
}

/// Whether an open stream may stay open: everything that was granted when it was opened still is.
pub(crate) fn still(policy: &PolicySnapshot, who: &Principal, slug: &str, granted: &[Grant], now: Timestamp) -> Result<(), &'static str> {
    if !policy.keyring().knows(who) {
        return Err("the key was revoked");
    }
    decide(policy, who, slug, (Action::Connect, &Resource::Server), now).map_err(|denial| match denial.reason() {
        Reason::UnknownServer(_) => "the server is no longer registered",
        Reason::Retired { .. } => "the server's sunset has passed",
        _ => "the grant was withdrawn",
    })?;
    let of = |grants| Entitlement { principal: who, server: slug, grants };
    if of(policy.grants(&who.tenant, slug)).includes(of(granted)) { Ok(()) } else { Err("the grant was narrowed") }
}

fn decide(
    policy: &PolicySnapshot,
    who: &Principal,
    slug: &str,
    (action, resource): (Action, &Resource),
    now: Timestamp,
) -> access::Decision {
    let request = Request { principal: who, server: slug, action, resource };
    access::decide(&request, policy.registry(), policy.grants(&who.tenant, slug), now)
}

fn refusal(denial: &Denial, envelope: Option<&Envelope>) -> Refusal {
    use Reason::{NotGranted, NotNamedBy, Retired, UnknownServer, UnknownTool};
    let text = printable(&denial.to_string(), 300);
    match denial.reason() {
        UnknownServer(_) => Refusal::new(StatusCode::NOT_FOUND, Outcome::Denied, "access.unknown-server", Whose::Caller, text)
            .what_to_do("look the server up in the catalog, or register it"),
        Retired { .. } => Refusal::new(StatusCode::GONE, Outcome::Retired, "access.retired", Whose::Policy, text)
            .what_to_do("use its successor: the catalog names it"),
        NotGranted { .. } | NotNamedBy(_) => {
            Refusal::new(StatusCode::FORBIDDEN, Outcome::Denied, "access.default-deny", Whose::Policy, text)
                .what_to_do("ask the server's owner for a grant; `gnomon explain <call>` shows what was decided")
        }
        UnknownTool(tool) => unknown_tool(tool, envelope),
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
