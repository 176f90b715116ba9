//! What is allowed to exist: registrations, changed by people only.

pub(crate) mod draft;
mod resolve;

use crate::{
    commit::{Outcome, Transaction},
    journal::{self, Actor, Verb},
    store::Setting,
};
pub use draft::{Draft, DraftBackend};
pub(crate) use resolve::{refresh, resolve};
use rules::registry::{Registration, RegistrationError};
use serde_json::json;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Unsound(#[from] RegistrationError),
    #[error("`{0}` is registered already; change it with PUT /v1/registry/{0}, or choose another slug")]
    Taken(String),
    #[error("nothing is registered as `{0}`")]
    Unknown(String),
    #[error("at most {0} registrations are kept; delete some first")]
    Full(usize),
    #[error("`{url}` is a backend of `{slug}` already: one server, one registration")]
    Shared { url: String, slug: String },
    #[error("the draft says slug `{draft}`, the address `{address}`")]
    OtherSlug { draft: String, address: String },
}

/// A refusal is an answer, not an error.
type Answered<T> = Outcome<Result<T, Refusal>>;

/// Registers what was not registered before.
pub(crate) fn create(tx: &mut Transaction<'_>, draft: Registration) -> Answered<Registration> {
    if tx.image.registry.registrations.contains_key(&draft.slug) {
        return Ok(Err(Refusal::Taken(draft.slug)));
    }
    let max = tx.image.config.limits.registrations;
    if tx.image.registry.registrations.len() >= max {
        return Ok(Err(Refusal::Full(max)));
    }
    put(tx, Registration { revision: 1, registered_at: tx.now, ..draft }, Verb::Registered)
}

/// Replaces a registration; its history is in the journal.
pub(crate) fn replace(tx: &mut Transaction<'_>, slug: &str, draft: Registration) -> Answered<Registration> {
    if draft.slug != slug {
        return Ok(Err(Refusal::OtherSlug { draft: draft.slug, address: rules::printable::printable(slug, 80) }));
    }
    let Some(known) = tx.image.registry.registrations.get(slug) else {
        return Ok(Err(Refusal::Unknown(rules::printable::printable(slug, 80))));
    };
    let next = Registration { revision: known.revision + 1, registered_at: known.registered_at, ..draft };
    put(tx, next, Verb::RegistrationChanged)
}

pub(crate) fn delete(tx: &mut Transaction<'_>, slug: &str, by: Actor) -> Answered<()> {
    if !tx.records.delete_registration(slug)? {
        return Ok(Err(Refusal::Unknown(rules::printable::printable(slug, 80))));
    }
    Arc::make_mut(&mut tx.image.registry).registrations.remove(slug);
    journal::write(tx, by, Verb::Unregistered, slug, "asked for", json!({}))?;
    grew(tx)?;
    Ok(Ok(()))
}

/// What names resolve to now. Addresses of names that did not resolve this time are kept.
pub(crate) fn readdress(tx: &mut Transaction<'_>, resolved: Vec<Registration>) -> Outcome<()> {
    for fresh in resolved {
        let Some(known) = tx.image.registry.registrations.get(&fresh.slug) else { continue };
        // Changed by a person in the meantime: theirs stands.
        if known.revision != fresh.revision || *known == fresh {
            continue;
        }
        let addresses = |r: &Registration| r.backends.iter().flat_map(|b| b.addresses.clone()).collect::<Vec<_>>();
        let detail = json!({"before": addresses(known), "now": addresses(&fresh)});
        tx.records.put_registration(&fresh)?;
        journal::write(tx, Actor::Resolver, Verb::AddressesChanged, &fresh.slug, "its names resolve to other addresses", detail)?;
        Arc::make_mut(&mut tx.image.registry).registrations.insert(fresh.slug.clone(), fresh);
        grew(tx)?;
    }
    Ok(())
}

fn put(tx: &mut Transaction<'_>, registration: Registration, verb: Verb) -> Answered<Registration> {
    if let Err(unsound) = registration.check() {
        return Ok(Err(unsound.into()));
    }
    let others = tx.image.registry.registrations.values().filter(|r| r.slug != registration.slug);
    for other in others {
        if let Some(b) = registration.backends.iter().find(|b| other.backends.iter().any(|o| o.url == b.url)) {
            let url = rules::printable::printable(b.url.as_str(), 200);
            return Ok(Err(Refusal::Shared { url, slug: other.slug.clone() }));
        }
    }
    tx.records.put_registration(&registration)?;
    let reason = format!("{} {}, owner {}", registration.name, registration.version, registration.owner);
    let detail = serde_json::to_value(&registration).unwrap_or_default();
    let (by, slug) = (registration.registered_by.clone(), registration.slug.clone());
    journal::write(tx, Actor::from(by.as_str()), verb, &slug, &reason, detail)?;
    Arc::make_mut(&mut tx.image.registry).registrations.insert(slug, registration.clone());
    grew(tx)?;
    Ok(Ok(registration))
}

fn grew(tx: &mut Transaction<'_>) -> Outcome<()> {
    let registry = Arc::make_mut(&mut tx.image.registry);
    registry.revision += 1;
    tx.touched.registry = true;
    tx.records.set_setting(Setting::RegistryRevision, &registry.revision.to_string())
}
