use super::*;
use crate::evidence::Facts;

fn at(day: u64) -> Timestamp {
    Period::days(day).after(Timestamp::UNIX_EPOCH)
}

fn evidence(signature: &str, day: u64) -> Evidence {
    Evidence::new(Place::new("10.0.0.5:3001".parse().unwrap()), Source::Wire, signature, at(day))
}

fn server(all: &[Evidence]) -> Server {
    let mut server = Server::new("default", all[0].place.clone(), all[0].at);
    for e in all {
        server.absorb("s1", e, &Pack::shipped());
    }
    server
}

const ANSWER: &str = "wire.server.initialize-result";

#[test]
fn a_client_that_knocks_or_a_name_in_a_file_keeps_nobody_alive() {
    for hint in ["wire.client.initialize", "wire.context.port", "host.context.client-config"] {
        let s = server(&[evidence(ANSWER, 1), evidence(hint, 30)]);
        assert_eq!((s.last_seen, s.sightings), (at(1), 1), "{hint}");
        // In the other order as well: an answer says more than the hints before it.
        assert_eq!(server(&[evidence(hint, 30), evidence(ANSWER, 1)]).last_seen, at(1), "{hint}");
    }
    assert_eq!(server(&[evidence("wire.context.port", 1), evidence("wire.context.port", 3)]).last_seen, at(3), "hints are all there is");
    assert_eq!(server(&[evidence(ANSWER, 5), evidence(ANSWER, 2)]).last_seen, at(5), "late evidence does not turn time back");
}

#[test]
fn a_probe_that_found_nothing_is_overruled_by_the_next_answer() {
    let gone = evidence("probe.context.gone", 3);
    let s = server(&[evidence(ANSWER, 1), gone.clone()]);
    assert!(s.is_missed() && !s.is_gone(&Policy::default(), at(1)));
    assert!(s.is_gone(&Policy::default(), at(3)));
    let s = server(&[evidence(ANSWER, 1), gone, evidence(ANSWER, 4)]);
    assert!(!s.is_missed() && s.gone_at.is_none());
    assert!(!s.is_gone(&Policy::default(), at(17)));
    assert!(s.is_gone(&Policy::default(), at(18)));
}

#[test]
fn everything_has_a_bound_and_what_did_not_fit_is_counted() {
    let (pack, mut s) = (Pack::shipped(), server(&[evidence(ANSWER, 1)]));
    for n in 0..3000_u32 {
        let client = Client { address: std::net::Ipv4Addr::from(n).into(), software: None };
        let owner = Owner { name: format!("o{n}"), source: crate::evidence::OwnerSource::StaticMap };
        let facts = Facts {
            client: Some(client),
            owner: Some(owner),
            tools: [format!("t{n}")].into(),
            revisions: [format!("r{n}")].into(),
            ..Facts::default()
        };
        s.absorb(&format!("s{n}"), &evidence(ANSWER, 1).facts(facts), &pack);
    }
    let sizes = [s.clients.len(), s.owners.len(), s.profile.tools.len(), s.profile.revisions.len(), s.testimonies.len()];
    assert_eq!(sizes, [Server::MAX_CLIENTS, Server::MAX_SMALL, Server::MAX_TOOLS, Server::MAX_SMALL, Server::MAX_TESTIMONIES]);
    let dropped: Vec<u64> = ["clients", "owners", "tools", "revisions", "testimonies"].iter().map(|w| s.dropped[*w]).collect();
    assert_eq!(dropped, [3000 - 1024, 3000 - 16, 3000 - 512, 3000 - 16, 3000 - 128]);
}

#[test]
fn a_token_that_a_client_sends_outweighs_a_request_without_one() {
    let auth = |a| evidence(ANSWER, 1).facts(Facts { auth: Some(a), ..Facts::default() });
    assert_eq!(server(&[auth(Auth::Bearer), auth(Auth::None)]).profile.auth, Some(Auth::Bearer));
    assert_eq!(server(&[auth(Auth::None), auth(Auth::Bearer)]).profile.auth, Some(Auth::Bearer));
}

#[test]
fn the_most_believable_owner_answers() {
    let owner = |name: &str, source| {
        let owner = Owner { name: name.into(), source };
        evidence(ANSWER, 1).facts(Facts { owner: Some(owner), ..Facts::default() })
    };
    use crate::evidence::OwnerSource::{ProcessUser, ReverseDns};
    let s = server(&[owner("dev1.corp", ReverseDns), owner("eve", ProcessUser)]);
    assert_eq!(s.owner().map(|o| o.name.as_str()), Some("eve"));
}

#[test]
fn who_calls_itself_our_probe_is_no_client_until_it_is_called_something_else() {
    let heard = |name: &str, day| {
        let software = Some(crate::evidence::Implementation { name: name.into(), version: None });
        let client = Some(crate::evidence::Client { address: "10.0.9.2".parse().unwrap(), software });
        evidence(ANSWER, day).facts(Facts { client, ..Facts::default() })
    };
    let clients = |heard: &[Evidence]| crate::wire::v1::ServerReport::new(&server(heard), &Pack::shipped()).clients.len();
    let (probe, other, again) = (heard("gnomon-probe", 1), heard("claude-code", 2), heard("gnomon-probe", 3));
    assert_eq!(clients(std::slice::from_ref(&probe)), 0);
    assert_eq!(clients(&[probe, other, again]), 1);
}

/// A server as an earlier release stored it.
const STORED: &str = r#"{"site":"lab","place":{"endpoint":{"address":"10.0.0.5","port":3001},"path":"/mcp","host":null},"transports":["streamable-http"],"revisions":["2025-11-25"],"tls":false,"auth":"none","server_info":{"name":"files","version":"1"},"tools":["read"],"names":["files.local"],"clients":{"10.0.9.1":{"software":null,"first":"1970-01-01T00:00:01Z","last":"1970-01-01T00:00:02Z"}},"processes":[],"owners":[],"exposures":["no-auth"],"testimonies":[{"sensor":"tap","witness":"wire","mark":"wire.server.initialize-result","detail":"","first":"1970-01-01T00:00:01Z","last":"1970-01-01T00:00:02Z","count":2}],"shares_endpoint_with":[],"first_seen":"1970-01-01T00:00:01Z","last_seen":"1970-01-01T00:00:02Z","sightings":2,"gone_at":null,"dropped":{"tools":3}}"#;

#[test]
fn a_stored_server_is_read_and_written_as_it_was() {
    let server: Server = serde_json::from_str(STORED).unwrap();
    assert_eq!((server.profile.tls, server.profile.tools.len(), server.sightings), (Some(false), 1, 2));
    assert_eq!(serde_json::to_string(&server).unwrap(), STORED);
    let newer = STORED.replacen('{', r#"{"of-a-newer-release":1,"#, 1);
    assert_eq!(serde_json::from_str::<Server>(&newer).unwrap(), server, "unknown members are ignored as before");
}
