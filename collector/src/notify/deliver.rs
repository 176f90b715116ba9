//! Takes waiting letters to their channels and notes the outcome of each.

use super::{
    channels::Channels,
    letter::{Channel, LetterKind, Waiting},
};
use crate::{
    clock::Clock,
    commit::{Outcome, Transaction, Writer},
    config::notify::Config,
    journal::{self, Actor, Verb},
    judge,
    store::{Attempt, LetterOutcome, Reader},
};
use rules::{Timestamp, admission::Escalation, finding::FindingId, printable::printable};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After so many failures the journal says so. The rules of escalation decide who else is told.
const SAY_SO_AFTER: i64 = 5;
/// That something is over is told so often; after about four days it is nobody's news.
const GIVEN_UP_AFTER: i64 = 100;
/// Looked at without being woken as well: letters fall due by time.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const AT_ONCE: usize = 8;
const AT_A_TIME: u32 = 64;

/// Delivers until told to stop. `wake` rings after each commit.
pub(crate) async fn run(channels: Channels, reader: Reader, writer: Writer, clock: Clock, wake: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = clock.now();
        let due = reader.ask(move |read| read.letters_due(now, AT_A_TIME)).await.flatten();
        let mut due = due.unwrap_or_default().into_iter().peekable();
        while due.peek().is_some() {
            // A few at a time: a channel that hangs must not hold up the others for long.
            let some: Vec<Waiting> = due.by_ref().take(AT_ONCE).collect();
            let sending = futures_util::future::join_all(some.iter().map(|one| channels.send(one, clock.now())));
            let sent = tokio::select! {
                () = stop.cancelled() => return,
                sent = sending => sent,
            };
            let some: Vec<_> = some.into_iter().zip(sent).map(|(one, sent)| (channels.config.counts(&one), one, sent)).collect();
            // Not stored: it is sent again, with the same idempotency key. Twice is better than never.
            let noted = writer.write(|tx| some.into_iter().try_for_each(|(counts, one, sent)| note(tx, one, sent, counts)));
            if let Err(why) = noted.await {
                tracing::warn!(%why, "deliveries could not be noted");
                // What is sent again at once would be sent again and again.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => break,
                }
            }
        }
    }
}

impl Config {
    fn counts(&self, one: &Waiting) -> bool {
        let channel = match one.channel {
            Channel::Log => self.log.counts,
            Channel::Webhook | Channel::Security => true,
            Channel::Syslog | Channel::Other(_) => false,
        };
        channel && one.letter.is_proof && one.letter.about == LetterKind::Notice
    }
}

/// Stores the outcome; a delivered notice starts the clock.
fn note(tx: &mut Transaction<'_>, one: Waiting, sent: Result<(), String>, counts: bool) -> Outcome<()> {
    let id = FindingId::parse(&one.letter.finding);
    match sent {
        Ok(()) => {
            tx.records.note_letter(one.id, &LetterOutcome::Delivered)?;
            let reason = format!("{} to {} by {}", one.letter.about, one.letter.to, one.channel);
            let detail = json!({"step": one.step.to_string(), "proof": counts});
            journal::write(tx, Actor::Notifier, Verb::Delivered, &one.letter.finding, &reason, detail)?;
            if let Some(id) = id.filter(|_| counts) {
                judge::delivered(tx, &id)?;
            }
        }
        Err(why) => {
            let over = id.and_then(|id| tx.image.matter(&id).map(|(_, _, m)| m.case.escalation == Escalation::Closed)).unwrap_or(true);
            let number = one.attempts + 1;
            // As long as the case is open, somebody has to be told, however long the channel fails. Once it is over, nothing is left
            // to say but that, and not for ever.
            let dropped = over && (one.letter.about != LetterKind::Released || number > GIVEN_UP_AFTER);
            let next = tx.now.saturating_add(backoff(number, one.id)).unwrap_or(Timestamp::MAX);
            let attempt = Attempt { number, next, error: printable(&why, 300) };
            let outcome = if dropped { LetterOutcome::Dropped(attempt) } else { LetterOutcome::Later(attempt) };
            tx.records.note_letter(one.id, &outcome)?;
            if number == SAY_SO_AFTER {
                let detail = json!({"channel": one.channel});
                journal::write(tx, Actor::Notifier, Verb::DeliveryFailing, &one.letter.finding, &why, detail)?;
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
