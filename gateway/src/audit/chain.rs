//! Every line of the log names the hash of the one before: none can be changed, dropped, added or moved unseen.
//!
//! A line is a JSON object whose last member is `hash`: hexadecimal SHA-256 over [`DOMAIN`] and the line's bytes without
//! that member. So whoever checks needs no canonical form, only the bytes as they stand.

use super::record::LogEntry;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"gnomon.audit.v1\0";

/// `prev` of the first line ever.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where a chain stands: what the next line has to continue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Of the last line; 0 before the first.
    pub seq: u64,
    pub hash: String,
}

impl Default for Head {
    fn default() -> Head {
        Head { seq: 0, hash: GENESIS.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub seq: u64,
    pub prev: String,
    #[serde(flatten)]
    pub entry: LogEntry,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("is not a record of this log: {0}")]
    Unreadable(String),
    #[error("was changed: its hash does not fit its bytes")]
    Changed,
    #[error("does not continue the one before: expected number {expected}, got {got}")]
    Missing { expected: u64, got: u64 },
    #[error("does not name the hash of the one before")]
    Detached,
}

impl Head {
    /// The next line, with its line end; the head moves on.
    pub fn seal(&mut self, entry: &LogEntry) -> Result<String, serde_json::Error> {
        let line = Line { seq: self.seq + 1, prev: self.hash.clone(), entry: entry.clone() };
        let mut text = serde_json::to_string(&line)?;
        let hash = digest(text.as_bytes());
        text.pop();
        text.push_str(",\"hash\":\"");
        text.push_str(&hash);
        text.push_str("\"}\n");
        *self = Head { seq: line.seq, hash };
        Ok(text)
    }
}

/// Checks one line (without its line end) by itself, and against the line before when `after` is given.
pub fn check(text: &str, after: Option<&Head>) -> Result<(Line, Head), Broken> {
    let unreadable = |why: &str| Broken::Unreadable(why.to_owned());
    let (body, hash) = text.rsplit_once(",\"hash\":\"").ok_or_else(|| unreadable("it has no hash"))?;
    let hash = hash.strip_suffix("\"}").ok_or_else(|| unreadable("it does not end with its hash"))?;
    let body = format!("{body}}}");
    if digest(body.as_bytes()) != hash {
        return Err(Broken::Changed);
    }
    let line: Line = serde_json::from_str(&body).map_err(|e| Broken::Unreadable(e.to_string()))?;
    if let Some(after) = after {
        let expected = after.seq + 1;
        if line.seq != expected {
            return Err(Broken::Missing { expected, got: line.seq });
        }
        if line.prev != after.hash {
            return Err(Broken::Detached);
        }
    }
    let head = Head { seq: line.seq, hash: hash.to_owned() };
    Ok((line, head))
}

/// Where the chain would stand after this line if it were as it says, for going on after a break.
pub(super) fn stated(text: &str) -> Option<Head> {
    #[derive(Deserialize)]
    struct Stated {
        seq: u64,
        hash: String,
    }
    serde_json::from_str::<Stated>(text).ok().map(|s| Head { seq: s.seq, hash: s.hash })
}

fn digest(body: &[u8]) -> String {
    let mut sha = Sha256::new();
    sha.update(DOMAIN);
    sha.update(body);
    crate::hex::hex(&sha.finalize())
}
