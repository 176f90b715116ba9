//! Who looked up which name and was given which address, and who announces what: bounded, and counted when it forgets.

use super::{digest, recent::Recent};
use crate::moment::Moment;
use rules::endpoint::{Endpoint, Place};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Lookups, addresses and services remembered, each.
const REMEMBERED: usize = 16_384;
/// Names kept of one address: name servers and shared front ends have hundreds.
const MAX_NAMES: usize = 8;
/// However short or long a record says it lives: clients hold on to addresses, and zones exaggerate.
const LEAST: u32 = 60;
const MOST: u32 = 24 * 3600;
/// A connection may follow a lookup that has just run out.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Name {
    text: String,
    at: Moment,
    life: Duration,
}

impl Name {
    fn alive(&self, now: Moment) -> bool {
        now.since(self.at) <= self.life
    }
}

/// Something that a zone or a host on the link says is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// The host it is on.
    pub(super) target: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) path: Option<String>,
    /// It says of itself that it is MCP: by its type, its name or its path.
    pub(super) mcp: bool,
}

#[derive(Debug)]
pub struct Names {
    /// By who asked and the address given.
    asked: Recent<Vec<Name>>,
    /// By address, whoever asked.
    known: Recent<Vec<Name>>,
    /// Addresses of hosts, by host name; services by instance, and the instances of a host: any of them may come first.
    hosts: Recent<IpAddr>,
    services: Recent<Service>,
    instances: Recent<Vec<u64>>,
    /// Entries that were still good and made room.
    pub forgotten: u64,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            asked: Recent::new(REMEMBERED),
            known: Recent::new(REMEMBERED),
            hosts: Recent::new(REMEMBERED),
            services: Recent::new(REMEMBERED),
            instances: Recent::new(REMEMBERED),
            forgotten: 0,
        }
    }
}

impl Names {
    /// `name` was given as a name of `address`, to `client` if it was told to one.
    pub(super) fn learn(&mut self, client: Option<IpAddr>, address: IpAddr, name: &str, ttl: u32, now: Moment) {
        let address = address.to_canonical();
        let life = Duration::from_secs(ttl.clamp(LEAST, MOST).into()) + GRACE;
        let name = Name { text: name.to_owned(), at: now, life };
        if let Some(client) = client {
            add(&mut self.asked, pair(client, address), name.clone(), &mut self.forgotten, now);
        }
        add(&mut self.known, one(address), name, &mut self.forgotten, now);
    }

    /// Names `client` itself looked up to get `address`, the latest first.
    pub fn asked(&self, client: IpAddr, address: IpAddr, now: Moment) -> impl Iterator<Item = &str> {
        alive(self.asked.get(pair(client, address)), now)
    }

    /// Names anybody got this address for, or that it gave itself, the latest first.
    pub fn known(&self, address: IpAddr, now: Moment) -> impl Iterator<Item = &str> {
        alive(self.known.get(one(address)), now)
    }

    pub(super) fn host(&mut self, name: &str, address: IpAddr) {
        let gone = self.hosts.insert(text(name), address.to_canonical());
        self.forgotten += gone.map_or(0, |gone| gone.len() as u64);
    }

    /// Adds what one record says of a service.
    pub(super) fn service(&mut self, instance: &str, change: impl FnOnce(&mut Service)) {
        let key = text(instance);
        let mut service = self.services.take(key).unwrap_or_default();
        change(&mut service);
        if let Some(target) = &service.target {
            let mut all = self.instances.take(text(target)).unwrap_or_default();
            if !all.contains(&key) && all.len() < MAX_NAMES {
                all.push(key);
            }
            self.instances.insert(text(target), all);
        }
        let gone = self.services.insert(key, service);
        self.forgotten += gone.map_or(0, |gone| gone.len() as u64);
    }

    /// The host that a service is on.
    pub(super) fn host_of(&self, instance: &str) -> Option<&str> {
        self.services.get(text(instance))?.target.as_deref()
    }

    /// Services that say they are MCP, on a host whose address is known: where.
    pub(super) fn offered(&self, host: &str) -> Vec<(Place, Service)> {
        let Some(address) = self.hosts.get(text(host)) else { return Vec::new() };
        let services = self.instances.get(text(host)).into_iter().flatten().filter_map(|key| self.services.get(*key));
        let place = |service: &Service| {
            let place = Place::new(Endpoint::new(*address, service.port?)).with_host(host);
            let place = service.path.as_deref().map_or(place.clone(), |path| place.with_target(path));
            Some((place, service.clone()))
        };
        services.filter(|s| s.mcp).filter_map(place).collect()
    }
}

fn add(map: &mut Recent<Vec<Name>>, key: u64, name: Name, forgotten: &mut u64, now: Moment) {
    let mut names = map.take(key).unwrap_or_default();
    names.retain(|n| n.text != name.text && n.alive(now));
    names.truncate(MAX_NAMES - 1);
    names.insert(0, name);
    let gone: Option<HashMap<u64, Vec<Name>>> = map.insert(key, names);
    *forgotten += gone.into_iter().flatten().filter(|(_, names)| names.iter().any(|n| n.alive(now))).count() as u64;
}

fn alive(names: Option<&Vec<Name>>, now: Moment) -> impl Iterator<Item = &str> {
    names.into_iter().flatten().filter(move |n| n.alive(now)).map(|n| n.text.as_str())
}

fn text(name: &str) -> u64 {
    digest(name.as_bytes())
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

fn one(address: IpAddr) -> u64 {
    digest(&octets(address))
}

fn pair(client: IpAddr, address: IpAddr) -> u64 {
    digest(&[octets(client), octets(address)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn a_name_is_its_asker_s_and_lives_as_long_as_its_record_and_a_little() {
        let mut names = Names::default();
        let at = |second| Moment::new(second, 0);
        names.learn(Some(ip(1)), ip(9), "a.example", 300, at(0));
        names.learn(Some(ip(2)), ip(9), "b.example", 0, at(10));
        assert_eq!(names.asked(ip(1), ip(9), at(20)).collect::<Vec<_>>(), ["a.example"]);
        assert_eq!(names.asked(ip(3), ip(9), at(20)).count(), 0);
        assert_eq!(names.known(ip(9), at(20)).collect::<Vec<_>>(), ["b.example", "a.example"]);
        // No TTL is a minute here, and a minute's grace.
        assert_eq!(names.known(ip(9), at(131)).collect::<Vec<_>>(), ["a.example"]);
        assert_eq!(names.known(ip(9), at(361)).count(), 0);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_what_was_still_good_is_counted() {
        let mut names = Names::default();
        for n in 0..40_000u32 {
            let address = IpAddr::V4(n.into());
            names.learn(None, address, "x.example", 3600, Moment::new(1, 0));
        }
        assert!(names.forgotten >= 40_000 - REMEMBERED as u64, "{}", names.forgotten);
        assert!(names.known(IpAddr::V4(39_999.into()), Moment::new(2, 0)).next().is_some());
    }
}
