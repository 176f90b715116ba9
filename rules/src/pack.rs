//! Signature packs: which signatures exist, how much each says, and whence we know it.

mod overlay;

pub use overlay::Refusal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How much one signature says, alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Worth a look; never more than Candidate, however many.
    Weak,
    /// Needs a second, different one.
    Strong,
    /// Settles it, when it comes from the server's side.
    Decisive,
    /// Speaks against: another protocol, an echo, a server that answers nonsense.
    Against,
    /// The negative control was refused as it should be: a decisive answer of the same probe can be believed.
    Control,
}

/// Whose bytes carried the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Server,
    /// Somebody tried; says nothing about what answers.
    Client,
    /// The surroundings: a name, a port, a configuration file.
    Context,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub id: String,
    pub strength: Strength,
    pub side: Side,
    /// One sentence for people: what it means when this is seen.
    pub says: String,
    /// Specification section, SDK and version, or measurement this rests on.
    pub source: String,
}

/// A validated set of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    signatures: BTreeMap<String, Signature>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PackError {
    /// Carries the parser's line and column.
    #[error("the pack is not readable: {0}")]
    Unreadable(String),
    #[error("mark `{0}` is defined twice")]
    Twice(String),
    #[error("mark id `{0}` is not of the form witness.side.name in lower case")]
    BadId(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(alias = "marks")]
    signatures: Vec<Signature>,
}

impl Pack {
    /// Reads a pack in YAML. Nothing is kept of a broken one.
    pub fn parse(yaml: &str) -> Result<Pack, PackError> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|e| PackError::Unreadable(e.to_string()))?;
        let mut signatures = BTreeMap::new();
        for signature in file.signatures {
            if !is_signature_id(&signature.id) {
                return Err(PackError::BadId(signature.id));
            }
            if let Some(old) = signatures.insert(signature.id.clone(), signature) {
                return Err(PackError::Twice(old.id));
            }
        }
        Ok(Pack { signatures })
    }

    const SHIPPED: &str = include_str!("../packs/mcp.yaml");

    /// The first twelve digits over the shipped pack's text: which one it is, whatever the version says.
    pub fn shipped_digest() -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, Pack::SHIPPED.as_bytes());
        digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The pack shipped with this version.
    ///
    /// # Panics
    /// Never in a released build: `the_shipped_pack_is_sound` parses the same bytes.
    pub fn shipped() -> Pack {
        match Pack::parse(Pack::SHIPPED) {
            Ok(pack) => pack,
            Err(why) => panic!("the shipped pack is broken: {why}"),
        }
    }

    /// What a signature says. A signature nobody defined is Weak context: news from a newer sensor, not a reason to fail.
    pub fn weigh(&self, id: &str) -> (Strength, Side) {
        self.signatures.get(id).map_or((Strength::Weak, Side::Context), |m| (m.strength, m.side))
    }

    pub fn get(&self, id: &str) -> Option<&Signature> {
        self.signatures.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Signature> {
        self.signatures.values()
    }
}

/// `source.side.name`
fn is_signature_id(id: &str) -> bool {
    id.split('.').count() == 3 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_pack_is_sound() {
        assert!(Pack::shipped().iter().count() > 20);
    }

    #[test]
    fn a_broken_pack_names_the_line() {
        let why = Pack::parse("marks:\n- id: a.b.c\n  strenght: weak\n").unwrap_err().to_string();
        assert!(why.contains("line 3"), "{why}");
    }
}
