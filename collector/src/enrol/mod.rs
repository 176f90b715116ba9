//! How a remote sensor, enforcer or gateway becomes known.
//!
//! A join token `gnomon1.<SHA-256 of the root's SubjectPublicKeyInfo, hex>.<secret>` proves both sides: the joiner checks the
//! root it is shown against the first part, the collector checks the secret (of which it keeps a hash). It is bound to a site and
//! a role, is good for one enrolment and one hour unless said otherwise, and is swapped for a client certificate of seven days.
//! A certificate counts as long as its serial number is on its owner's list: revoking takes effect with the next request.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod acts;
mod authority;

use crate::sensors::Role;
pub(crate) use acts::{issue, join, open, renew, revoke, withdraw};
pub(crate) use authority::{Authority, Csr, LIFETIME};
use rules::{Timestamp, period::Period};
use serde::{Deserialize, Serialize};

/// `POST /v1/tokens`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) site: Option<String>,
    pub(crate) role: Role,
    /// The name it gives; otherwise the request's common name, if it is free.
    pub(crate) name: Option<String>,
    pub(crate) ttl: Period,
    pub(crate) uses: u32,
}

impl Default for TokenRequest {
    fn default() -> TokenRequest {
        TokenRequest { site: None, role: Role::Sensor, name: None, ttl: Period::seconds(3600), uses: 1 }
    }
}

/// A token as it is kept: by its hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) site: String,
    pub(crate) role: Role,
    pub(crate) name: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) uses_left: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Ask(&'static str),
    /// One text for a token that was never issued, is used up or was withdrawn: a guesser learns nothing.
    #[error("the token is not one of this collector, or was used already; ask for a new one with `gnomon tokens issue`")]
    Token,
    #[error("the token expired at {0}; ask for a new one")]
    Expired(Timestamp),
    #[error("`{0}` is enrolled already; revoke it first, or ask for a token with its name")]
    Taken(String),
    #[error("there are {0} sensors, as many as are allowed")]
    Full(usize),
    #[error("no token with the hash `{0}` is open")]
    NoToken(String),
    #[error("nothing is enrolled as `{0}`")]
    Unknown(String),
    #[error("{0}")]
    Randomness(String),
}

/// A name and a serial number that are now on the list; the certificate is made after the commit.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) role: Role,
    /// Hexadecimal.
    pub(crate) serial: String,
}
