//! Takes waiting letters to their channels and notes what became of them.

use super::{Channel, Config, Letter, Webhook};
use crate::{
    clock::Clock,
    journal, judge,
    store::{Outcome, Turn, Writer, open_reader, rows},
};
use ring::hmac;
use rules::{Timestamp, admission::Escalation, finding::FindingId, printable::printable};
use rusqlite::{Connection, params};
use serde_json::json;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Failed so often, the journal has it; who is told instead is the ladder's business.
const SAY_SO_AFTER: i64 = 5;
/// That something is over is told so often; after about four days it is nobody's news.
const GIVEN_UP_AFTER: i64 = 100;
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const AT_ONCE: usize = 8;
const AT_A_TIME: i64 = 64;

struct Waiting {
    row: i64,
    step: String,
    channel: String,
    attempts: i64,
    letter: Letter,
}

/// Delivers until told to stop. `wake` is escalation after each commit.
pub(crate) async fn run(post: Post, database: PathBuf, writer: Writer, clock: Clock, wake: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        let (path, now) = (database.clone(), clock.now());
        let due = tokio::task::spawn_blocking(move || open_reader(&path).ok().and_then(|db| waiting(&db, now).ok())).await;
        let mut due = due.ok().flatten().unwrap_or_default().into_iter().peekable();
        while due.peek().is_some() {
            // A few at a time: a channel that hangs must not hold up the others for long.
            let some: Vec<Waiting> = due.by_ref().take(AT_ONCE).collect();
            let sending = futures_util::future::join_all(some.iter().map(|one| post.send(one, clock.now())));
            let sent = tokio::select! {
                () = stop.cancelled() => return,
                sent = sending => sent,
            };
            let some: Vec<_> = some.into_iter().zip(sent).map(|(one, sent)| (post.config.counts(&one), one, sent)).collect();
            // Not stored: it is sent again, with the same idempotency key. Twice is better than never.
            let noted = writer.write(|turn| some.into_iter().try_for_each(|(counts, one, sent)| note(turn, one, sent, counts)));
            if let Err(why) = noted.await {
                tracing::warn!(%why, "deliveries could not be noted");
            }
        }
    }
}

impl Config {
    fn counts(&self, one: &Waiting) -> bool {
        let channel = match Channel::parse(&one.channel) {
            Some(Channel::Log) => self.log.counts,
            Some(Channel::Webhook | Channel::Security) => true,
            Some(Channel::Syslog) | None => false,
        };
        channel && one.letter.is_proof && one.letter.step == "notice"
    }
}

fn waiting(db: &Connection, now: Timestamp) -> Outcome<Vec<Waiting>> {
    let sql =
        "SELECT id, step, channel, attempts, body FROM outbox WHERE state = 'waiting' AND next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2";
    let mut ask = db.prepare(sql)?;
    let found = ask.query_map(params![now.as_millisecond(), AT_A_TIME], |r| {
        let letter = rows::decode(&r.get::<_, String>(4)?)?;
        Ok(Waiting { row: r.get(0)?, step: r.get(1)?, channel: r.get(2)?, attempts: r.get(3)?, letter })
    })?;
    found.collect()
}

/// Stores the outcome; a delivered notice starts the clock.
fn note(turn: &mut Turn<'_>, one: Waiting, sent: Result<(), String>, counts: bool) -> Outcome<()> {
    let id = FindingId::parse(&one.letter.finding);
    match sent {
        Ok(()) => {
            let sql = "UPDATE outbox SET state = 'delivered', attempts = attempts + 1, last_error = '' WHERE id = ?1";
            turn.db.execute(sql, [one.row])?;
            let reason = format!("{} to {} by {}", one.letter.step, one.letter.to, one.channel);
            journal::write(turn, "notifier", "delivered", &one.letter.finding, &reason, json!({"step": one.step, "proof": counts}))?;
            if let Some(id) = id.filter(|_| counts) {
                judge::delivered(turn, &id)?;
            }
        }
        Err(why) => {
            let over = id.and_then(|id| turn.state.matter(&id).map(|(_, _, m)| m.case.escalation == Escalation::Closed)).unwrap_or(true);
            let attempts = one.attempts + 1;
            // As long as the case is open, somebody has to be told, however long the channel fails. Once it is over, nothing is left
            // to say but that, and not for ever.
            let state = if over && (one.letter.step != "released" || attempts > GIVEN_UP_AFTER) { "dropped" } else { "waiting" };
            let next = turn.now.as_millisecond().saturating_add(backoff(attempts, one.row).as_millis() as i64);
            let sql = "UPDATE outbox SET state = ?2, attempts = ?3, next_ms = ?4, last_error = ?5 WHERE id = ?1";
            turn.db.execute(sql, params![one.row, state, attempts, next, printable(&why, 300)])?;
            if attempts == SAY_SO_AFTER {
                journal::write(turn, "notifier", "delivery-failing", &one.letter.finding, &why, json!({"channel": one.channel}))?;
            }
        }
    }
    Ok(())
}

/// 2 s, 4 s, 8 s, … one hour, spread by the row's number so that not all come at once.
fn backoff(attempts: i64, row: i64) -> Duration {
    let base = Duration::from_secs(1 << attempts.clamp(1, 12)).min(LONGEST_WAIT);
    base + base.mul_f64((row.rem_euclid(16)) as f64 / 64.0)
}

/// The channels, opened.
pub(crate) struct Post {
    config: Config,
    /// Made when there is a webhook at all.
    client: Option<reqwest::Client>,
    /// This machine, as syslog has it.
    host: String,
    webhook: Option<Keyed>,
    security: Option<Keyed>,
}

impl Post {
    /// Reads the secrets. What is wrong with a channel is said at the start, not when somebody should be told.
    pub(crate) fn open(config: &Config) -> Result<Post, String> {
        let (webhook, security) = (keyed(config.webhook.as_ref())?, keyed(config.security.as_ref())?);
        let client = (webhook.is_some() || security.is_some()).then(|| {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
                .timeout(Duration::from_secs(15))
                .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| format!("webhooks cannot be used: {e}; are the system's CA certificates installed?"))
        });
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Ok(Post { config: config.clone(), client: client.transpose()?, host, webhook, security })
    }

    async fn send(&self, one: &Waiting, now: Timestamp) -> Result<(), String> {
        let hook = match Channel::parse(&one.channel) {
            Some(Channel::Log) => {
                let letter = &one.letter;
                tracing::warn!(finding = %letter.finding, to = %letter.to, subject = %letter.subject, "{}", letter.text);
                return Ok(());
            }
            Some(Channel::Syslog) => {
                let Some(syslog) = &self.config.syslog else { return Err("the channel is no longer configured".to_owned()) };
                return syslog.send(&one.letter, &self.host, now).await;
            }
            Some(Channel::Webhook) => &self.webhook,
            Some(Channel::Security) => &self.security,
            None => return Err("no such channel in this version".to_owned()),
        };
        let (Some((hook, key)), Some(client)) = (hook, &self.client) else {
            return Err("the channel is no longer configured".to_owned());
        };
        let body = hook.format.body(&one.letter)?;
        let stamp = now.as_second().to_string();
        let mut request = client
            .post(hook.url.clone())
            .header("content-type", "application/json")
            .header("idempotency-key", format!("{} {} {}", one.letter.finding, one.step, one.channel))
            .header("x-gnomon-timestamp", &stamp);
        if let Some(key) = key {
            let tag = hmac::sign(key, format!("{stamp}.{body}").as_bytes());
            request = request.header("x-gnomon-signature", format!("sha256={}", crate::hex(tag.as_ref())));
        }
        let answer = request.body(body).send().await.map_err(|e| e.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the webhook answered {}", answer.status())) }
    }
}

type Keyed = (Webhook, Option<hmac::Key>);

/// The webhook with its secret.
fn keyed(hook: Option<&Webhook>) -> Result<Option<Keyed>, String> {
    let Some(hook) = hook.cloned() else { return Ok(None) };
    let key = match &hook.secret_file {
        None => None,
        Some(path) => {
            let secret = std::fs::read(path).map_err(|e| format!("the webhook's secret_file {} cannot be read: {e}", path.display()))?;
            Some(hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii()))
        }
    };
    Ok(Some((hook, key)))
}
