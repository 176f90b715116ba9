//! Issuing and revoking keys and grants, inside a transaction.

use super::{Key, Refusal, Tenancy};
use crate::{
    commit::{Outcome, Transaction},
    journal::{self, Actor, Verb},
    secrets,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use rules::{access::Grant, registry::is_slug};
use serde_json::json;
use std::sync::Arc;

const MAX_TENANTS: usize = 1000;
const MAX_KEYS: usize = 1000;
const MAX_GRANTS: usize = 10_000;
const MAX_TOOLS: usize = 512;

/// A refusal is an answer, not an error.
type Answered<T> = Outcome<Result<T, Refusal>>;

/// A new key, in full: `tenant.nonce.signature`. The tenant is made with its first key.
pub(crate) fn issue(tx: &mut Transaction<'_>, tenant: &str, label: &str) -> Answered<String> {
    if !is_slug(tenant) {
        return Ok(Err(Refusal::Name));
    }
    let mut tenancy = match tx.image.tenants.get(tenant) {
        Some(known) => known.clone(),
        None if tx.image.tenants.len() >= MAX_TENANTS => return Ok(Err(Refusal::TooMany { what: "tenants", max: MAX_TENANTS })),
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
    tenancy.keys.push(Key { nonce: nonce.clone(), label: label.clone(), issued_at: tx.now, secret: tenancy.newest });
    keep(tx, tenant, tenancy)?;
    journal::write(tx, Actor::Admin, Verb::KeyIssued, tenant, &label, json!({"nonce": nonce}))?;
    Ok(Ok(format!("{message}.{}", crate::hex(tag.as_ref()))))
}

pub(crate) fn revoke(tx: &mut Transaction<'_>, tenant: &str, nonce: &str) -> Answered<()> {
    let Some(mut tenancy) = tx.image.tenants.get(tenant).cloned() else { return Ok(Err(Refusal::NoTenant(tenant.to_owned()))) };
    let before = tenancy.keys.len();
    tenancy.keys.retain(|k| k.nonce != nonce);
    if tenancy.keys.len() == before {
        return Ok(Err(Refusal::NoKey { tenant: tenant.to_owned(), nonce: rules::printable::printable(nonce, 64) }));
    }
    keep(tx, tenant, tenancy)?;
    journal::write(tx, Actor::Admin, Verb::KeyRevoked, tenant, "asked for", json!({"nonce": nonce}))?;
    Ok(Ok(()))
}

/// A new secret. Gives how many keys ended with the secret before the last.
pub(crate) fn rotate(tx: &mut Transaction<'_>, tenant: &str) -> Answered<usize> {
    let Some(mut tenancy) = tx.image.tenants.get(tenant).cloned() else { return Ok(Err(Refusal::NoTenant(tenant.to_owned()))) };
    let before = tenancy.keys.len();
    if let Err(why) = tenancy.rotate() {
        return Ok(Err(Refusal::Randomness(why)));
    }
    let ended = before.saturating_sub(tenancy.keys.len());
    keep(tx, tenant, tenancy)?;
    journal::write(tx, Actor::Admin, Verb::SecretRotated, tenant, &format!("{ended} keys ended"), json!({}))?;
    Ok(Ok(ended))
}

fn keep(tx: &mut Transaction<'_>, tenant: &str, tenancy: Tenancy) -> Outcome<()> {
    tx.records.put_tenant(tenant, &tenancy)?;
    Arc::make_mut(&mut tx.image.tenants).insert(tenant.to_owned(), tenancy);
    tx.touched.access = true;
    Ok(())
}

pub(crate) fn grant(tx: &mut Transaction<'_>, grant: Grant) -> Answered<()> {
    if let Err(refusal) = check(&grant) {
        return Ok(Err(refusal));
    }
    let registered = &tx.image.registry.registrations;
    if !registered.contains_key(&grant.slug) {
        let likeness = |slug: &&String| (strsim::jaro_winkler(slug, &grant.slug) * 1000.0) as u32;
        let like = registered.keys().filter(|s| likeness(s) > 800).max_by_key(likeness).cloned();
        return Ok(Err(Refusal::NoServer { slug: grant.slug, like }));
    }
    match tx.image.grants.get(&grant.id) {
        Some(known) if *known == grant => return Ok(Ok(())),
        Some(_) => return Ok(Err(Refusal::Exists(grant.id))),
        None if tx.image.grants.len() >= MAX_GRANTS => return Ok(Err(Refusal::TooMany { what: "grants", max: MAX_GRANTS })),
        None => {}
    }
    tx.records.put_grant(&grant)?;
    let reason = format!("{} may use {} of `{}`", grant.tenant, grant.tools.join(", "), grant.slug);
    journal::write(tx, Actor::Admin, Verb::GrantMade, &grant.id, &reason, serde_json::to_value(&grant).unwrap_or_default())?;
    Arc::make_mut(&mut tx.image.grants).insert(grant.id.clone(), grant);
    tx.touched.access = true;
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

pub(crate) fn ungrant(tx: &mut Transaction<'_>, id: &str) -> Answered<()> {
    if !tx.records.delete_grant(id)? {
        return Ok(Err(Refusal::NoGrant(rules::printable::printable(id, 64))));
    }
    journal::write(tx, Actor::Admin, Verb::GrantRemoved, id, "asked for", json!({}))?;
    Arc::make_mut(&mut tx.image.grants).remove(id);
    tx.touched.access = true;
    Ok(Ok(()))
}
