//! Names of backends to addresses: at registration, and again and again.

use super::readdress;
use crate::commit::Writer;
use rules::registry::Registration;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use tokio_util::sync::CancellationToken;

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_secs(300);
/// A name with more addresses than this is no server.
const MAX_ADDRESSES: usize = 64;

/// Fills in the addresses of names. What does not resolve keeps the addresses it had.
pub(crate) async fn resolve(mut registration: Registration) -> Registration {
    for backend in &mut registration.backends {
        let port = backend.port();
        let Some(url::Host::Domain(name)) = backend.url.host() else { continue };
        let asked = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port))).await;
        if let Ok(Ok(found)) = asked {
            let addresses: BTreeSet<IpAddr> = found.map(|a| a.ip().to_canonical()).take(MAX_ADDRESSES).collect();
            if !addresses.is_empty() {
                backend.addresses = addresses;
            }
        }
    }
    registration
}

/// Looks at all names now and then until told to stop.
pub(crate) async fn refresh(writer: Writer, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let registry = writer.snapshot().registry.clone();
        let mut changed = Vec::new();
        for before in registry.registrations.values() {
            let after = tokio::select! {
                () = stop.cancelled() => return,
                after = resolve(before.clone()) => after,
            };
            if after != *before {
                changed.push(after);
            }
        }
        if !changed.is_empty()
            && let Err(why) = writer.write(move |tx| readdress(tx, changed)).await
        {
            tracing::warn!(%why, "new addresses of registered servers were not stored");
        }
    }
}
