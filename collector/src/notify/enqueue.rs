//! Puts messages into the outbox, inside the transaction that decided on them.

use super::letter::{Channel, Letter, LetterKind, Step};
use crate::commit::{Outcome, Transaction};
use rules::{
    Timestamp,
    admission::{Audience, Message},
    finding::FindingKind,
    site::Matter,
};

/// Writes the rows of one message. Once per step and channel within one life of the finding.
pub(crate) fn enqueue(
    tx: &mut Transaction<'_>,
    matter: &Matter,
    to: Audience,
    message: Message,
    deadline: Option<Timestamp>,
) -> Outcome<()> {
    let life = matter.case.opened_at;
    let step = match (message, to) {
        (Message::Notice, Audience::Owner) => Step::Notice(life),
        (Message::Notice, Audience::SecurityQueue) => Step::NoticeToSecurity(life),
        (Message::Reminder(before), _) => Step::Reminder(before, deadline.unwrap_or(life)),
        (Message::Blocked, _) => Step::Blocked(matter.case.blocked_at.unwrap_or(tx.now)),
        (Message::Released, _) => Step::Released(tx.now),
    };
    let letter = write_letter(tx, matter, to, message, deadline);
    let config = &tx.image.config.notify;
    let hook = match to {
        Audience::Owner if config.webhook.is_some() => Some(Channel::Webhook),
        _ if config.security.is_some() => Some(Channel::Security),
        _ => config.webhook.is_some().then_some(Channel::Webhook),
    };
    let beside = [config.log.enabled.then_some(Channel::Log), config.syslog.is_some().then_some(Channel::Syslog)];
    for channel in hook.into_iter().chain(beside.into_iter().flatten()) {
        tx.records.put_letter(&letter, &step, &channel, tx.now)?;
    }
    Ok(())
}

fn write_letter(tx: &Transaction<'_>, matter: &Matter, to: Audience, message: Message, deadline: Option<Timestamp>) -> Letter {
    let f = &matter.finding;
    let place = f.place.as_ref().map(ToString::to_string);
    let subject_of = place.clone().unwrap_or_else(|| match &f.slug {
        Some(slug) => format!("`{slug}`"),
        None => f.reasons.first().cloned().unwrap_or_default(),
    });
    let (about, subject, text) = words(f.kind, &subject_of, message, deadline);
    let security = format!("security queue of site {}", f.site);
    Letter {
        about,
        finding: f.id.to_string(),
        kind: f.kind,
        site: f.site.clone(),
        to: f.owner.as_ref().filter(|_| to == Audience::Owner).map_or(security, |o| o.name.clone()),
        subject,
        text: format!("{text} Finding {}.", f.id),
        place,
        deadline,
        reasons: f.reasons.clone(),
        is_proof: to == Audience::Owner || tx.image.config.notify.security_counts,
    }
}

fn words(kind: FindingKind, what: &str, message: Message, deadline: Option<Timestamp>) -> (LetterKind, String, String) {
    let by = deadline.map_or_else(String::new, |d| format!(" by {d}"));
    match (message, kind) {
        (Message::Notice, FindingKind::Shadow) => (
            LetterKind::Notice,
            format!("MCP server at {what} is not registered"),
            format!("An MCP server answers at {what} and is not registered. Register it, shut it down, or ask for an exemption."),
        ),
        (Message::Notice, FindingKind::NoClientCertificate) => (
            LetterKind::Notice,
            format!("MCP server at {what} serves callers without a certificate"),
            format!("{what} answers callers that show no client certificate. Let it ask for one, and refuse those without."),
        ),
        (Message::Notice, kind) => (LetterKind::Notice, format!("{kind}: {what}"), format!("{what} is {kind}. Please look at it.")),
        (Message::Reminder(before), _) => (
            LetterKind::Reminder,
            format!("{before} left: MCP server at {what}"),
            format!("Agents will no longer reach {what} unless it is registered, shut down or exempted{by}."),
        ),
        (Message::Blocked, _) => (
            LetterKind::Blocked,
            format!("Blocked: MCP server at {what}"),
            format!(
                "The grace period is over: a block of agents that call {what} is decided, and in force wherever enforcement is on. Registering it lifts the block."
            ),
        ),
        (Message::Released, _) => (LetterKind::Released, format!("Over: {what}"), format!("Nothing stands against {what} any more.")),
    }
}
