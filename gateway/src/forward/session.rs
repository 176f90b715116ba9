//! Session ids of the legacy era, sealed: what a client holds is of no use to anybody else, nor anywhere else.
//!
//! A token is base64url of a nonce and AES-256-GCM over kind, slug, tenant, subject, backend and the backend's own session id. Nothing
//! is stored: a replica with the same key opens it, and whoever presents another's token learns that there is no such session.

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use rules::access::{Permit, Principal};

const DOMAIN: &[u8] = b"gnomon.session.v1";

/// Characters of a token, and of a backend's id.
const MAX_TOKEN: usize = 2048;
const MAX_ID: usize = 512;

pub(crate) struct Sealer {
    key: LessSafeKey,
    chance: SystemRandom,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

/// What a token stands for: one kind is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenUse {
    /// The value of `Mcp-Session-Id`.
    Session,
    /// Path and query to which a client of the 2024-11-05 transport posts.
    Endpoint,
}

/// A session as its backend knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) kind: TokenUse,
    /// URL of the backend that has it.
    pub(crate) backend: String,
    pub(crate) id: String,
}

impl TokenUse {
    fn word(self) -> &'static str {
        match self {
            TokenUse::Session => "session",
            TokenUse::Endpoint => "endpoint",
        }
    }
}

impl Sealer {
    /// `key`: base64 of 32 bytes; drawn when absent.
    pub(crate) fn new(key: Option<&str>) -> Result<Sealer, String> {
        let chance = SystemRandom::new();
        let mut bytes = [0; 32];
        match key {
            None => chance.fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?,
            Some(text) => {
                let given = BASE64_STANDARD.decode(text.trim()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
                bytes = given.ok_or("must be 32 bytes in base64 (`head -c 32 /dev/urandom | base64`)")?;
            }
        }
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| "cannot be used as a key".to_owned())?;
        Ok(Sealer { key: LessSafeKey::new(key), chance })
    }

    /// `None` when the backend's id is not one the protocol allows (visible ASCII) or is too long to carry.
    pub(crate) fn seal(&self, permit: &Permit, session: &Session) -> Option<String> {
        let plain = session.id.len() <= MAX_ID && !session.id.is_empty() && session.id.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if !plain {
            return None;
        }
        let mut nonce = [0; NONCE_LEN];
        self.chance.fill(&mut nonce).ok()?;
        let who = permit.principal();
        let mut text =
            [session.kind.word(), permit.slug(), &who.tenant, &who.subject, &session.backend, &session.id].join("\0").into_bytes();
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(DOMAIN), &mut text).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode([nonce.as_slice(), &text].concat()))
    }

    /// `None`: no such session, for this principal and this server.
    pub(crate) fn open(&self, slug: &str, who: &Principal, kind: TokenUse, token: &str) -> Option<Session> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let text = self.key.open_in_place(nonce, Aad::from(DOMAIN), &mut sealed).ok()?;
        let mut parts = std::str::from_utf8(text).ok()?.split('\0');
        for ours in [kind.word(), slug, &who.tenant, &who.subject] {
            if parts.next()? != ours {
                return None;
            }
        }
        Some(Session { kind, backend: parts.next()?.to_owned(), id: parts.next()?.to_owned() })
    }
}
