use super::*;
use crate::{
    endpoint::Place,
    evidence::{Client, Evidence, Facts, Source},
    pack::Pack,
    server::Server,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A server on TLS, with what probes said and when.
fn report(address: &str, host: &str, said: &[(&str, &str)], client: Option<&str>) -> ServerReport {
    let place = Place::new(format!("{address}:443").parse().unwrap()).with_target("/mcp").with_host(host);
    let mut server = Server::new("default", place.clone(), at("2026-11-02T00:00:00Z"));
    let client = client.map(|c| Client { address: c.parse().unwrap(), software: None });
    let facts = Facts { tls: Some(true), client, ..Facts::default() };
    let seen = Evidence::new(place.clone(), Source::Wire, "wire.server.initialize-result", at("2026-11-20T00:00:00Z")).facts(facts);
    server.absorb("s1", &seen, &Pack::shipped());
    for (signature, when) in said {
        let signature = format!("probe.context.certificate-{signature}");
        let said = Evidence::new(place.clone(), Source::Probe, &signature, at(when)).detail("POST /mcp initialize -> 200");
        server.absorb("s1", &said, &Pack::shipped());
    }
    ServerReport::new(&server, &Pack::shipped())
}

fn issued(names: &[&str], from: &str, to: &str) -> Issued {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    Issued { serial: "1".into(), names, at: at(from), expires: Some(at(to)) }
}

#[test]
fn what_is_missing_is_said_server_by_server() {
    let servers = [
        report(
            "10.0.0.1",
            "files.corp.example",
            &[("not-asked", "2026-10-01T00:00:00Z"), ("required", "2026-11-03T00:00:00Z")],
            Some("10.0.9.9"),
        ),
        report("10.0.0.2", "wiki.corp.example", &[("required", "2026-10-01T00:00:00Z"), ("optional", "2026-11-03T00:00:00Z")], None),
        report("10.0.0.3", "old.lab", &[("not-asked", "2026-11-03T00:00:00Z")], None),
        report("10.0.0.4", "new.lab", &[], None),
    ];
    let log = [
        issued(&["files.corp.example"], "2026-11-01T00:00:00Z", "2026-12-15T00:00:00Z"),
        issued(&["agent-7", "10.0.9.9"], "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
        issued(&["*.corp.example"], "2026-10-01T00:00:00Z", "2026-11-15T00:00:00Z"),
        issued(&["old.lab"], "2026-09-01T00:00:00Z", "2026-10-31T00:00:00Z"),
        issued(&["new.lab"], "2026-12-01T00:00:00Z", "2026-12-31T00:00:00Z"),
    ];
    let said: Vec<String> = standings("2026-11".parse().unwrap(), &servers, &log)
        .into_iter()
        .map(|s| format!("{} {:?} {}+{}: {}", s.host.unwrap(), s.asking, s.issued_to_it, s.issued_to_clients, s.gaps.join("; ")))
        .collect();
    expect_test::expect![[r#"
        files.corp.example Some(Required) 2+1: 
        wiki.corp.example Some(Optional) 1+0: serves callers without a certificate; its last certificate ended at 2026-11-15T00:00:00Z
        old.lab Some(NotAsked) 0+0: asks no caller for a certificate; no certificate in the log names it
        new.lab None 0+0: no probe has asked it; no certificate in the log names it"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn a_server_of_another_month_is_not_in_it() {
    let servers = [report("10.0.0.1", "files.corp.example", &[], None)];
    assert_eq!(standings("2026-10".parse().unwrap(), &servers, &[]).len(), 0);
    assert_eq!(standings("2026-12".parse().unwrap(), &servers, &[]).len(), 0);
}

#[test]
fn a_month_is_written_in_one_way() {
    let month: Month = "2026-12".parse().unwrap();
    assert_eq!((month.first, month.end), (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z")));
    for wrong in ["2026", "2026-13", "2026-1", "26-11", "2026-11-01", "-1-11", ""] {
        assert!(wrong.parse::<Month>().is_err(), "{wrong}");
    }
}
