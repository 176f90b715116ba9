//! Tells people, and knows whether they were told.
//!
//! A message is a row per (finding, step, channel), written in the transaction that decided on it: nobody is told the same
//! thing twice, nothing is forgotten on a restart, and a message is retried until it is delivered or its finding is over.
//! Proof of delivery of a notice starts the finding's clock. Nothing else does.
//!
//! Owners get one message per step; a daily digest per owner is not made yet.

mod deliver;
mod shape;
mod syslog;

use crate::store::{Outcome, Turn, rows};
pub(crate) use deliver::{Post, run};
use rules::{
    Timestamp,
    admission::{Audience, Message},
    finding::FindingKind,
    site::Matter,
};
use rusqlite::params;
use serde::{Deserialize, Serialize};
pub use shape::Format;
pub use syslog::Syslog;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where owners are told.
    pub webhook: Option<Webhook>,
    /// Where the site's security people are told: findings without an owner or whose owner was not reached, blind sensors.
    /// Unset: `webhook`.
    pub security: Option<Webhook>,
    pub log: Log,
    /// A syslog server that gets every letter as well. It proves nothing: syslog does not answer.
    pub syslog: Option<Syslog>,
    /// Whether a notice delivered to the security queue starts the clock: somebody who answers for the site was told.
    pub security_counts: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { webhook: None, security: None, log: Log::default(), syslog: None, security_counts: true }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: url::Url,
    /// File with the secret that signs each message: `X-Gnomon-Signature: sha256=HEX`, HMAC-SHA-256 (RFC 2104) over
    /// `X-Gnomon-Timestamp`, a full stop and the body.
    #[serde(default)]
    pub secret_file: Option<std::path::PathBuf>,
    /// `gnomon`: the letter itself; `slack`, `teams`: as their webhooks want it.
    #[serde(default)]
    pub format: Format,
}

impl std::fmt::Debug for Webhook {
    /// The URL may hold a secret in its path: only the host is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Messages as log lines of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub enabled: bool,
    /// Whether a log line is proof that somebody was told. True only where whoever runs the process reads its log and answers
    /// for the servers, as with `gnomon up` on one's own machine.
    pub counts: bool,
}

impl Default for Log {
    fn default() -> Log {
        Log { enabled: true, counts: false }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, hook) in [("webhook", &self.webhook), ("security", &self.security)] {
            if let Some(hook) = hook
                && !(matches!(hook.url.scheme(), "http" | "https") && hook.url.has_host())
            {
                return Err(format!("`notify.{name}.url` must be an http or https URL with a host"));
            }
        }
        self.syslog.as_ref().map_or(Ok(()), Syslog::check)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Webhook,
    Security,
    Log,
    Syslog,
}

impl Channel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Channel::Webhook => "webhook",
            Channel::Security => "security",
            Channel::Log => "log",
            Channel::Syslog => "syslog",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Channel> {
        [Channel::Webhook, Channel::Security, Channel::Log, Channel::Syslog].into_iter().find(|c| c.as_str() == text)
    }
}

/// What a channel is given: the JSON body of a webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// `notice`, `reminder`, `blocked`, `released`.
    pub(crate) step: String,
    pub(crate) finding: String,
    pub(crate) kind: FindingKind,
    pub(crate) site: String,
    /// The owner, or `security queue`.
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) place: Option<String>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) reasons: Vec<String>,
    /// Whether its delivery proves that whoever answers was told.
    pub(crate) is_proof: bool,
}

/// Writes the rows of one message. Once per step and channel within one life of the finding.
pub(crate) fn enqueue(turn: &mut Turn<'_>, matter: &Matter, to: Audience, message: Message, deadline: Option<Timestamp>) -> Outcome<()> {
    let life = matter.case.opened_at;
    let step = match (message, to) {
        (Message::Notice, Audience::Owner) => format!("notice@{life}"),
        (Message::Notice, Audience::SecurityQueue) => format!("notice to security@{life}"),
        (Message::Reminder(before), _) => format!("reminder {before}@{}", deadline.unwrap_or(life)),
        (Message::Blocked, _) => format!("blocked@{}", matter.case.blocked_at.unwrap_or(turn.now)),
        (Message::Released, _) => format!("released@{}", turn.now),
    };
    let letter = write_letter(turn, matter, to, message, deadline);
    let config = &turn.state.config.notify;
    let hook = match to {
        Audience::Owner if config.webhook.is_some() => Some(Channel::Webhook),
        _ if config.security.is_some() => Some(Channel::Security),
        _ => config.webhook.is_some().then_some(Channel::Webhook),
    };
    let beside = [config.log.enabled.then_some(Channel::Log), config.syslog.is_some().then_some(Channel::Syslog)];
    for channel in hook.into_iter().chain(beside.into_iter().flatten()) {
        put(turn, &letter, &step, channel)?;
    }
    Ok(())
}

/// Puts a letter into one channel's outbox.
pub(crate) fn put(turn: &mut Turn<'_>, letter: &Letter, step: &str, channel: Channel) -> Outcome<()> {
    let sql = "INSERT INTO outbox (finding, step, channel, body, state, attempts, next_ms, last_error)
               VALUES (?1, ?2, ?3, ?4, 'waiting', 0, ?5, '') ON CONFLICT DO NOTHING";
    let now = turn.now.as_millisecond();
    turn.db.prepare_cached(sql)?.execute(params![letter.finding, step, channel.as_str(), rows::encode(letter)?, now])?;
    Ok(())
}

fn write_letter(turn: &Turn<'_>, matter: &Matter, to: Audience, message: Message, deadline: Option<Timestamp>) -> Letter {
    let f = &matter.finding;
    let place = f.place.as_ref().map(ToString::to_string);
    let what = place.clone().unwrap_or_else(|| match &f.slug {
        Some(slug) => format!("`{slug}`"),
        None => f.reasons.first().cloned().unwrap_or_default(),
    });
    let (step, subject, text) = words(f.kind, &what, message, deadline);
    let security = format!("security queue of site {}", f.site);
    Letter {
        step: step.to_owned(),
        finding: f.id.to_string(),
        kind: f.kind,
        site: f.site.clone(),
        to: f.owner.as_ref().filter(|_| to == Audience::Owner).map_or(security, |o| o.name.clone()),
        subject,
        text: format!("{text} Finding {}.", f.id),
        place,
        deadline,
        reasons: f.reasons.clone(),
        is_proof: to == Audience::Owner || turn.state.config.notify.security_counts,
    }
}

fn words(kind: FindingKind, what: &str, message: Message, deadline: Option<Timestamp>) -> (&'static str, String, String) {
    let by = deadline.map_or_else(String::new, |d| format!(" by {d}"));
    match (message, kind) {
        (Message::Notice, FindingKind::Shadow) => (
            "notice",
            format!("MCP server at {what} is not registered"),
            format!("An MCP server answers at {what} and is not registered. Register it, shut it down, or ask for an exemption."),
        ),
        (Message::Notice, FindingKind::NoClientCertificate) => (
            "notice",
            format!("MCP server at {what} serves callers without a certificate"),
            format!("{what} answers callers that show no client certificate. Let it ask for one, and refuse those without."),
        ),
        (Message::Notice, kind) => ("notice", format!("{kind}: {what}"), format!("{what} is {kind}. Please look at it.")),
        (Message::Reminder(before), _) => (
            "reminder",
            format!("{before} left: MCP server at {what}"),
            format!("Agents will no longer reach {what} unless it is registered, shut down or exempted{by}."),
        ),
        (Message::Blocked, _) => (
            "blocked",
            format!("Blocked: MCP server at {what}"),
            format!(
                "The grace period is over: a block of agents that call {what} is decided, and in force wherever enforcement is on. Registering it lifts the block."
            ),
        ),
        (Message::Released, _) => ("released", format!("Over: {what}"), format!("Nothing stands against {what} any more.")),
    }
}
