//! Tenants, their HMAC keys, and what they may use.
//!
//! A key is `tenant.nonce.signature`, the signature being hexadecimal HMAC-SHA-256 (RFC 2104) over `tenant.nonce` with the
//! tenant's newest secret. It is shown once, when it is issued. Rotation makes a new secret; the one before it verifies until the
//! next rotation, and keys older than that end.

use crate::{
    journal, secrets,
    store::{Outcome, Turn, rows},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use rules::{Timestamp, access::Grant, registry::is_slug, wire::v1::Tenant};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) const MAX_TENANTS: usize = 1000;
pub(crate) const MAX_KEYS: usize = 1000;
pub(crate) const MAX_GRANTS: usize = 10_000;
const MAX_TOOLS: usize = 512;

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tenancy {
    /// Base64, newest first; at most two.
    secrets: Vec<String>,
    /// How many secrets there have been: which one signed a key.
    turn: u64,
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
    /// What it is for, in the words of whoever asked for it.
    pub(crate) label: String,
    pub(crate) issued_at: Timestamp,
    turn: u64,
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

type Answer<T> = Outcome<Result<T, Refusal>>;

impl Tenancy {
    pub(crate) fn for_gateway(&self, name: &str) -> Tenant {
        Tenant { name: name.to_owned(), secrets: self.secrets.clone(), keys: self.keys.iter().map(|k| k.nonce.clone()).collect() }
    }

    fn rotate(&mut self) -> Result<(), String> {
        let bytes = secrets::random_hex(32)?;
        self.secrets.insert(0, STANDARD.encode(bytes));
        self.secrets.truncate(2);
        self.turn += 1;
        let oldest = self.turn.saturating_sub(1);
        self.keys.retain(|k| k.turn >= oldest);
        Ok(())
    }
}

/// A new key, in full: `tenant.nonce.signature`. The tenant is made with its first key.
pub(crate) fn issue(turn: &mut Turn<'_>, tenant: &str, label: &str) -> Answer<String> {
    if !is_slug(tenant) {
        return Ok(Err(Refusal::Name));
    }
    let mut tenancy = match turn.state.tenants.get(tenant) {
        Some(known) => known.clone(),
        None if turn.state.tenants.len() >= MAX_TENANTS => return Ok(Err(Refusal::TooMany { what: "tenants", max: MAX_TENANTS })),
        None => Tenancy::default(),
    };
    if tenancy.keys.len() >= MAX_KEYS {
        return Ok(Err(Refusal::TooMany { what: "keys of one tenant", max: MAX_KEYS }));
    }
    if tenancy.secrets.is_empty()
        && let Err(why) = tenancy.rotate()
    {
        return Ok(Err(Refusal::Randomness(why)));
    }
    let nonce = match secrets::random_hex(16) {
        Ok(nonce) => nonce,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    let secret = tenancy.secrets.first().and_then(|s| STANDARD.decode(s).ok()).unwrap_or_default();
    let message = format!("{tenant}.{nonce}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
    let label = rules::printable::printable(label, 120);
    tenancy.keys.push(Key { nonce: nonce.clone(), label: label.clone(), issued_at: turn.now, turn: tenancy.turn });
    keep(turn, tenant, tenancy)?;
    journal::write(turn, "admin", "key-issued", tenant, &label, json!({"nonce": nonce}))?;
    Ok(Ok(format!("{message}.{}", crate::hex(tag.as_ref()))))
}

pub(crate) fn revoke(turn: &mut Turn<'_>, tenant: &str, nonce: &str) -> Answer<()> {
    let Some(mut tenancy) = turn.state.tenants.get(tenant).cloned() else { return Ok(Err(Refusal::NoTenant(tenant.to_owned()))) };
    let before = tenancy.keys.len();
    tenancy.keys.retain(|k| k.nonce != nonce);
    if tenancy.keys.len() == before {
        return Ok(Err(Refusal::NoKey { tenant: tenant.to_owned(), nonce: rules::printable::printable(nonce, 64) }));
    }
    keep(turn, tenant, tenancy)?;
    journal::write(turn, "admin", "key-revoked", tenant, "asked for", json!({"nonce": nonce}))?;
    Ok(Ok(()))
}

/// A new secret. Gives how many keys ended with the secret before the last.
pub(crate) fn rotate(turn: &mut Turn<'_>, tenant: &str) -> Answer<usize> {
    let Some(mut tenancy) = turn.state.tenants.get(tenant).cloned() else { return Ok(Err(Refusal::NoTenant(tenant.to_owned()))) };
    let before = tenancy.keys.len();
    if let Err(why) = tenancy.rotate() {
        return Ok(Err(Refusal::Randomness(why)));
    }
    let ended = before.saturating_sub(tenancy.keys.len());
    keep(turn, tenant, tenancy)?;
    journal::write(turn, "admin", "secret-rotated", tenant, &format!("{ended} keys ended"), json!({}))?;
    Ok(Ok(ended))
}

fn keep(turn: &mut Turn<'_>, tenant: &str, tenancy: Tenancy) -> Outcome<()> {
    rows::TENANTS.put(turn.db, tenant, &tenancy)?;
    turn.state.tenants.insert(tenant.to_owned(), tenancy);
    turn.state.touched.access = true;
    Ok(())
}

pub(crate) fn grant(turn: &mut Turn<'_>, grant: Grant) -> Answer<()> {
    if let Err(refusal) = check(&grant) {
        return Ok(Err(refusal));
    }
    let registered = &turn.state.registry.registrations;
    if !registered.contains_key(&grant.slug) {
        let likeness = |slug: &&String| (strsim::jaro_winkler(slug, &grant.slug) * 1000.0) as u32;
        let like = registered.keys().filter(|s| likeness(s) > 800).max_by_key(likeness).cloned();
        return Ok(Err(Refusal::NoServer { slug: grant.slug, like }));
    }
    match turn.state.grants.get(&grant.id) {
        Some(known) if *known == grant => return Ok(Ok(())),
        Some(_) => return Ok(Err(Refusal::Exists(grant.id))),
        None if turn.state.grants.len() >= MAX_GRANTS => return Ok(Err(Refusal::TooMany { what: "grants", max: MAX_GRANTS })),
        None => {}
    }
    rows::GRANTS.put(turn.db, &grant.id, &grant)?;
    let reason = format!("{} may use {} of `{}`", grant.tenant, grant.tools.join(", "), grant.slug);
    journal::write(turn, "admin", "grant-made", &grant.id, &reason, serde_json::to_value(&grant).unwrap_or_default())?;
    turn.state.grants.insert(grant.id.clone(), grant);
    turn.state.touched.access = true;
    Ok(Ok(()))
}

fn check(grant: &Grant) -> Result<(), Refusal> {
    let plain = |text: &str, max: usize| !text.is_empty() && rules::printable::printable(text, max) == text;
    if !is_slug(&grant.tenant) {
        Err(Refusal::Name)
    } else if !is_slug(&grant.id) || !is_slug(&grant.slug) {
        Err(Refusal::Grant("`id` and `slug` are 1 to 63 characters of a-z, 0-9 and -"))
    } else if grant.tools.len() > MAX_TOOLS || !grant.tools.iter().all(|t| plain(t, 128)) {
        Err(Refusal::Grant("`tools` are at most 512 names of at most 128 plain characters, or `*`"))
    } else if grant.subject.as_ref().is_some_and(|s| !plain(s, 200)) {
        Err(Refusal::Grant("`subject` is at most 200 plain characters"))
    } else {
        Ok(())
    }
}

pub(crate) fn ungrant(turn: &mut Turn<'_>, id: &str) -> Answer<()> {
    if !rows::GRANTS.delete(turn.db, id)? {
        return Ok(Err(Refusal::NoGrant(rules::printable::printable(id, 64))));
    }
    journal::write(turn, "admin", "grant-removed", id, "asked for", json!({}))?;
    turn.state.grants.remove(id);
    turn.state.touched.access = true;
    Ok(Ok(()))
}
