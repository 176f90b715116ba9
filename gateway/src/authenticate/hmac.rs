//! Keys of the form `tenant.nonce.signature`: the signature is hex HMAC-SHA-256 (RFC 2104) over `tenant.nonce`.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;
use rules::{access::Principal, wire::v1::Tenant};
use std::collections::{HashMap, HashSet};

/// Bytes of a whole key, of a tenant's name and of a nonce.
const MAX_KEY: usize = 256;
const MAX_PART: usize = 128;

/// Why a key opens nothing. What a stranger could learn from is told apart only for who holds a valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key does not have the form tenant.nonce.signature")]
    Malformed,
    #[error("the key was not issued here")]
    Unknown,
    #[error("the key was revoked")]
    Revoked,
}

/// All tenants' secrets and standing keys.
#[derive(Debug, Default)]
pub struct Keyring {
    tenants: HashMap<String, Lock>,
    /// Stands in for the secret of a tenant that does not exist, so that its absence takes as long to find as a wrong signature.
    decoy: Option<hmac::Key>,
}

#[derive(Debug)]
struct Lock {
    secrets: Vec<hmac::Key>,
    nonces: HashSet<String>,
}

impl Keyring {
    pub fn new(tenants: &[Tenant]) -> Keyring {
        let lock = |t: &Tenant| Lock {
            // A secret that cannot be read, or that anybody could guess, opens nothing.
            secrets: t.secrets.iter().filter_map(|s| secret(&t.name, s)).collect(),
            nonces: t.keys.iter().cloned().collect(),
        };
        Keyring {
            tenants: tenants.iter().map(|t| (t.name.clone(), lock(t))).collect(),
            decoy: Some(hmac::Key::new(hmac::HMAC_SHA256, b"no tenant of this name")),
        }
    }

    /// The principal's subject is the key's nonce.
    pub fn verify(&self, key: &str) -> Result<Principal, KeyError> {
        let (tenant, nonce, signature) = split(key).ok_or(KeyError::Malformed)?;
        let message = key.get(..tenant.len() + 1 + nonce.len()).unwrap_or_default().as_bytes();
        let lock = self.tenants.get(tenant);
        let secrets = lock.map(|l| l.secrets.as_slice()).unwrap_or(self.decoy.as_slice());
        // Every secret is tried, whichever fits: time tells nothing.
        let fits = secrets.iter().fold(false, |fits, secret| fits | hmac::verify(secret, message, &signature).is_ok());
        match lock {
            Some(lock) if fits && lock.nonces.contains(nonce) => Ok(Principal { tenant: tenant.to_owned(), subject: nonce.to_owned() }),
            Some(_) if fits => Err(KeyError::Revoked),
            _ => Err(KeyError::Unknown),
        }
    }

    /// Whether a principal's key still stands.
    pub fn knows(&self, who: &Principal) -> bool {
        self.tenants.get(&who.tenant).is_some_and(|l| !l.secrets.is_empty() && l.nonces.contains(&who.subject))
    }
}

/// At least 16 bytes: a shorter one could be guessed.
fn secret(tenant: &str, base64: &str) -> Option<hmac::Key> {
    let bytes = BASE64_STANDARD.decode(base64).ok().filter(|b| b.len() >= 16);
    if bytes.is_none() {
        tracing::error!(tenant = %rules::printable::printable(tenant, 64), "a secret of this tenant is not base64 of at least 16 bytes: its keys are refused");
    }
    bytes.map(|b| hmac::Key::new(hmac::HMAC_SHA256, &b))
}

fn split(key: &str) -> Option<(&str, &str, [u8; 32])> {
    if key.len() > MAX_KEY {
        return None;
    }
    let mut parts = key.split('.');
    let (tenant, nonce, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = |s: &str| (1..=MAX_PART).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if parts.next().is_some() || !plain(tenant) || !plain(nonce) {
        return None;
    }
    Some((tenant, nonce, crate::hex::unhex(signature)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_of(secrets: &[&[u8]], keys: &[&str]) -> Keyring {
        Keyring::new(&[Tenant {
            name: "acme".into(),
            secrets: secrets.iter().map(|s| BASE64_STANDARD.encode(s)).collect(),
            keys: keys.iter().map(|k| k.to_string()).collect(),
        }])
    }

    fn key(secret: &[u8], tenant: &str, nonce: &str) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), format!("{tenant}.{nonce}").as_bytes());
        format!("{tenant}.{nonce}.{}", crate::hex::hex(tag.as_ref()))
    }

    const OLD: &[u8] = b"an old secret of 32 bytes.......";
    const NEW: &[u8] = b"a new secret of 32 bytes........";

    #[test]
    fn any_current_secret_verifies_until_it_is_rotated_out() {
        let both = ring_of(&[NEW, OLD], &["n1"]);
        for secret in [OLD, NEW] {
            let who = both.verify(&key(secret, "acme", "n1")).unwrap();
            assert_eq!(who.to_string(), "acme/n1");
        }
        assert_eq!(ring_of(&[NEW], &["n1"]).verify(&key(OLD, "acme", "n1")), Err(KeyError::Unknown));
    }

    #[test]
    fn a_revoked_nonce_is_refused_though_its_signature_fits() {
        assert_eq!(ring_of(&[NEW], &["n2"]).verify(&key(NEW, "acme", "n1")), Err(KeyError::Revoked));
    }

    #[test]
    fn strangers_learn_nothing_about_tenants() {
        let ring = ring_of(&[NEW], &["n1"]);
        assert_eq!(ring.verify(&key(OLD, "acme", "n1")), Err(KeyError::Unknown));
        assert_eq!(ring.verify(&key(NEW, "nobody", "n1")), Err(KeyError::Unknown));
    }

    #[test]
    fn other_shapes_are_malformed() {
        let ring = ring_of(&[NEW], &["n1"]);
        let good = key(NEW, "acme", "n1");
        let upper = format!("acme.n1.{}", good.rsplit('.').next().unwrap().to_uppercase());
        let long = format!("acme.{}.{}", "n".repeat(200), "0".repeat(64));
        for bad in ["", ".", "..", "acme.n1", "acme.n1.", "acme.n1.zz", &format!("{good}.x"), &upper, &long, "a b.n1.00", "é.n.0"] {
            assert_eq!(ring.verify(bad), Err(KeyError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_short_secret_opens_nothing() {
        let ring = ring_of(&[b"short"], &["n1"]);
        assert_eq!(ring.verify(&key(b"short", "acme", "n1")), Err(KeyError::Unknown));
    }
}
