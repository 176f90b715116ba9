//! What is allowed to exist: registrations, changed by people only.

pub(crate) mod draft;
mod resolve;

use crate::{
    journal,
    store::{Outcome, Turn, rows},
};
pub use draft::{Draft, DraftBackend};
pub(crate) use resolve::{refresh, resolve};
use rules::registry::{Registration, RegistrationError};
use serde_json::json;

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

type Answer<T> = Outcome<Result<T, Refusal>>;

/// Registers what was not registered before.
pub(crate) fn create(turn: &mut Turn<'_>, draft: Registration) -> Answer<Registration> {
    if turn.state.registry.registrations.contains_key(&draft.slug) {
        return Ok(Err(Refusal::Taken(draft.slug)));
    }
    let max = turn.state.config.limits.registrations;
    if turn.state.registry.registrations.len() >= max {
        return Ok(Err(Refusal::Full(max)));
    }
    put(turn, Registration { revision: 1, registered_at: turn.now, ..draft }, "registered")
}

/// Replaces a registration; its history is in the journal.
pub(crate) fn replace(turn: &mut Turn<'_>, slug: &str, draft: Registration) -> Answer<Registration> {
    if draft.slug != slug {
        return Ok(Err(Refusal::OtherSlug { draft: draft.slug, address: rules::printable::printable(slug, 80) }));
    }
    let Some(known) = turn.state.registry.registrations.get(slug) else {
        return Ok(Err(Refusal::Unknown(rules::printable::printable(slug, 80))));
    };
    let next = Registration { revision: known.revision + 1, registered_at: known.registered_at, ..draft };
    put(turn, next, "registration-changed")
}

pub(crate) fn delete(turn: &mut Turn<'_>, slug: &str, by: &str) -> Answer<()> {
    if !rows::REGISTRATIONS.delete(turn.db, slug)? {
        return Ok(Err(Refusal::Unknown(rules::printable::printable(slug, 80))));
    }
    turn.state.registry.registrations.remove(slug);
    journal::write(turn, by, "unregistered", slug, "asked for", json!({}))?;
    grew(turn)?;
    Ok(Ok(()))
}

/// What names resolve to now. Addresses of names that did not resolve this time are kept.
pub(crate) fn readdress(turn: &mut Turn<'_>, resolved: Vec<Registration>) -> Outcome<()> {
    for fresh in resolved {
        let Some(known) = turn.state.registry.registrations.get(&fresh.slug) else { continue };
        // Changed by a person in the meantime: theirs stands.
        if known.revision != fresh.revision || *known == fresh {
            continue;
        }
        let addresses = |r: &Registration| r.backends.iter().flat_map(|b| b.addresses.clone()).collect::<Vec<_>>();
        let detail = json!({"before": addresses(known), "now": addresses(&fresh)});
        rows::REGISTRATIONS.put(turn.db, &fresh.slug, &fresh)?;
        journal::write(turn, "resolver", "addresses-changed", &fresh.slug, "its names resolve to other addresses", detail)?;
        turn.state.registry.registrations.insert(fresh.slug.clone(), fresh);
        grew(turn)?;
    }
    Ok(())
}

fn put(turn: &mut Turn<'_>, registration: Registration, verb: &'static str) -> Answer<Registration> {
    if let Err(unsound) = registration.check() {
        return Ok(Err(unsound.into()));
    }
    let others = turn.state.registry.registrations.values().filter(|r| r.slug != registration.slug);
    for other in others {
        if let Some(b) = registration.backends.iter().find(|b| other.backends.iter().any(|o| o.url == b.url)) {
            let url = rules::printable::printable(b.url.as_str(), 200);
            return Ok(Err(Refusal::Shared { url, slug: other.slug.clone() }));
        }
    }
    rows::REGISTRATIONS.put(turn.db, &registration.slug, &registration)?;
    let reason = format!("{} {}, owner {}", registration.name, registration.version, registration.owner);
    let detail = serde_json::to_value(&registration).unwrap_or_default();
    let (by, slug) = (registration.registered_by.clone(), registration.slug.clone());
    journal::write(turn, &by, verb, &slug, &reason, detail)?;
    turn.state.registry.registrations.insert(slug, registration.clone());
    grew(turn)?;
    Ok(Ok(registration))
}

fn grew(turn: &mut Turn<'_>) -> Outcome<()> {
    turn.state.registry.revision += 1;
    turn.state.touched.registry = true;
    rows::set_meta(turn.db, "registry_revision", &turn.state.registry.revision.to_string())
}
