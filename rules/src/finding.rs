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
    /// An enforcement point does not hold what was decided.
    Unenforced,
    /// Serves callers that show no certificate, where the policy wants one.
    NoClientCertificate,
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
            FindingKind::Unenforced => "unenforced",
            FindingKind::NoClientCertificate => "no-client-certificate",
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

/// `F-` and 32 hexadecimal digits, derived from what the finding is about: the same trouble has the same name after a restart,
/// and the name is safe in a ruleset, a URL and a log. 128 bits, so that nobody can choose paths until one finding hides another.
/// People type a beginning of it ([`FindingPrefix`]). Names of eight digits are of the first version, and still read.
///
/// Kept in place, padded with zeros: an enforcer holds 100,000 of them three times over.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId([u8; 2 + FindingId::DIGITS]);

impl FindingId {
    const DIGITS: usize = 32;
    const DIGITS_V1: usize = 8;

    pub fn derive(kind: FindingKind, subject: &str) -> FindingId {
        let mut hash = Sha256::new();
        hash.update(kind.as_str());
        hash.update([0]);
        hash.update(subject);
        let digest = hash.finalize();
        let mut id = [0; 2 + FindingId::DIGITS];
        let text = b"F-".iter().copied().chain(digest.iter().flat_map(|b| [b >> 4, b & 15]).map(hex));
        id.iter_mut().zip(text).for_each(|(place, byte)| *place = byte);
        FindingId(id)
    }

    pub fn parse(text: &str) -> Option<FindingId> {
        let good = matches!(digits(text)?, FindingId::DIGITS | FindingId::DIGITS_V1);
        let mut id = [0; 2 + FindingId::DIGITS];
        id.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        good.then_some(FindingId(id))
    }

    /// What people are shown where room is short: enough to find it by.
    pub fn short(&self) -> &str {
        let all = self.as_str();
        all.get(..2 + FindingId::DIGITS_V1).unwrap_or(all)
    }

    pub fn as_str(&self) -> &str {
        // ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default().trim_end_matches('\0')
    }
}

fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// How many hexadecimal digits follow `F-`, when nothing else does.
fn digits(text: &str) -> Option<usize> {
    let hex = text.strip_prefix("F-")?;
    hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)).then_some(hex.len())
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FindingId").field(&self.as_str()).finish()
    }
}

impl Serialize for FindingId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// The beginning of an id, `F-` and at least four digits, as people type it; or a whole one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingPrefix(String);

impl FindingPrefix {
    const FEWEST: usize = 4;

    pub fn parse(text: &str) -> Option<FindingPrefix> {
        let good = (FindingPrefix::FEWEST..=FindingId::DIGITS).contains(&digits(text)?);
        good.then(|| FindingPrefix(text.to_owned()))
    }

    pub fn is_of(&self, id: &FindingId) -> bool {
        id.as_str().starts_with(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<FindingId> for FindingPrefix {
    fn from(id: FindingId) -> FindingPrefix {
        FindingPrefix(id.as_str().to_owned())
    }
}

impl fmt::Display for FindingPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FindingId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        FindingId::parse(&text).ok_or_else(|| serde::de::Error::custom("a finding id is F- and 32 hexadecimal digits"))
    }
}

/// What `detect` says now, without history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub id: FindingId,
    pub kind: FindingKind,
    pub severity: Severity,
    pub site: String,
    /// Where; `None` for `blind` and `unenforced`.
    pub place: Option<Place>,
    /// The registration it is about, for kinds that have one.
    pub slug: Option<String>,
    pub owner: Option<Owner>,
    /// Why it is a finding, in words for people.
    pub reasons: Vec<String>,
    /// Two sources, or an active confirmation: what a block needs beyond the clock.
    pub corroborated: bool,
    /// How many sensors say something strong of the server itself.
    #[serde(default)]
    pub sensors: u32,
    /// Other names or paths at the same endpoint: a block would hit them too.
    pub shared_with: Vec<String>,
    pub last_seen: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_thousand_findings_have_forty_thousand_names() {
        let names: std::collections::BTreeSet<_> =
            (0..200_000).map(|n| FindingId::derive(FindingKind::Shadow, &format!("default/10.0.0.5:{n}/mcp"))).collect();
        assert_eq!(names.len(), 200_000);
    }

    #[test]
    fn a_beginning_finds_it_and_names_of_the_first_version_are_read() {
        let id = FindingId::derive(FindingKind::Shadow, "default/10.0.0.5:3001/mcp");
        assert_eq!(FindingId::parse(id.as_str()), Some(id.clone()));
        assert!(FindingId::parse(id.short()).is_some(), "as long as those of the first version");
        assert!(FindingPrefix::parse(id.short()).is_some_and(|p| p.is_of(&id)));
        assert!(FindingPrefix::parse("F-0000").is_some_and(|p| !p.is_of(&id)));
        for no in ["F-", "F-12", "F-123G", "f-1234", "1234", "F-1234567890abcdef1234567890abcdef0"] {
            assert_eq!(FindingPrefix::parse(no), None, "{no}");
        }
    }
}
