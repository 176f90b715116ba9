//! Something that is wrong with a server, and how far its clock has run.

use crate::{Timestamp, endpoint::Place, evidence::Owner};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Answers, and is not registered.
    Shadow,
    /// Registered, but not as it is: tools, version, address changed.
    Drifted,
    /// Past its sunset, still answering.
    Retired,
    /// A registered name at another place.
    Lookalike,
    /// No authentication, bound to everything, no Host check.
    Exposed,
    /// Registered, silent.
    Dead,
    /// A sensor cannot see.
    Blind,
}

impl FindingKind {
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Shadow => "shadow",
            FindingKind::Drifted => "drifted",
            FindingKind::Retired => "retired",
            FindingKind::Lookalike => "lookalike",
            FindingKind::Exposed => "exposed",
            FindingKind::Dead => "dead",
            FindingKind::Blind => "blind",
        }
    }

    /// Whether this kind can end in a block.
    pub fn enforceable(self) -> bool {
        matches!(self, FindingKind::Shadow | FindingKind::Retired)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// `F-` and eight hexadecimal digits, derived from what the finding is about: the same trouble has the same name after a
/// restart, and the name is safe in a ruleset, a URL and a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FindingId(String);

impl FindingId {
    pub fn derive(kind: FindingKind, subject: &str) -> FindingId {
        let mut hash = Sha256::new();
        hash.update(kind.as_str());
        hash.update([0]);
        hash.update(subject);
        let digest = hash.finalize();
        let mut id = String::from("F-");
        for byte in digest.iter().take(4) {
            id.push_str(&format!("{byte:02x}"));
        }
        FindingId(id)
    }

    pub fn parse(text: &str) -> Option<FindingId> {
        let hex = text.strip_prefix("F-")?;
        let good = hex.len() == 8 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        good.then(|| FindingId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FindingId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        FindingId::parse(&text).ok_or_else(|| serde::de::Error::custom("a finding id is F- and eight hexadecimal digits"))
    }
}

/// What `detect` says now, without history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub id: FindingId,
    pub kind: FindingKind,
    pub severity: Severity,
    pub site: String,
    /// Where; `None` for `blind`.
    pub place: Option<Place>,
    /// The registration it is about, for kinds that have one.
    pub slug: Option<String>,
    pub owner: Option<Owner>,
    /// Why it is a finding, in words for people.
    pub reasons: Vec<String>,
    /// Two witnesses, or an active confirmation: what a block needs beyond the clock.
    pub corroborated: bool,
    /// Other names or paths at the same endpoint: a block would hit them too.
    pub shared_with: Vec<String>,
    pub last_seen: Timestamp,
}
