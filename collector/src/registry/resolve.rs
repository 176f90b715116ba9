//! Names of backends to addresses: at registration, and again and again.
//!
//! The hosts file and the name servers of this host are asked, with a bound on time. The system's own resolver is asked second, since it
//! alone knows names of mDNS and of directories; it blocks a thread for each name.

use super::readdress;
use crate::commit::Writer;
use hickory_resolver::{TokioResolver, config::LookupIpStrategy};
use rules::registry::Registration;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// One name, by either resolver.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// From a question to a name server to the next one.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
const QUERY_ATTEMPTS: usize = 2;
const EVERY: Duration = Duration::from_secs(300);
/// A name with more addresses than this is no server.
const MAX_ADDRESSES: usize = 64;

/// Fills in the addresses of names. A backend whose name does not resolve keeps the addresses it had.
pub(crate) async fn resolve(mut registration: Registration) -> Registration {
    let resolver = resolver();
    for backend in &mut registration.backends {
        let Some(url::Host::Domain(name)) = backend.url.host() else { continue };
        let addresses = addresses_of(resolver.as_ref(), name).await;
        if !addresses.is_empty() {
            backend.addresses = addresses;
        }
    }
    registration
}

/// As the host's `resolv.conf` says at this moment. `None`: it cannot be read.
fn resolver() -> Option<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().ok()?;
    let options = builder.options_mut();
    options.timeout = QUERY_TIMEOUT;
    options.attempts = QUERY_ATTEMPTS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().ok()
}

async fn addresses_of(resolver: Option<&TokioResolver>, name: &str) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    if let Some(resolver) = resolver
        && let Ok(Ok(answer)) = timeout(LOOKUP_TIMEOUT, resolver.lookup_ip(name)).await
    {
        found.extend(answer.iter().map(|address| address.to_canonical()).take(MAX_ADDRESSES));
    }
    if found.is_empty()
        && let Ok(Ok(answer)) = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0))).await
    {
        found.extend(answer.map(|address| address.ip().to_canonical()).take(MAX_ADDRESSES));
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_the_hosts_file_resolves_and_an_unknown_one_has_no_address() {
        let resolver = resolver();
        for by in [resolver.as_ref(), None] {
            let found = addresses_of(by, "localhost").await;
            assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
        }
        assert!(addresses_of(resolver.as_ref(), "gnomon-control.invalid").await.is_empty());
    }
}
