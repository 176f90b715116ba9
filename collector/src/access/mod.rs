//! Tenants, their HMAC keys and their grants.
//!
//! A key is `tenant.nonce.signature`, the signature being hexadecimal HMAC-SHA-256 (RFC 2104) over `tenant.nonce` with the
//! tenant's newest secret. It is shown once, when it is issued. Rotation makes a new secret; the one before it verifies until the
//! next rotation, and keys older than that end.

mod acts;

use crate::secrets;
pub(crate) use acts::{grant, issue, revoke, rotate, ungrant};
use base64::{Engine, engine::general_purpose::STANDARD};
use rules::{Timestamp, wire::v1::Tenant};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tenancy {
    /// Base64, newest first; at most two.
    secrets: Vec<String>,
    /// How many secrets there have been.
    #[serde(rename = "turn")]
    newest: u64,
    pub(crate) keys: Vec<Key>,
}

impl std::fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenancy").field("secrets", &self.secrets.len()).field("keys", &self.keys).finish()
    }
}

/// One key, without its signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) nonce: String,
    /// The purpose, in the words of the person who asked for it.
    pub(crate) label: String,
    pub(crate) issued_at: Timestamp,
    /// Which secret signed it.
    #[serde(rename = "turn")]
    secret: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("nothing is registered as `{slug}`{}", like.as_ref().map_or_else(String::new, |l| format!("; did you mean `{l}`?")))]
    NoServer { slug: String, like: Option<String> },
    #[error("a tenant's name is 1 to 63 characters of a-z, 0-9 and -")]
    Name,
    #[error("there is no tenant `{0}`")]
    NoTenant(String),
    #[error("tenant `{tenant}` has no key with the nonce `{nonce}`")]
    NoKey { tenant: String, nonce: String },
    #[error("at most {max} {what}; revoke some first")]
    TooMany { what: &'static str, max: usize },
    #[error("grant `{0}` exists and says something else; delete it first")]
    Exists(String),
    #[error("there is no grant `{0}`")]
    NoGrant(String),
    #[error("{0}")]
    Grant(&'static str),
    #[error("{0}")]
    Randomness(String),
}

impl Tenancy {
    pub(crate) fn for_gateway(&self, name: &str) -> Tenant {
        Tenant { name: name.to_owned(), secrets: self.secrets.clone(), keys: self.keys.iter().map(|k| k.nonce.clone()).collect() }
    }

    fn rotate(&mut self) -> Result<(), String> {
        let bytes = secrets::random_hex(32)?;
        self.secrets.insert(0, STANDARD.encode(bytes));
        self.secrets.truncate(2);
        self.newest += 1;
        let oldest = self.newest.saturating_sub(1);
        self.keys.retain(|k| k.secret >= oldest);
        Ok(())
    }
}
