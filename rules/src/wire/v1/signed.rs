//! What was signed, and by whom: a payload is handed out once its signature holds, and nothing of it is looked at before.
//!
//! Everybody who acts on the collector's word (enforcers, gateways, sensors that reset) asks here, so that there is one answer.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::printable::printable;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest,
    signature::{ED25519, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Signed bytes: `signature` is Ed25519 (RFC 8032) over `domain`, a NUL byte and the decoded `payload`. Both are base64 (RFC 4648 §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What was signed, so that a signature for one purpose is none for another: [`Signed::DECISIONS`] or [`Signed::BUNDLE`].
    pub domain: String,
    /// First 16 hexadecimal digits of SHA-256 over the public key.
    pub key_id: String,
    pub payload: String,
    pub signature: String,
}

/// The public keys that may sign, by their id.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

/// Why signed bytes are not looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("`{0}` among the trusted keys is not a base64 Ed25519 public key of 32 bytes; copy it from the collector")]
    BadKey(String),
    #[error("signed for `{theirs}`, not for `{ours}`")]
    OtherDomain { theirs: String, ours: &'static str },
    #[error(
        "signed by key {0}, which is not among the keys trusted here (`trusted_keys`, a gateway's `bundle_keys`); if the collector has a new key, add it"
    )]
    UnknownKey(String),
    #[error("the signature does not fit: it was changed on its way, or is not the collector's")]
    BadSignature,
    #[error("the payload has more than {} bytes", Signed::MAX_PAYLOAD)]
    TooLarge,
}

impl Keys {
    /// From base64 Ed25519 public keys of 32 bytes (RFC 8032).
    pub fn parse(trusted: &[String]) -> Result<Keys, Distrust> {
        let mut keys = BTreeMap::new();
        for text in trusted {
            let key = STANDARD.decode(text.trim()).ok().filter(|k| k.len() == 32);
            let key = key.ok_or_else(|| Distrust::BadKey(printable(text, 64)))?;
            keys.insert(key_id(&key), key);
        }
        Ok(Keys(keys))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// First 16 hexadecimal digits of SHA-256 over the public key.
pub fn key_id(public_key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public_key);
    hash.as_ref().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

impl Signed {
    pub const DECISIONS: &'static str = "gnomon.decisions.v1";
    pub const BUNDLE: &'static str = "gnomon.bundle.v1";
    /// Decoded bytes of the largest payload that is looked at: 100,000 decisions with long reasons.
    pub const MAX_PAYLOAD: usize = 64 << 20;

    /// The payload, if one of `keys` signed it for this purpose.
    pub fn open(&self, domain: &'static str, keys: &Keys) -> Result<Payload, Distrust> {
        if self.domain != domain {
            return Err(Distrust::OtherDomain { theirs: printable(&self.domain, 64), ours: domain });
        }
        let key = keys.0.get(&self.key_id).ok_or_else(|| Distrust::UnknownKey(printable(&self.key_id, 64)))?;
        if self.payload.len() > Signed::MAX_PAYLOAD / 3 * 4 {
            return Err(Distrust::TooLarge);
        }
        let signature = STANDARD.decode(&self.signature).map_err(|_| Distrust::BadSignature)?;
        // One buffer: a payload may have many megabytes.
        let mut message = Vec::with_capacity(self.domain.len() + 1 + self.payload.len() / 4 * 3 + 3);
        message.extend_from_slice(self.domain.as_bytes());
        message.push(0);
        let begin = message.len();
        STANDARD.decode_vec(&self.payload, &mut message).map_err(|_| Distrust::BadSignature)?;
        UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).map_err(|_| Distrust::BadSignature)?;
        Ok(Payload { message, begin })
    }
}

/// Bytes whose signature holds. Only [`Signed::open`] makes one.
#[derive(Debug)]
pub struct Payload {
    message: Vec<u8>,
    begin: usize,
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        self.message.get(self.begin..).unwrap_or_default()
    }
}
