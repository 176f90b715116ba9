use super::*;
use crate::{
    endpoint::Place,
    evidence::{Client, Evidence, Facts, Source},
    pack::Pack,
};

const DAY: i64 = 86_400;

fn day(n: i64) -> Timestamp {
    Timestamp::from_second(n * DAY).unwrap()
}

/// A server at this path, called by these clients: address, software, day.
fn server(path: &str, callers: &[(&str, Option<&str>, i64)]) -> Server {
    let place = Place::new("10.0.0.5:3001".parse().unwrap()).with_target(path);
    let mut server = Server::new("lab", place.clone(), day(0));
    for (address, software, at) in callers {
        let software = software.map(|name| Implementation { name: name.to_owned(), version: None });
        let facts = Facts { client: Some(Client { address: address.parse().unwrap(), software }), ..Facts::default() };
        server.absorb(
            "tap",
            &Evidence::new(place.clone(), Source::Wire, "wire.client.initialize", day(*at)).facts(facts),
            &Pack::shipped(),
        );
    }
    server
}

fn radius(servers: &[Server], now: i64) -> (Vec<String>, Vec<String>) {
    let radius = BlastRadius::of(servers, &["10.0.9.0/24".parse().unwrap()], day(now));
    let plain = |clients: &[RecentClient]| {
        clients.iter().map(|c| format!("{} {}", c.address, c.software.as_ref().map_or("-", |s| s.name.as_str()))).collect()
    };
    (plain(&radius.breaks), plain(&radius.spares))
}

#[test]
fn a_client_of_last_year_is_no_longer_broken() {
    let servers = [server("/mcp", &[("10.0.9.1", None, 1), ("10.0.9.2", None, 350), ("10.0.7.1", None, 2), ("10.0.7.2", None, 340)])];
    assert_eq!(radius(&servers, 360), (vec!["10.0.9.2 -".to_owned()], vec!["10.0.7.2 -".to_owned()]));
    assert_eq!(radius(&servers, 31).0, ["10.0.9.2 -", "10.0.9.1 -"], "seen thirty days ago is within the window; latest first");
    assert_eq!(radius(&servers, 381), (vec![], vec![]));
}

#[test]
fn our_own_probe_is_no_client() {
    let probe = Implementation::PROBE;
    let servers = [server("/mcp", &[("10.0.9.1", Some(probe), 1), ("10.0.9.2", Some("agent"), 1), ("10.0.9.2", Some(probe), 2)])];
    assert_eq!(radius(&servers, 3).0, ["10.0.9.2 agent"], "an address that was a client before it called itself our probe stays one");
}

#[test]
fn all_paths_of_an_endpoint_count_and_the_latest_word_of_a_client_stands() {
    let servers = [server("/mcp", &[("10.0.9.1", Some("old"), 1), ("10.0.9.2", None, 1)]), server("/sse", &[("10.0.9.1", Some("new"), 2)])];
    assert_eq!(radius(&servers, 3).0, ["10.0.9.1 new", "10.0.9.2 -"]);
}

#[test]
fn clients_that_were_not_kept_are_counted() {
    let mut one = server("/mcp", &[("10.0.9.1", None, 1)]);
    one.dropped.insert("clients".to_owned(), 7);
    assert_eq!(BlastRadius::of([&one, &one], &[], day(2)).unnamed, 14);
}
