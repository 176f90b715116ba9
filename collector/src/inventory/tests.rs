use super::*;
use rules::{
    Timestamp,
    endpoint::Place,
    evidence::{Facts, Implementation, Source, Transport},
};

fn at(n: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + n).unwrap()
}

fn said(signature: &str, target: Option<&str>, n: i64) -> Evidence {
    let place = Place::new("10.0.0.5:3001".parse().unwrap());
    let place = match target {
        Some(t) => place.with_target(t),
        None => place,
    };
    Evidence::new(place, Source::Wire, signature, at(n))
}

fn named(mut e: Evidence, host: &str, info: Option<&str>) -> Evidence {
    e.place = e.place.with_host(host);
    e.facts.server_info = info.map(|n| Implementation { name: n.to_owned(), version: None });
    e
}

fn fold(all: &[Evidence]) -> Inventory {
    let mut inventory = Inventory::new("lab");
    let pack = Pack::shipped();
    for e in all {
        inventory.observe("s1", e, &pack);
    }
    inventory
}

fn shown(inventory: &Inventory) -> Vec<String> {
    let line = |s: &Server| {
        let shares: Vec<&str> = s.shares_endpoint_with.iter().map(String::as_str).collect();
        format!("{} marks={} shares=[{}]", s.key(), s.testimonies.len(), shares.join(" "))
    };
    let mut lines: Vec<String> = inventory.servers().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_record_without_a_path_is_absorbed_when_the_path_is_learned_and_says_so() {
    let mut inventory = fold(&[said("host.context.listener", None, 0)]);
    assert_eq!(shown(&inventory), ["lab/10.0.0.5:3001 marks=1 shares=[]"]);
    let observed = inventory.observe("s1", &said("wire.server.initialize-result", Some("/mcp/"), 1), &Pack::shipped());
    assert_eq!(observed.renamed, [("lab/10.0.0.5:3001".to_owned(), "lab/10.0.0.5:3001/mcp".to_owned())]);
    inventory.observe("s1", &said("host.context.sdk-process", None, 2), &Pack::shipped());
    assert_eq!(shown(&inventory), ["lab/10.0.0.5:3001/mcp marks=3 shares=[]"]);
    assert_eq!(inventory.find("lab/10.0.0.5:3001/mcp").map(|s| s.first_seen), Some(at(0)));
    assert_eq!(inventory.len(), 1);
}

#[test]
fn two_paths_share_an_endpoint_and_a_third_without_path_stays_apart() {
    let a = named(said("wire.server.initialize-result", Some("/a"), 0), "", Some("one"));
    let b = named(said("wire.server.initialize-result", Some("/b"), 1), "", Some("two"));
    let inventory = fold(&[a, b, said("host.context.listener", None, 2)]);
    assert_eq!(
        shown(&inventory),
        ["lab/10.0.0.5:3001 marks=1 shares=[/a /b]", "lab/10.0.0.5:3001/a marks=1 shares=[/b]", "lab/10.0.0.5:3001/b marks=1 shares=[/a]"]
    );
}

#[test]
fn one_program_on_two_paths_does_not_share_with_itself() {
    let a = named(said("wire.server.initialize-result", Some("/mcp"), 0), "", Some("one"));
    let b = named(said("wire.server.endpoint-event", Some("/sse"), 1), "", Some("one"));
    assert!(fold(&[a, b]).servers().all(|s| s.shares_endpoint_with.is_empty()));
}

#[test]
fn a_path_that_a_client_only_tried_is_not_shared() {
    let inventory = fold(&[said("wire.server.discover-result", Some("/mcp"), 0), said("wire.client.initialize", Some("/nothing"), 1)]);
    assert!(inventory.servers().find(|s| s.place.path.as_deref() == Some("/mcp")).unwrap().shares_endpoint_with.is_empty());
}

#[test]
fn the_message_path_of_a_stream_is_the_same_server_whichever_came_first() {
    let message = said("wire.server.accepted", Some("/messages/?session_id=1"), 0);
    let mut stream = said("wire.server.endpoint-event", Some("/sse"), 1);
    stream.facts = Facts { transport: Some(Transport::HttpSse), ..Facts::default() };
    let expected = ["lab/10.0.0.5:3001/sse marks=2 shares=[]"];
    assert_eq!(shown(&fold(&[message.clone(), stream.clone()])), expected);
    assert_eq!(shown(&fold(&[stream, message])), expected);
}

#[test]
fn another_name_shares_the_endpoint_unless_it_is_an_alias() {
    let first = named(said("wire.server.initialize-result", Some("/mcp"), 0), "dev1", Some("one"));
    let long = named(said("wire.server.tools-result", Some("/mcp"), 1), "dev1.corp.example", None);
    let same = named(said("wire.server.initialize-result", Some("/mcp"), 2), "tools.example", Some("one"));
    let other = named(said("wire.server.initialize-result", Some("/mcp"), 3), "wiki.example", Some("two"));
    let invented = named(said("wire.server.sdk-error", Some("/mcp"), 5), "x.invalid", None);
    let tried = named(said("wire.client.initialize", Some("/mcp"), 4), "evil.example", None);
    assert_eq!(shown(&fold(&[first.clone(), long, same, tried, invented])), ["lab/10.0.0.5:3001/mcp marks=4 shares=[]"]);
    assert_eq!(shown(&fold(&[first, other])), ["lab/10.0.0.5:3001/mcp marks=1 shares=[wiki.example]"]);
}

#[test]
fn another_protocol_on_the_same_endpoint_is_shared_with() {
    let inventory = fold(&[said("wire.server.discover-result", Some("/mcp"), 0), said("wire.server.against-jsonrpc", Some("/rpc"), 1)]);
    let mcp = inventory.find("lab/10.0.0.5:3001/mcp").unwrap();
    assert_eq!(mcp.shares_endpoint_with.iter().map(String::as_str).collect::<Vec<_>>(), ["/rpc"]);
}

/// A probe sees the other site at most of its looks.
#[test]
fn a_front_that_a_probe_found_is_shared_until_probes_find_none_for_a_week() {
    let day = 86_400;
    let probe = |signature: &str, n: i64| {
        let mut e = said(signature, Some("/mcp"), n);
        e.source = Source::Probe;
        e
    };
    let result = |n| probe("probe.server.initialize-result", n);
    let shares = |all: &[Evidence]| fold(all).servers().any(|s| !s.shares_endpoint_with.is_empty());
    let front = probe("probe.context.other-site", 0);
    assert!(!shares(&[result(0)]));
    assert!(shares(&[result(0), front.clone()]) && shares(&[front.clone(), result(0)]));
    assert!(shares(&[front.clone(), result(7 * day - 1)]));
    assert!(!shares(&[front.clone(), result(7 * day)]));
    assert!(shares(&[front, result(7 * day), probe("probe.context.other-site", 7 * day)]));
}

#[test]
fn bounds_hold_and_count_and_strong_evidence_displaces_candidates() {
    let pack = Pack::shipped();
    let mut inventory = Inventory::with_limits("lab", Limits { servers: 10, servers_per_sensor: 8 });
    let place = |n: u16| Place::new(format!("10.0.0.5:{n}").parse().unwrap());
    for n in 1..=30 {
        let sensor = if n % 2 == 0 { "even" } else { "odd" };
        inventory.observe(sensor, &Evidence::new(place(n), Source::Wire, "wire.context.port", at(0)), &pack);
    }
    assert_eq!(inventory.len(), 10);
    assert_eq!(inventory.lost().get(&Lost::SiteFull), Some(&20));
    inventory.observe("third", &Evidence::new(place(99), Source::Probe, "probe.server.discover-result", at(1)), &pack);
    assert_eq!(inventory.len(), 10);
    assert!(inventory.find("lab/10.0.0.5:99").is_some());
    assert_eq!(inventory.lost().get(&Lost::Evicted), Some(&1));
    for n in 100..120 {
        inventory.observe("third", &Evidence::new(place(n), Source::Probe, "probe.server.discover-result", at(1)), &pack);
    }
    assert_eq!(inventory.lost().get(&Lost::SensorFull), Some(&13));
}

#[test]
fn a_sensor_with_its_share_gives_up_its_oldest_candidate_and_says_which() {
    let pack = Pack::shipped();
    let mut inventory = Inventory::with_limits("lab", Limits { servers: 100, servers_per_sensor: 3 });
    let place = |n: u16| Place::new(format!("10.0.0.5:{n}").parse().unwrap());
    let weak = |n: u16, t: i64| Evidence::new(place(n), Source::Wire, "wire.context.port", at(t));
    let strong = |n: u16, t: i64| Evidence::new(place(n), Source::Probe, "probe.server.discover-result", at(t));
    inventory.observe("other", &weak(1, 0), &pack);
    for (n, t) in [(10, 5), (11, 3), (12, 4)] {
        assert_eq!(inventory.observe("s1", &weak(n, t), &pack).evicted, None);
    }
    assert!(!inventory.observe("s1", &weak(13, 6), &pack).kept, "a guess displaces nothing");
    for (n, gone) in [(20, 11), (21, 12), (22, 10)] {
        let observed = inventory.observe("s1", &strong(n, 7), &pack);
        assert_eq!((observed.kept, observed.evicted), (true, Some(place(gone).endpoint)));
        assert!(inventory.record(place(gone).endpoint).is_none());
    }
    let observed = inventory.observe("s1", &strong(23, 8), &pack);
    assert_eq!((observed.kept, observed.evicted), (false, None), "another sensor's records are not its to give up");
    assert_eq!((inventory.len(), inventory.lost().get(&Lost::SensorFull)), (4, Some(&2)));
}

#[test]
fn what_was_stored_comes_back_the_same() {
    let a = named(said("wire.server.initialize-result", Some("/a"), 0), "one.example", Some("one"));
    let b = named(said("wire.server.tools-result", Some("/a"), 1), "two.example", None);
    let inventory = fold(&[a, b]);
    let endpoint = "10.0.0.5:3001".parse().unwrap();
    let text = serde_json::to_string(inventory.record(endpoint).unwrap()).unwrap();
    let mut again = Inventory::new("lab");
    again.restore(endpoint, serde_json::from_str(&text).unwrap());
    assert_eq!(again.record(endpoint), inventory.record(endpoint));
    assert_eq!(again.len(), 1);
}

/// Whatever comes in whatever order: the count is right, a key that was given out leads to a server that is there, and what is
/// stored comes back.
mod any_order {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn any_evidence() -> impl Strategy<Value = Evidence> {
        let signatures = [
            "wire.server.initialize-result",
            "wire.server.endpoint-event",
            "wire.server.accepted",
            "wire.client.initialize",
            "wire.context.port",
            "wire.server.against-jsonrpc",
            "host.context.sdk-process",
        ];
        let targets = [None, Some("/mcp"), Some("/sse"), Some("/messages"), Some("/a/sse"), Some("/a/messages/1"), Some("/")];
        let hosts = ["", "dev1", "dev1.corp.example", "wiki.example", "localhost"];
        let infos = [None, Some("one"), Some("two")];
        let transports = [None, Some(Transport::HttpSse), Some(Transport::StreamableHttp)];
        (
            prop::sample::select(signatures.to_vec()).prop_map(str::to_owned),
            0..targets.len(),
            0..hosts.len(),
            0..infos.len(),
            0..transports.len(),
            1u16..3,
        )
            .prop_map(move |(signature, target, host, info, transport, port)| {
                let mut e = named(said(&signature, targets[target], 0), hosts[host], infos[info]);
                e.place.endpoint.port = port;
                e.facts.transport = transports[transport];
                e
            })
    }

    proptest! {
        #[test]
        fn keys_lead_to_servers(all in prop::collection::vec(any_evidence(), 1..40)) {
            let (mut inventory, pack) = (Inventory::new("lab"), Pack::shipped());
            let (mut given, mut renamed) = (Vec::new(), BTreeMap::new());
            for (n, mut evidence) in all.into_iter().enumerate() {
                evidence.at = at(n as i64);
                renamed.extend(inventory.observe("s1", &evidence, &pack).renamed);
                given.extend(inventory.servers().map(Server::key));
                // A key that is there again is itself.
                renamed.retain(|old, _| inventory.find(old).is_none());
            }
            prop_assert_eq!(inventory.len(), inventory.servers().count());
            for mut key in given {
                for _ in 0..10 {
                    key = renamed.get(&key).cloned().unwrap_or(key);
                }
                prop_assert!(inventory.find(&key).is_some(), "{} leads nowhere", key);
            }
            for server in inventory.servers() {
                let record = inventory.record(server.place.endpoint).unwrap();
                let text = serde_json::to_string(record).unwrap();
                prop_assert_eq!(&serde_json::from_str::<EndpointRecord>(&text).unwrap(), record);
                prop_assert!(server.shares_endpoint_with.iter().all(|s| Some(s) != server.place.path.as_ref()));
            }
        }
    }
}
