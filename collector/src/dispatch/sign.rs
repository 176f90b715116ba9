//! The collector's Ed25519 key.

use crate::{Error, secrets};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use rules::wire::v1::Signed;
use serde::Serialize;
use std::path::Path;

pub(crate) struct Signer {
    key: Ed25519KeyPair,
    public: VerifyingKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public key that verifies decision sets and bundles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyingKey {
    /// First 16 hexadecimal digits of SHA-256 over the public key.
    pub key_id: String,
    /// Base64 of the 32 bytes of RFC 8032.
    pub public_key: String,
}

impl Signer {
    /// Reads `<data>/signing.key` (PKCS#8, base64), or makes it.
    pub(crate) fn open(data: &Path) -> Result<Signer, Error> {
        let path = data.join("signing.key");
        let text = secrets::read_or_make(&path, || {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| "no randomness".to_owned())?;
            Ok(STANDARD.encode(made.as_ref()))
        })?;
        let broken = || Error::Secret { path: path.clone(), why: "is not an Ed25519 key in PKCS#8, base64".to_owned() };
        let der = STANDARD.decode(text.trim()).map_err(|_| broken())?;
        let key = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| broken())?;
        let bytes = key.public_key().as_ref();
        let hash = digest::digest(&digest::SHA256, bytes);
        let key_id = crate::hex(hash.as_ref().get(..8).unwrap_or_default());
        let public = VerifyingKey { key_id, public_key: STANDARD.encode(bytes) };
        Ok(Signer { key, public })
    }

    pub(crate) fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Whether this key signed it. A receiver that knows this key accepts no other's signature.
    pub(crate) fn made(&self, signed: &Signed) -> bool {
        signed.key_id == self.public.key_id
    }

    pub(crate) fn sign(&self, domain: &str, payload: &impl Serialize) -> Signed {
        // Our own nouns always serialise: their maps have string keys.
        let payload = serde_json::to_vec(payload).unwrap_or_default();
        let mut message = domain.as_bytes().to_vec();
        message.push(0);
        message.extend_from_slice(&payload);
        Signed {
            domain: domain.to_owned(),
            key_id: self.public.key_id.clone(),
            payload: STANDARD.encode(&payload),
            signature: STANDARD.encode(self.key.sign(&message).as_ref()),
        }
    }
}
