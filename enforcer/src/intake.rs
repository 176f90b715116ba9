//! Signed bytes in, a decision set to be trusted out: is it true, is it ours, is it in force, is it not older than what we have?
//!
//! Pure: keys, time and the last generation are arguments. Nothing of a payload is looked at before its signature is.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest,
    signature::{ED25519, UnparsedPublicKey},
};
use rules::{Timestamp, decision::DecisionSet, endpoint::Endpoint, printable::printable, wire::v1::Signed};
use std::{collections::BTreeMap, time::Duration};

/// Decoded bytes of the largest set that is looked at: 100,000 decisions with long reasons.
pub const MAX_PAYLOAD: usize = 64 << 20;
/// A collector's clock may be this far ahead of ours.
pub(crate) const SKEW: Duration = Duration::from_secs(600);

/// The public keys that may sign, by their id.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

impl Keys {
    /// From base64 Ed25519 public keys of 32 bytes (RFC 8032).
    pub fn parse(trusted: &[String]) -> Result<Keys, Refused> {
        let mut keys = BTreeMap::new();
        for text in trusted {
            let key = STANDARD.decode(text.trim()).ok().filter(|k| k.len() == 32);
            let key = key.ok_or_else(|| Refused::BadTrustedKey(printable(text, 64)))?;
            keys.insert(key_id(&key), key);
        }
        Ok(Keys(keys))
    }
}

/// First 16 hexadecimal digits of SHA-256 over the public key.
pub fn key_id(public_key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public_key);
    hash.as_ref().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Why a set is not applied. The last good one stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("`trusted_keys` holds `{0}`, which is not a base64 Ed25519 public key of 32 bytes; copy it from the collector")]
    BadTrustedKey(String),
    #[error("signed for `{0}`, not as a decision set")]
    OtherDomain(String),
    #[error("signed by key {0}, which `trusted_keys` does not hold; if the collector has a new key, add it here")]
    UnknownKey(String),
    #[error("the signature does not fit: the set was changed on its way, or is not the collector's")]
    BadSignature,
    #[error("the payload has more than {MAX_PAYLOAD} bytes")]
    TooLarge,
    #[error("the collector signed something that is not a decision set: {0}")]
    Unreadable(String),
    #[error("for site `{theirs}`; this point belongs to `{ours}`")]
    OtherSite { theirs: String, ours: String },
    #[error("expired at {not_after}; if the collector's clock is right, this host's ({now}) is not")]
    Expired { not_after: Timestamp, now: Timestamp },
    #[error("issued at {issued_at}, which is in this host's future ({now}): one of the two clocks is wrong")]
    NotYet { issued_at: Timestamp, now: Timestamp },
    #[error(
        "generation {theirs} is older than {ours}, already applied here; if the collector was restored from a backup on purpose, remove this point's state directory"
    )]
    Older { theirs: u64, ours: u64 },
}

/// What a set has to fit.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    pub keys: &'a Keys,
    pub site: &'a str,
    /// The newest generation ever applied here.
    pub generation: u64,
    pub now: Timestamp,
}

/// The set, if it is to be trusted now. The generation applied last may come again: that is a refresh.
pub fn verify(signed: &Signed, expect: Expect<'_>) -> Result<DecisionSet, Refused> {
    let set = open(signed, expect.keys)?;
    if set.site != expect.site {
        return Err(Refused::OtherSite { theirs: printable(&set.site, 64), ours: expect.site.to_owned() });
    }
    if set.generation < expect.generation {
        return Err(Refused::Older { theirs: set.generation, ours: expect.generation });
    }
    if set.not_after <= expect.now {
        return Err(Refused::Expired { not_after: set.not_after, now: expect.now });
    }
    if set.issued_at > expect.now.checked_add(SKEW).unwrap_or(Timestamp::MAX) {
        return Err(Refused::NotYet { issued_at: set.issued_at, now: expect.now });
    }
    Ok(set)
}

/// Signature first, then shape.
pub(crate) fn open(signed: &Signed, keys: &Keys) -> Result<DecisionSet, Refused> {
    if signed.domain != Signed::DECISIONS {
        return Err(Refused::OtherDomain(printable(&signed.domain, 64)));
    }
    let key = keys.0.get(&signed.key_id).ok_or_else(|| Refused::UnknownKey(printable(&signed.key_id, 64)))?;
    if signed.payload.len() > MAX_PAYLOAD / 3 * 4 {
        return Err(Refused::TooLarge);
    }
    let signature = STANDARD.decode(&signed.signature).map_err(|_| Refused::BadSignature)?;
    // One buffer: a payload may have many megabytes.
    let mut message = Vec::with_capacity(signed.domain.len() + 1 + signed.payload.len() / 4 * 3 + 3);
    message.extend_from_slice(signed.domain.as_bytes());
    message.push(0);
    let begin = message.len();
    STANDARD.decode_vec(&signed.payload, &mut message).map_err(|_| Refused::BadSignature)?;
    UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).map_err(|_| Refused::BadSignature)?;
    let payload = message.get(begin..).unwrap_or_default();
    let mut set: DecisionSet = serde_json::from_slice(payload).map_err(|why| Refused::Unreadable(printable(&why.to_string(), 200)))?;
    for decision in &mut set.decisions {
        decision.endpoint = Endpoint::new(decision.endpoint.address, decision.endpoint.port);
    }
    // In order of place: so that two sets can be compared in one pass. Mostly they are.
    set.decisions.sort_by_key(|d| d.endpoint);
    Ok(set)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
