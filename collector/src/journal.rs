//! Who did what, when and why: append-only, each row bound to the one before it.
//!
//! `hash = SHA-256(previous hash ‖ JSON [id, at, actor, verb, subject, reason, detail])`. Whoever changes or removes a row must
//! rewrite all that follow, and the newest hash is on the status page and in every `/v1/journal` answer to compare with.

use crate::store::{Outcome, Turn};
use ring::digest;
use rules::{Timestamp, finding::FindingId, printable::printable};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub id: i64,
    pub at: Timestamp,
    /// `judge`, `notifier`, `admin`, `sensor:NAME`, `point:NAME`.
    pub actor: String,
    pub verb: String,
    /// A finding, a slug, a sensor, a generation.
    pub subject: String,
    pub reason: String,
    pub detail: Value,
    /// Hexadecimal.
    pub hash: String,
}

/// The newest row's number and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) id: i64,
    pub(crate) hash: Vec<u8>,
}

impl Default for Tip {
    fn default() -> Tip {
        Tip { id: 0, hash: vec![0; 32] }
    }
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("row {0} is missing or out of order")]
    Missing(i64),
    #[error("row {0} was changed after it was written")]
    Changed(i64),
    #[error("the journal cannot be read: {0}")]
    Unreadable(String),
}

pub(crate) fn tip(db: &Connection) -> Outcome<Tip> {
    let mut ask = db.prepare("SELECT id, hash FROM journal ORDER BY id DESC LIMIT 1")?;
    let mut rows = ask.query_map([], |r| Ok(Tip { id: r.get(0)?, hash: r.get(1)? }))?;
    rows.next().unwrap_or_else(|| Ok(Tip::default()))
}

/// Appends one row. Text is made printable here, once for all who read it.
pub(crate) fn write(turn: &mut Turn<'_>, actor: &str, verb: &str, subject: &str, reason: &str, detail: Value) -> Outcome<()> {
    let (id, at) = (turn.state.journal.id + 1, turn.now.to_string());
    let (actor, subject, reason) = (printable(actor, 120), printable(subject, 400), printable(reason, 1000));
    let detail = detail.to_string();
    let hash = link(&turn.state.journal.hash, id, &at, [&actor, verb, &subject, &reason, &detail]);
    let sql = "INSERT INTO journal (id, at, actor, verb, subject, reason, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    turn.db.prepare_cached(sql)?.execute(params![id, at, actor, verb, subject, reason, detail, hash])?;
    tracing::info!(%actor, verb, %subject, %reason, "journal");
    turn.state.journal = Tip { id, hash };
    Ok(())
}

/// Rows after `after`, oldest first; of one subject when it is given. A finding's are also those under its name of the first version.
pub(crate) fn read(db: &Connection, after: i64, subject: Option<&str>, limit: u32) -> Outcome<Vec<Row>> {
    let shorter = subject.map(|s| FindingId::parse(s).map_or_else(|| s.to_owned(), |id| id.short().to_owned()));
    let sql = "SELECT id, at, actor, verb, subject, reason, detail, hash FROM journal
               WHERE id > ?1 AND (?2 IS NULL OR subject IN (?2, ?4)) ORDER BY id LIMIT ?3";
    let mut ask = db.prepare_cached(sql)?;
    ask.query_map(params![after, subject, limit, shorter], row)?.collect()
}

/// The newest rows, newest first.
pub(crate) fn latest(db: &Connection, limit: u32) -> Outcome<Vec<Row>> {
    let sql = "SELECT id, at, actor, verb, subject, reason, detail, hash FROM journal ORDER BY id DESC LIMIT ?1";
    db.prepare_cached(sql)?.query_map([limit], row)?.collect()
}

/// Walks the whole chain. Gives the number of rows.
pub(crate) fn verify(db: &Connection) -> Result<i64, Broken> {
    let unreadable = |e: rusqlite::Error| Broken::Unreadable(printable(&e.to_string(), 200));
    let mut ask = db.prepare("SELECT id, at, actor, verb, subject, reason, detail, hash FROM journal ORDER BY id").map_err(unreadable)?;
    let mut rows = ask.query([]).map_err(unreadable)?;
    let mut before = Tip::default();
    while let Some(row) = rows.next().map_err(unreadable)? {
        let text = |at: usize| row.get::<_, String>(at).map_err(unreadable);
        let (id, stored): (i64, Vec<u8>) = (row.get(0).map_err(unreadable)?, row.get(7).map_err(unreadable)?);
        if id != before.id + 1 {
            return Err(Broken::Missing(before.id + 1));
        }
        let hash = link(&before.hash, id, &text(1)?, [&text(2)?, &text(3)?, &text(4)?, &text(5)?, &text(6)?]);
        if hash != stored {
            return Err(Broken::Changed(id));
        }
        before = Tip { id, hash };
    }
    Ok(before.id)
}

fn link(previous: &[u8], id: i64, at: &str, text: [&str; 5]) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(previous);
    hash.update(serde_json::json!([id, at, text]).to_string().as_bytes());
    hash.finish().as_ref().to_vec()
}

fn row(r: &rusqlite::Row<'_>) -> Outcome<Row> {
    let at: String = r.get(1)?;
    let hash: Vec<u8> = r.get(7)?;
    Ok(Row {
        id: r.get(0)?,
        at: at.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        actor: r.get(2)?,
        verb: r.get(3)?,
        subject: r.get(4)?,
        reason: r.get(5)?,
        detail: serde_json::from_str(&r.get::<_, String>(6)?).unwrap_or(Value::Null),
        hash: crate::hex(&hash),
    })
}
