use super::*;
use crate::{
    evidence::{Client, Evidence, Facts},
    finding::FindingId,
};
use expect_test::expect;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn server() -> Server {
    let place = crate::endpoint::Place::new("10.77.1.40:3001".parse().unwrap()).with_target("/mcp").with_host("everything.corp.example");
    let mut server = Server::new("default", place.clone(), at("2026-11-20T12:00:00Z"));
    let facts = Facts {
        transport: Some(Transport::StreamableHttp),
        revisions: ["2025-11-25".to_owned()].into(),
        auth: Some(Auth::None),
        tls: Some(false),
        server_info: Some(Implementation { name: "everything".into(), version: Some("1.0".into()) }),
        tools: ["echo".to_owned()].into(),
        client: Some(Client { address: "10.77.1.21".parse().unwrap(), software: None }),
        ..Facts::default()
    };
    let evidence = Evidence::new(place, Source::Wire, "wire.server.initialize-result", at("2026-11-20T12:00:00Z"));
    server.absorb("s1", &evidence.detail("protocolVersion 2025-11-25").facts(facts), &Pack::shipped());
    server
}

/// Scripts read these names; a change here is a change of the published shape.
#[test]
fn a_server_prints_with_the_published_names() {
    let json = serde_json::to_string_pretty(&ServerReport::from((&server(), &Pack::shipped()))).unwrap();
    expect![[r#"
        {
          "key": "default/10.77.1.40:3001/mcp",
          "site": "default",
          "address": "10.77.1.40",
          "port": 3001,
          "path": "/mcp",
          "host": "everything.corp.example",
          "confidence": "confirmed",
          "actively_confirmed": false,
          "witnesses": [
            "wire"
          ],
          "transports": [
            "streamable-http"
          ],
          "revisions": [
            "2025-11-25"
          ],
          "tls": false,
          "auth": "none",
          "server_info": {
            "name": "everything",
            "version": "1.0"
          },
          "tools": [
            "echo"
          ],
          "names": [],
          "clients": [
            "10.77.1.21"
          ],
          "owner": null,
          "registered_as": null,
          "exposures": [],
          "processes": [],
          "shares_endpoint_with": [],
          "first_seen": "2026-11-20T12:00:00Z",
          "last_seen": "2026-11-20T12:00:00Z",
          "gone_at": null,
          "reasons": [
            "an answer to initialize with a dated protocolVersion, serverInfo and capabilities"
          ],
          "evidence": [
            {
              "witness": "wire",
              "mark": "wire.server.initialize-result",
              "detail": "protocolVersion 2025-11-25",
              "at": "2026-11-20T12:00:00Z",
              "last": "2026-11-20T12:00:00Z",
              "count": 1,
              "sensor": "s1"
            }
          ],
          "dropped": {}
        }"#]]
    .assert_eq(&json);
}

#[test]
fn a_finding_prints_with_the_published_names() {
    let finding = Finding {
        id: FindingId::derive(FindingKind::Shadow, "default/10.77.1.40:3001/mcp"),
        kind: FindingKind::Shadow,
        severity: Severity::High,
        site: "default".into(),
        place: Some(server().place),
        slug: None,
        owner: None,
        reasons: vec!["answers as an MCP server and is not registered".into()],
        corroborated: false,
        sensors: 1,
        shared_with: Vec::new(),
        last_seen: at("2026-11-20T12:00:00Z"),
    };
    let case = Case { notified_at: Some(at("2026-11-20T13:00:00Z")), ..Case::open(at("2026-11-20T12:00:00Z")) };
    let report = FindingReport::new(&finding, &case, &Policy::default(), at("2026-11-01T00:00:00Z"), at("2026-11-21T00:00:00Z"));
    expect![[r#"
        {
          "id": "F-b73c8fac882a1668870740630ac7e136",
          "kind": "shadow",
          "severity": "high",
          "site": "default",
          "address": "10.77.1.40",
          "port": 3001,
          "path": "/mcp",
          "host": "everything.corp.example",
          "slug": null,
          "owner": null,
          "last_seen": "2026-11-20T12:00:00Z",
          "corroborated": false,
          "shared_with": [],
          "rung": "open",
          "opened_at": "2026-11-20T12:00:00Z",
          "notified_at": "2026-11-20T13:00:00Z",
          "deadline": "2027-01-30T00:00:00Z",
          "blocked_at": null,
          "exemption": null,
          "snoozed_until": null,
          "closed": null,
          "closed_at": null,
          "standing": "due at 2027-01-30T00:00:00Z; as things stand no block will follow: the site is not in hard mode",
          "reasons": [
            "answers as an MCP server and is not registered"
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&report).unwrap());
}
