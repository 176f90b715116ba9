//! Names of targets to addresses: the hosts file and the name servers of this host are asked, with a bound on time. IO.
//!
//! The system's own resolver is asked second, since it alone knows names of mDNS and of directories. It blocks a thread for each name,
//! and has no bound on time.

use hickory_resolver::{TokioResolver, config::LookupIpStrategy};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

const MAX_ADDRESSES_OF_A_NAME: usize = 16;
/// Names asked for at once.
const AT_ONCE: usize = 16;
/// From a question to a name server to the next one.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERY_ATTEMPTS: usize = 2;
/// One name, by each of the two resolvers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(6);

/// The addresses of each name, in the order of the names; none where it does not resolve.
pub(super) async fn addresses(names: &[String]) -> Vec<Vec<IpAddr>> {
    let mut found = vec![Vec::new(); names.len()];
    if names.is_empty() {
        return found;
    }
    let resolver = resolver().map(Arc::new);
    let mut asked = JoinSet::new();
    let mut waiting = names.iter().cloned().enumerate();
    loop {
        while asked.len() < AT_ONCE {
            let Some((at, name)) = waiting.next() else { break };
            let resolver = resolver.clone();
            asked.spawn(async move { (at, addresses_of(resolver.as_deref(), &name).await) });
        }
        match asked.join_next().await {
            Some(Ok((at, addresses))) => {
                if let Some(place) = found.get_mut(at) {
                    *place = addresses;
                }
            }
            Some(Err(_)) => {}
            None => return found,
        }
    }
}

/// As the host's `resolv.conf` says. `None`: it cannot be read.
fn resolver() -> Option<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().ok()?;
    let options = builder.options_mut();
    options.timeout = QUERY_TIMEOUT;
    options.attempts = QUERY_ATTEMPTS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().ok()
}

async fn addresses_of(resolver: Option<&TokioResolver>, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    if let Some(resolver) = resolver
        && let Ok(Ok(answer)) = timeout(LOOKUP_TIMEOUT, resolver.lookup_ip(name)).await
    {
        found.extend(answer.iter().map(|address| address.to_canonical()).take(MAX_ADDRESSES_OF_A_NAME));
    }
    if found.is_empty()
        && let Ok(Ok(answer)) = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0))).await
    {
        found.extend(answer.map(|address| address.ip().to_canonical()).take(MAX_ADDRESSES_OF_A_NAME));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_keep_their_order_and_unknown_ones_have_no_address() {
        let names: Vec<String> = ["localhost", "gnomon-control.invalid", "localhost"].map(str::to_owned).into();
        let found = addresses(&names).await;
        assert_eq!(found.len(), 3);
        assert!(found[0].iter().all(IpAddr::is_loopback) && !found[0].is_empty());
        assert!(found[1].is_empty());
        assert_eq!(found[0], found[2]);
    }
}
