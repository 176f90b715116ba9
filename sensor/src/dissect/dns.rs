//! Names: which address answers to which, as far as lookups and announcements showed (RFC 1035, 6762, 6763, 2782).

use super::{digest, mcp::World};
use crate::moment::Moment;
use hickory_proto::{
    op::{Message, MessageType},
    rr::{Name, RData, Record},
};
use rules::{
    endpoint::{Endpoint, Place},
    evidence::Facts,
};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Addresses and services remembered, each.
const REMEMBERED: usize = 16_384;
/// Records looked at in one message.
const MAX_RECORDS: usize = 64;
/// However short or long a record says it lives: clients hold on to addresses, and zones exaggerate.
const LEAST: Duration = Duration::from_secs(120);
const MOST: Duration = Duration::from_secs(3600);

pub const MDNS: u16 = 5353;

/// What names told, bounded; when full, it starts anew and counts.
#[derive(Debug, Default)]
pub struct Names {
    names: HashMap<IpAddr, (String, Moment, Duration)>,
    /// Addresses of hosts and ports of `_mcp._tcp` services, by host name: either may come first.
    hosts: HashMap<u64, IpAddr>,
    services: HashMap<u64, u16>,
    /// Entries that made room.
    pub forgotten: u64,
}

impl Names {
    /// The name somebody looked up to get `address`, if it was lately.
    pub fn name(&self, address: IpAddr, now: Moment) -> Option<&str> {
        let (name, at, life) = self.names.get(&address)?;
        (now.since(*at) <= *life).then_some(name)
    }
}

/// Whether a label of the name is `mcp`, or has it as a word: `mcp.corp.example`, `tools-mcp.corp.example`.
pub fn names_mcp(name: &str) -> bool {
    name.split(['.', '-', '_']).any(|word| word.eq_ignore_ascii_case("mcp"))
}

/// Takes one message off the wire. `port` is the server's, 5353 for an announcement on the link.
pub fn message(bytes: &[u8], port: u16, at: Moment, world: &mut World) {
    let Ok(message) = Message::from_vec(bytes) else {
        world.lose("undecodable-dns");
        return;
    };
    if message.metadata.message_type != MessageType::Response {
        return;
    }
    let asked = message.queries.first().map(|q| plain(q.name()));
    for record in message.answers.iter().chain(&message.additionals).take(MAX_RECORDS) {
        take(record, asked.as_deref(), port == MDNS, at, world);
    }
}

fn take(record: &Record, asked: Option<&str>, announced: bool, at: Moment, world: &mut World) {
    let life = Duration::from_secs(u64::from(record.ttl)).clamp(LEAST, MOST);
    let address = match &record.data {
        RData::A(a) => IpAddr::V4(a.0),
        RData::AAAA(a) => IpAddr::V6(a.0),
        RData::SRV(service) => {
            let name = plain(&record.name);
            if announced && name.contains("_mcp._tcp") {
                bound(&mut world.names.services, &mut world.names.forgotten);
                world.names.services.insert(digest(plain(&service.target).as_bytes()), service.port);
                announce(&plain(&service.target), at, world);
            }
            return;
        }
        _ => return,
    };
    let own = plain(&record.name);
    // Through aliases, the name that was asked for is the one people know.
    let name = asked.filter(|a| !announced && !a.is_empty()).unwrap_or(&own).to_owned();
    bound(&mut world.names.names, &mut world.names.forgotten);
    world.names.names.insert(address, (name, at, life));
    if announced {
        bound(&mut world.names.hosts, &mut world.names.forgotten);
        world.names.hosts.insert(digest(own.as_bytes()), address);
        announce(&own, at, world);
    }
}

/// A host that says of itself that it offers MCP, once both its port and its address are known.
fn announce(host: &str, at: Moment, world: &mut World) {
    let key = digest(host.as_bytes());
    let (Some(address), Some(port)) = (world.names.hosts.get(&key), world.names.services.get(&key)) else { return };
    let place = Place::new(Endpoint::new(*address, *port)).with_host(host);
    world.ledger.say(&place, "wire.context.mdns-service", &format!("{host} announces _mcp._tcp"), at, Facts::default());
}

fn bound<K, V>(map: &mut HashMap<K, V>, forgotten: &mut u64) {
    if map.len() >= REMEMBERED {
        *forgotten += map.len() as u64;
        map.clear();
    }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
