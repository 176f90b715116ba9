//! What the gateway decides by: a signed bundle, verified, indexed, and swapped whole.
//!
//! A bundle that cannot be trusted or read changes nothing: the last good one stays in force. Generations only grow.

mod keep;

pub(crate) use keep::Keep;

use crate::{authenticate::hmac::Keyring, forward::Target};
use rules::{
    access::Grant,
    printable::printable,
    registry::Registration,
    wire::v1::{Bundle, Distrust, Keys, Signed},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    #[error("the bundle cannot be read: {0}")]
    Unreadable(String),
    #[error("generation {got} is older than {have}, which is in force")]
    Stale { got: u64, have: u64 },
}

/// What `signed` holds, if one of `keys` signed it as a bundle.
pub fn open(signed: &Signed, keys: &Keys) -> Result<Bundle, BundleError> {
    let payload = signed.open(Signed::BUNDLE, keys)?;
    serde_json::from_slice(payload.bytes()).map_err(|e| BundleError::Unreadable(printable(&e.to_string(), 200)))
}

/// A bundle ready to be asked: never changed, only replaced.
#[derive(Debug)]
pub struct PolicySnapshot {
    bundle: Bundle,
    keyring: Keyring,
    /// By tenant and slug, so that a decision reads only the grants that can matter.
    grants: HashMap<String, HashMap<String, Vec<Grant>>>,
    /// Of each registration, those backends that can be dialled.
    targets: HashMap<String, Vec<Arc<Target>>>,
}

impl PolicySnapshot {
    pub fn new(bundle: Bundle) -> PolicySnapshot {
        let mut grants: HashMap<String, HashMap<String, Vec<Grant>>> = HashMap::new();
        for g in &bundle.grants {
            grants.entry(g.tenant.clone()).or_default().entry(g.slug.clone()).or_default().push(g.clone());
        }
        let keyring = Keyring::new(&bundle.tenants);
        let targets = bundle.registry.registrations.iter().map(|(slug, r)| (slug.clone(), targets(slug, r))).collect();
        PolicySnapshot { bundle, keyring, grants, targets }
    }

    pub fn generation(&self) -> u64 {
        self.bundle.generation
    }

    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub fn registry(&self) -> &rules::registry::Registry {
        &self.bundle.registry
    }

    pub fn registration(&self, slug: &str) -> Option<&Registration> {
        self.bundle.registry.registrations.get(slug)
    }

    /// Those of this tenant for this server.
    pub fn grants(&self, tenant: &str, slug: &str) -> &[Grant] {
        self.grants.get(tenant).and_then(|t| t.get(slug)).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn targets(&self, slug: &str) -> &[Arc<Target>] {
        self.targets.get(slug).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn all_targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.targets.values().flatten()
    }
}

/// One backend that cannot be dialled costs that backend, not the bundle.
fn targets(slug: &str, registration: &Registration) -> Vec<Arc<Target>> {
    let mut good = Vec::new();
    for backend in &registration.backends {
        match Target::new(backend) {
            Ok(target) => good.push(Arc::new(target)),
            Err(why) => tracing::error!(slug, backend = %printable(backend.url.as_str(), 200), %why, "a backend cannot be used"),
        }
    }
    good
}

/// The policy snapshot that follows from `signed`, or `None` when the one in force already says so.
pub fn judge(keys: &Keys, in_force: Option<&PolicySnapshot>, signed: &Signed) -> Result<Option<Arc<PolicySnapshot>>, BundleError> {
    let bundle = open(signed, keys)?;
    match in_force {
        Some(have) if bundle.generation < have.generation() => Err(BundleError::Stale { got: bundle.generation, have: have.generation() }),
        Some(have) if bundle == have.bundle => Ok(None),
        // Two bundles of one generation: somebody restored an old state. Neither is newer; what is in force stays.
        Some(have) if bundle.generation == have.generation() => Err(BundleError::Stale { got: bundle.generation, have: have.generation() }),
        _ => Ok(Some(Arc::new(PolicySnapshot::new(bundle)))),
    }
}

/// Keeps the policy snapshot in force up to date until `shutdown`, beginning with the one on disk. Every refusal is loud: somebody is signing what we
/// cannot accept.
pub(crate) async fn follow(
    keys: Keys,
    mut offered: watch::Receiver<Option<Arc<Signed>>>,
    keep: Keep,
    policies: watch::Sender<Option<Arc<PolicySnapshot>>>,
    refused: Arc<AtomicU64>,
    shutdown: CancellationToken,
) {
    let consider = |signed: &Signed, from: &str| {
        let in_force = policies.borrow().clone();
        match judge(&keys, in_force.as_deref(), signed) {
            Ok(None) => false,
            Ok(Some(policy)) => {
                tracing::info!(generation = policy.generation(), from, "a new bundle is in force");
                policies.send_replace(Some(policy));
                true
            }
            Err(why) => {
                refused.fetch_add(1, Relaxed);
                tracing::error!(%why, from, "a bundle was refused; the last good one stays in force");
                false
            }
        }
    };
    match keep.read() {
        Ok(kept) => drop(kept.map(|signed| consider(&signed, "disk"))),
        Err(why) => tracing::error!(%why, "the bundle kept on disk cannot be read; waiting for the collector's"),
    }
    loop {
        let signed = offered.borrow_and_update().clone();
        if let Some(signed) = signed.filter(|s| consider(s, "collector")) {
            let keep = keep.clone();
            let kept = tokio::task::spawn_blocking(move || keep.write(&signed)).await;
            if let Ok(Err(why)) = kept {
                tracing::error!(%why, "the bundle cannot be kept on disk: a restart without the collector would let nothing through");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = offered.changed() => if changed.is_err() {
                // Nobody will offer another: what is in force stays.
                return shutdown.cancelled().await;
            },
        }
    }
}
