//! The gateways' bundle: the registry, grants and tenants, under one number.

use super::{BELIEVED, Signer};
use crate::{
    commit::{Outcome, Transaction},
    image::Image,
    journal::{self, Actor, Verb},
};
use rules::{
    access::Grant,
    registry::Registry,
    wire::v1::{Bundle, Signed, Tenant},
};
use serde_json::json;
use std::sync::Arc;

/// Whether a gateway that has bundle `after` has a newer one than we ever made: our database is older than that.
pub(crate) fn is_behind(image: &Image, after: u64) -> bool {
    after < BELIEVED && image.bundle.as_ref().is_some_and(|(ours, _)| *ours < after)
}

/// The next bundle is made now, with a number above the one that this gateway has; it would refuse all others.
pub(crate) fn raise_bundle(tx: &mut Transaction<'_>, gateway: &str, after: u64) -> Outcome<()> {
    if !is_behind(tx.image, after) {
        return Ok(());
    }
    tx.image.bundle_floor = tx.image.bundle_floor.max(after);
    tx.touched.access = true;
    let reason = format!("it has bundle {after}, newer than ours: this database is older than that");
    let actor = Actor::Gateway(gateway.to_owned());
    journal::write(tx, actor, Verb::BundleRaised, &format!("generation {after}"), &reason, json!({}))
}

/// A new bundle: the registry, a grant, a tenant or the key that signs changed.
pub(crate) fn issue_bundle(tx: &mut Transaction<'_>, signer: &Signer) -> Outcome<()> {
    let generation = tx.image.bundle.as_ref().map_or(0, |(g, _)| *g).max(tx.image.bundle_floor).saturating_add(1);
    let registry: Registry = (*tx.image.registry).clone();
    let grants: Vec<Grant> = tx.image.grants.values().cloned().collect();
    let tenants: Vec<Tenant> = tx.image.tenants.iter().map(|(name, t)| t.for_gateway(name)).collect();
    let signed = Arc::new(signer.sign(Signed::BUNDLE, &Bundle { generation, registry, grants, tenants }));
    tx.records.put_bundle(generation, &signed)?;
    tx.image.bundle = Some((generation, signed));
    Ok(())
}
