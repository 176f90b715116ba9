//! The journal: each act with its actor, time and reason. Append-only; each row is bound to the one before it.
//!
//! `hash = SHA-256(previous hash ‖ JSON [id, at, actor, verb, subject, reason, detail])`. Whoever changes or removes a row must
//! rewrite all that follow, and the newest hash is on the status page and in every `/v1/journal` answer to compare with.

mod actor;
mod verb;
mod write;

pub use actor::Actor;
use ring::digest;
use rules::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use verb::Verb;
pub(crate) use write::write;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub id: i64,
    pub at: Timestamp,
    pub actor: Actor,
    pub verb: Verb,
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

/// A row in the very bytes that are hashed and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) at: String,
    pub(crate) actor: String,
    pub(crate) verb: String,
    pub(crate) subject: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

impl Text {
    /// The row's number and hash, when it follows `previous`.
    pub(crate) fn after(&self, previous: &Tip) -> Tip {
        let id = previous.id.saturating_add(1);
        let text = [&self.actor, &self.verb, &self.subject, &self.reason, &self.detail];
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&previous.hash);
        hash.update(serde_json::json!([id, self.at, text]).to_string().as_bytes());
        Tip { id, hash: hash.finish().as_ref().to_vec() }
    }

    pub(crate) fn into_row(self, tip: &Tip) -> Row {
        Row {
            id: tip.id,
            at: self.at.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            actor: self.actor.as_str().into(),
            verb: self.verb.into(),
            subject: self.subject,
            reason: self.reason,
            detail: serde_json::from_str(&self.detail).unwrap_or(Value::Null),
            hash: crate::hex(&tip.hash),
        }
    }
}

/// The fault of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("row {0} is missing or out of order")]
    Missing(i64),
    #[error("row {0} was changed after it was written")]
    Changed(i64),
    #[error("the journal cannot be read: {0}")]
    Unreadable(String),
}
