use super::*;
use crate::{
    endpoint::Place,
    evidence::{Evidence, Facts, Implementation, Source},
    observation::Coverage,
    period::Period,
    policy::Policy,
    registry::{
        Lifecycle,
        tests::{registration, registry},
    },
};

fn at(day: u64) -> Timestamp {
    Period::days(day).after(Timestamp::UNIX_EPOCH)
}

fn server(facts: Facts) -> Server {
    let place = Place::new("10.0.0.5:3001".parse().unwrap()).with_target("/mcp");
    let mut server = Server::new("default", place.clone(), at(1));
    let seen = Evidence::new(place, Source::Wire, "wire.server.initialize-result", at(1)).facts(facts);
    server.absorb("s1", &seen, &Pack::shipped());
    server
}

fn named(name: &str) -> Facts {
    Facts { server_info: Some(Implementation { name: name.into(), version: None }), ..Facts::default() }
}

fn found(server: &Server, registrations: Vec<Registration>) -> Vec<String> {
    let findings = detect(server, &registry(registrations), &Policy::default(), &Pack::shipped(), at(2));
    findings.iter().map(|f| format!("{} {}: {}", f.kind, f.slug.as_deref().unwrap_or("-"), f.reasons[0])).collect()
}

#[test]
fn what_is_wrong_with_a_server() {
    let here = || registration("files", "http://10.0.0.5:3001/mcp");
    let elsewhere = || registration("files", "http://10.0.0.9:3001/mcp");
    let (mut retired, mut pinned) = (here(), here());
    retired.lifecycle = Lifecycle::Sunset { since: Timestamp::UNIX_EPOCH };
    pinned.tools = ["read".to_owned()].into();
    let tools = Facts { tools: ["read".to_owned(), "rm".to_owned()].into(), ..Facts::default() };
    let open = Facts { exposures: [Exposure::NoAuth, Exposure::WildcardBind].into(), ..Facts::default() };
    let said = [
        found(&server(Facts::default()), vec![]),
        found(&server(Facts::default()), vec![here()]),
        found(&server(named("files")), vec![elsewhere()]),
        found(&server(Facts::default()), vec![retired]),
        found(&server(tools), vec![pinned]),
        found(&server(open), vec![here()]),
    ];
    let said: Vec<String> = said.iter().map(|s| if s.is_empty() { "nothing".to_owned() } else { s.join("; ") }).collect();
    expect_test::expect![[r#"
        shadow -: answers as an MCP server and is not registered
        nothing
        shadow -: answers as an MCP server and is not registered; lookalike files: calls itself like the registered server `files`, at another place
        retired files: `files` was retired at 1970-01-01T00:00:00Z and still answers
        drifted files: `files` has tools that were not registered: rm
        exposed files: asks nobody who they are, and is bound to every interface"#]].assert_eq(&said.join("\n"));
}

#[test]
fn nothing_less_than_confirmed_is_a_finding() {
    let place = Place::new("10.0.0.5:3001".parse().unwrap());
    let mut server = Server::new("default", place.clone(), at(1));
    for signature in ["wire.server.answered", "wire.server.call-result"] {
        server.absorb("s1", &Evidence::new(place.clone(), Source::Wire, signature, at(1)), &Pack::shipped());
    }
    assert_eq!(server.judgement(&Pack::shipped()).confidence, Confidence::Probable);
    assert!(found(&server, vec![]).is_empty());
}

#[test]
fn a_shadow_beside_a_registered_path_shares_its_door() {
    let beside = registration("files", "http://10.0.0.5:3001/other");
    let findings = detect(&server(Facts::default()), &registry([beside]), &Policy::default(), &Pack::shipped(), at(2));
    assert_eq!(findings[0].shared_with, ["the registered server `files`"]);
}

#[test]
fn a_registration_is_dead_when_nothing_was_seen_of_it_for_long_enough() {
    let policy = Policy::default();
    let mut r = registration("files", "http://10.0.0.5:3001/mcp");
    r.registered_at = at(0);
    let alive = server(Facts::default());
    let why = |servers: &[Server], day| dead("default", &r, servers, &policy, at(day)).map(|f| f.reasons.concat());
    assert_eq!(why(&[], 13), None, "it is given time");
    assert_eq!(why(&[], 14).as_deref(), Some("`files` is registered and was never seen"));
    assert_eq!(why(std::slice::from_ref(&alive), 14), None);
    assert_eq!(why(&[alive], 15).as_deref(), Some("`files` is registered and was last seen at 1970-01-02T00:00:00Z"));
}

#[test]
fn a_sensor_that_cannot_see_says_why() {
    let policy = Policy::default();
    let coverage = |frames, lost| Coverage {
        interface: "eth0".into(),
        frames,
        lost: [("kernel-drop".to_owned(), lost)].into(),
        ..Coverage::default()
    };
    let why = |last_heard, c: &[Coverage]| {
        let sight = Sight { sensor: "s1", last_heard, coverage: c };
        blind("default", &sight, &policy, at(1)).map(|f| f.reasons.join("; "))
    };
    assert_eq!(why(at(1), &[coverage(1000, 10)]), None);
    assert_eq!(why(at(1), &[]), None);
    assert_eq!(
        why(at(1), &[coverage(900, 100)]).as_deref(),
        Some(
            "`eth0` missed 100 of 1000 frames: 100 kernel-drop (the sensor was too slow or its ring too small: see threads and ring_bytes)"
        )
    );
    assert_eq!(
        why(at(1), &[coverage(0, 3)]).as_deref(),
        Some("`eth0` sees nothing: 3 kernel-drop (the sensor was too slow or its ring too small: see threads and ring_bytes)")
    );
    let part =
        |interface: &str| Coverage { interface: interface.into(), frames: 0, lost: [("off".to_owned(), 0)].into(), ..Coverage::default() };
    assert_eq!(why(at(1), &[part("probe"), part("uplink")]), None, "they never see a frame");
    assert_eq!(why(at(1), &[coverage(0, 0)]).as_deref(), Some("no frame came by on `eth0`: is anything connected or mirrored to it?"));
    assert_eq!(why(at(0), &[]).as_deref(), Some("nothing was heard of sensor `s1` since 1970-01-01T00:00:00Z"));
    assert!(why(at(1), &[coverage(u64::MAX, u64::MAX)]).is_some());
}

#[test]
fn an_expected_network_nobody_heard_is_a_blind_spot() {
    let nets = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<ipnet::IpNet>>();
    let mut policy = Policy::default();
    policy.sensing.expected = nets(&["10.1.0.0/16", "10.2.3.128/25", "fd00:7::/48", "10.9.0.0/24"]);
    let heard = nets(&["10.1.7.0/24", "10.2.3.0/24", "fd00:7:0:1::/64"]).into_iter().collect();
    let coverage = [Coverage { interface: "eth0".into(), frames: 9, heard, ..Coverage::default() }];
    let said = |last_heard| {
        let sight = Sight { sensor: "s1", last_heard, coverage: &coverage };
        unheard("default", &[sight], &policy, at(1)).into_iter().flat_map(|f| f.reasons).collect::<Vec<_>>()
    };
    assert_eq!(said(at(1)), ["nothing from 10.9.0.0/24 reached any sensor within the last hour: servers there would not be seen"]);
    assert_eq!(said(at(0)), Vec::<String>::new(), "the silence of the sensor itself is what is wrong");
}

#[test]
fn coverage_is_judged_by_what_came_in_between() {
    let coverage = |frames, lost| Coverage {
        interface: "eth0".into(),
        frames,
        lost: [("kernel-drop".to_owned(), lost)].into(),
        ..Coverage::default()
    };
    assert_eq!(coverage(1500, 12).since(&coverage(1000, 10)), coverage(500, 2));
    assert_eq!(coverage(50, 1).since(&coverage(1000, 10)), coverage(50, 1), "the capture began anew");
}

#[test]
fn who_serves_callers_without_a_certificate_is_a_finding_where_the_policy_wants_one() {
    let wants = Policy { client_certificates: true, ..Policy::default() };
    let found = |said: &[(&str, u64)], policy: &Policy| {
        let mut server = server(Facts::default());
        for (signature, day) in said {
            let signature = format!("probe.context.certificate-{signature}");
            let said = Evidence::new(server.place.clone(), Source::Probe, &signature, at(*day)).detail("TLS 1.3");
            server.absorb("s1", &said, &Pack::shipped());
        }
        let findings = detect(&server, &registry([registration("files", "http://10.0.0.5:3001/mcp")]), policy, &Pack::shipped(), at(2));
        findings.iter().map(|f| format!("{}: {}", f.kind, f.reasons[0])).collect::<Vec<_>>()
    };
    let serves = ["no-client-certificate: serves callers without asking for a certificate: TLS 1.3"];
    let optional = ["no-client-certificate: asks for a certificate and serves callers without one: TLS 1.3"];
    assert_eq!(found(&[("not-asked", 1)], &wants), serves);
    assert_eq!(found(&[("required", 1), ("optional", 2)], &wants), optional);
    for (said, policy) in
        [(&[("not-asked", 1), ("required", 2)][..], &wants), (&[][..], &wants), (&[("not-asked", 1)][..], &Policy::default())]
    {
        assert_eq!(found(said, policy), [""; 0]);
    }
}
