//! The blast radius of a block: the clients it would cut off, and those it would not touch.

use crate::{Timestamp, evidence::Implementation, period::Period, server::Server};
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// The clients seen lately at one endpoint, parted by what a block there would do to them. Latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlastRadius {
    /// Inside the agents' ranges: a block cuts them off.
    pub breaks: Vec<RecentClient>,
    /// Outside of them: a block does not bind them.
    pub spares: Vec<RecentClient>,
    /// Clients that were seen and not kept by address, because a server keeps at most [`Server::MAX_CLIENTS`].
    pub unnamed: u64,
}

/// A client, and when it was seen last at any server of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentClient {
    pub address: IpAddr,
    /// The name and version it gave itself when it was seen last.
    pub software: Option<Implementation>,
    pub last: Timestamp,
}

impl BlastRadius {
    /// A client that was not seen for so long is no user of the server any more.
    pub const WINDOW: Period = Period::days(30);

    /// The blast radius of a block of one endpoint.
    ///
    /// `servers` are all servers at that endpoint, whatever their path. A client counts when it was seen in the [`BlastRadius::WINDOW`]
    /// before `now`. Our own probe is no client.
    pub fn of<'a>(servers: impl IntoIterator<Item = &'a Server>, agents: &[IpNet], now: Timestamp) -> BlastRadius {
        BlastRadius::within(BlastRadius::WINDOW, servers, agents, now)
    }

    fn within<'a>(window: Period, servers: impl IntoIterator<Item = &'a Server>, agents: &[IpNet], now: Timestamp) -> BlastRadius {
        let since = window.before(now);
        let mut latest: BTreeMap<IpAddr, RecentClient> = BTreeMap::new();
        let mut unnamed: u64 = 0;
        for server in servers {
            unnamed = unnamed.saturating_add(server.dropped.get("clients").copied().unwrap_or(0));
            for (address, caller) in server.clients.iter().filter(|(_, c)| c.last >= since && !c.is_probe()) {
                let client = RecentClient { address: *address, software: caller.software.clone(), last: caller.last };
                let known = latest.entry(*address).or_insert_with(|| client.clone());
                if known.last < client.last {
                    *known = client;
                }
            }
        }
        let mut clients: Vec<RecentClient> = latest.into_values().collect();
        clients.sort_by(|a, b| b.last.cmp(&a.last).then(a.address.cmp(&b.address)));
        let (breaks, spares) = clients.into_iter().partition(|c| agents.iter().any(|net| net.contains(&c.address)));
        BlastRadius { breaks, spares, unnamed }
    }
}

#[cfg(test)]
mod tests;
