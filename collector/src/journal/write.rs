//! Appends to the journal, inside a transaction.

use super::{Actor, Text, Verb};
use crate::commit::{Announcement, Outcome, Transaction};
use rules::printable::printable;
use serde_json::Value;

/// Appends one row; it is logged once it is committed. Text is made printable here, once for all who read it.
pub(crate) fn write(tx: &mut Transaction<'_>, actor: Actor, verb: Verb, subject: &str, reason: &str, detail: Value) -> Outcome<()> {
    let text = Text {
        at: tx.now.to_string(),
        actor: printable(&actor.to_string(), 120),
        verb: verb.as_str().to_owned(),
        subject: printable(subject, 400),
        reason: printable(reason, 1000),
        detail: detail.to_string(),
    };
    let tip = text.after(&tx.image.journal);
    tx.records.append_journal(&tip, &text)?;
    tx.image.journal = tip;
    tx.announce(Announcement::Journal { actor: text.actor, verb, subject: text.subject, reason: text.reason });
    Ok(())
}
