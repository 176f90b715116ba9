//! From signed bytes to a decision set to act on: is it true, is it ours, is it in force, is it not older than what we have?
//!
//! Pure: keys, time and the last generation are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{Distrust, Keys, Signed};
use crate::{Timestamp, decision::DecisionSet, endpoint::Endpoint, printable::printable};
use std::time::Duration;

/// A collector's clock may be this far ahead of ours.
pub const SKEW: Duration = Duration::from_secs(600);

/// Why a set is not acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    #[error("the collector signed something that is not a decision set: {0}")]
    Unreadable(String),
    #[error("for site `{theirs}`; this point belongs to `{ours}`")]
    OtherSite { theirs: String, ours: String },
    #[error("expired at {not_after}; if the collector's clock is right, this host's ({now}) is not")]
    Expired { not_after: Timestamp, now: Timestamp },
    #[error("issued at {issued_at}, which is in this host's future ({now}): one of the two clocks is wrong")]
    NotYet { issued_at: Timestamp, now: Timestamp },
    #[error(
        "generation {theirs} is older than {ours}, already acted on here; if the collector was restored from a backup on purpose, remove this point's state directory (a sensor: its reset.generation)"
    )]
    Older { theirs: u64, ours: u64 },
}

impl Refused {
    /// Whether it is a matter of clocks alone.
    pub fn is_of_time(&self) -> bool {
        matches!(self, Refused::Expired { .. } | Refused::NotYet { .. })
    }

    /// Whether a clock that says `now` has no longer this to say against it.
    pub fn is_past(&self, now: Timestamp) -> bool {
        match self {
            Refused::Expired { not_after, .. } => now < *not_after,
            Refused::NotYet { issued_at, .. } => !is_early(*issued_at, now),
            _ => false,
        }
    }
}

/// Issued in what `now` takes for the future.
pub fn is_early(issued_at: Timestamp, now: Timestamp) -> bool {
    issued_at > now.checked_add(SKEW).unwrap_or(Timestamp::MAX)
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
    if is_early(set.issued_at, expect.now) {
        return Err(Refused::NotYet { issued_at: set.issued_at, now: expect.now });
    }
    Ok(set)
}

/// Signature first, then shape.
pub fn open(signed: &Signed, keys: &Keys) -> Result<DecisionSet, Refused> {
    let payload = signed.open(Signed::DECISIONS, keys)?;
    let read = serde_json::from_slice(payload.bytes());
    let mut set: DecisionSet = read.map_err(|why| Refused::Unreadable(printable(&why.to_string(), 200)))?;
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
