//! The published shapes, written out. The nouns serve as wire shapes as long as these hold: a noun may grow a field with a
//! default, it may not change what is printed here. The day one must, it gets a shape of its own in this module.

use super::*;
use crate::{
    decision::{Action, Decision, DecisionSet},
    endpoint::Place,
    evidence::{Auth, Client, Evidence, Exposure, Facts, Implementation, Owner, OwnerSource, Process, Source, Transport},
    finding::{FindingId, FindingKind},
    observation::{Applied, Coverage, Outcome},
    period::Period,
    registry::{Backend, Lifecycle, Registration},
};
use expect_test::{Expect, expect};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Prints as published, and reads back as the same.
fn published<T>(value: &T, text: &Expect)
where
    T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_string_pretty(value).unwrap();
    text.assert_eq(&json);
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value);
}

#[test]
fn a_batch_with_everything_a_sensor_can_say() {
    let when = at("2026-11-20T12:00:00Z");
    let place = Place::new("[2001:db8::5]:3001".parse().unwrap()).with_target("/mcp").with_host("tools.corp.example");
    let facts = Facts {
        transport: Some(Transport::StatelessHttp),
        revisions: ["2026-07-28".to_owned()].into(),
        auth: Some(Auth::ApiKey),
        tls: Some(true),
        server_info: Some(Implementation { name: "files".into(), version: None }),
        tools: ["read".to_owned()].into(),
        names: ["everything.corp.example".to_owned()].into(),
        client: Some(Client { address: "10.0.9.2".parse().unwrap(), software: None }),
        process: Some(Process {
            pid: 1,
            executable: "/usr/bin/node".into(),
            command: "node server.js".into(),
            user: "eve".into(),
            unit: None,
            container: None,
            bound: "::".parse().unwrap(),
        }),
        owner: Some(Owner { name: "eve".into(), source: OwnerSource::ProcessUser }),
        exposures: [Exposure::NoAuth, Exposure::WildcardBind, Exposure::ForeignHostAccepted, Exposure::NoTls].into(),
    };
    let evidence = Evidence::new(place, Source::Probe, "probe.server.discover-result", when).detail("supportedVersions").facts(facts);
    let bare = Evidence::new(Place::new("10.0.0.5:80".parse().unwrap()), Source::Wire, "wire.context.port", when);
    let applied = Applied {
        point: "edge".into(),
        generation: 42,
        outcome: Outcome::DryRun,
        elements: 3,
        reason: String::new(),
        status: Default::default(),
    };
    let coverage = Coverage { interface: "eth0".into(), frames: 9, lost: [("kernel-drop".to_owned(), 1)].into(), ..Coverage::default() };
    let said = [
        Said::Evidence(Box::new(evidence)),
        Said::Evidence(Box::new(bare)),
        Said::Coverage(coverage),
        Said::Applied(applied),
        Said::Gap { from_seq: 1, to_seq: 4, reason: "the spool was full".into() },
    ];
    let records = said.into_iter().zip(5..).map(|(said, seq)| Record { seq, at: when, said }).collect();
    published(
        &Batch { sensor: "s1".into(), epoch: 2, records },
        &expect![[r#"
        {
          "sensor": "s1",
          "epoch": 2,
          "records": [
            {
              "seq": 5,
              "at": "2026-11-20T12:00:00Z",
              "said": {
                "kind": "evidence",
                "place": {
                  "endpoint": {
                    "address": "2001:db8::5",
                    "port": 3001
                  },
                  "path": "/mcp",
                  "host": "tools.corp.example"
                },
                "witness": "probe",
                "mark": "probe.server.discover-result",
                "detail": "supportedVersions",
                "at": "2026-11-20T12:00:00Z",
                "facts": {
                  "transport": "stateless-http",
                  "revisions": [
                    "2026-07-28"
                  ],
                  "auth": "api-key",
                  "tls": true,
                  "server_info": {
                    "name": "files",
                    "version": null
                  },
                  "tools": [
                    "read"
                  ],
                  "names": [
                    "everything.corp.example"
                  ],
                  "client": {
                    "address": "10.0.9.2",
                    "software": null
                  },
                  "process": {
                    "pid": 1,
                    "executable": "/usr/bin/node",
                    "command": "node server.js",
                    "user": "eve",
                    "unit": null,
                    "container": null,
                    "bound": "::"
                  },
                  "owner": {
                    "name": "eve",
                    "source": "process-user"
                  },
                  "exposures": [
                    "no-auth",
                    "wildcard-bind",
                    "foreign-host-accepted",
                    "no-tls"
                  ]
                }
              }
            },
            {
              "seq": 6,
              "at": "2026-11-20T12:00:00Z",
              "said": {
                "kind": "evidence",
                "place": {
                  "endpoint": {
                    "address": "10.0.0.5",
                    "port": 80
                  },
                  "path": null,
                  "host": null
                },
                "witness": "wire",
                "mark": "wire.context.port",
                "detail": "",
                "at": "2026-11-20T12:00:00Z",
                "facts": {}
              }
            },
            {
              "seq": 7,
              "at": "2026-11-20T12:00:00Z",
              "said": {
                "kind": "coverage",
                "interface": "eth0",
                "frames": 9,
                "lost": {
                  "kernel-drop": 1
                }
              }
            },
            {
              "seq": 8,
              "at": "2026-11-20T12:00:00Z",
              "said": {
                "kind": "applied",
                "point": "edge",
                "generation": 42,
                "outcome": "dry-run",
                "elements": 3,
                "reason": "",
                "standing": {
                  "in_force": 0,
                  "enforces": false,
                  "desired": 0,
                  "enforced": 0,
                  "withheld": 0,
                  "on_trial": false,
                  "held_back": null,
                  "stopped": null,
                  "acts": [],
                  "labels": [],
                  "bypasses": [],
                  "attempts": [],
                  "attempts_lost": 0
                }
              }
            },
            {
              "seq": 9,
              "at": "2026-11-20T12:00:00Z",
              "said": {
                "kind": "gap",
                "from_seq": 1,
                "to_seq": 4,
                "reason": "the spool was full"
              }
            }
          ]
        }"#]],
    );
    published(
        &Ack { epoch: 2, seq: 9 },
        &expect![[r#"
        {
          "epoch": 2,
          "seq": 9
        }"#]],
    );
}

#[test]
fn a_decision_set() {
    let finding = FindingId::derive(FindingKind::Shadow, "x");
    let decision = |endpoint: &str, action| Decision {
        endpoint: endpoint.parse().unwrap(),
        finding: finding.clone(),
        action,
        reason: "answers as an MCP server and is not registered".into(),
        since: at("2026-11-20T12:00:00Z"),
        at: vec![],
    };
    let set = DecisionSet {
        site: "default".into(),
        generation: 42,
        issued_at: at("2026-11-21T00:00:00Z"),
        not_after: at("2026-11-28T00:00:00Z"),
        agents: vec!["10.0.9.0/24".parse().unwrap(), "2001:db8:9::/64".parse().unwrap()],
        protected: vec!["10.0.0.0/28".parse().unwrap()],
        protected_endpoints: vec!["10.0.0.9:7413".parse().unwrap()],
        lease: Period::seconds(900),
        decisions: vec![decision("10.0.0.5:3001", Action::Block), decision("[2001:db8::5]:3001", Action::Shadow)],
        rollout: None,
    };
    published(
        &set,
        &expect![[r#"
            {
              "site": "default",
              "generation": 42,
              "issued_at": "2026-11-21T00:00:00Z",
              "not_after": "2026-11-28T00:00:00Z",
              "agents": [
                "10.0.9.0/24",
                "2001:db8:9::/64"
              ],
              "protected": [
                "10.0.0.0/28"
              ],
              "protected_endpoints": [
                {
                  "address": "10.0.0.9",
                  "port": 7413
                }
              ],
              "lease": "15m",
              "decisions": [
                {
                  "endpoint": {
                    "address": "10.0.0.5",
                    "port": 3001
                  },
                  "finding": "F-b0a9e71adebad923105ebb75f5eaaadb",
                  "action": "block",
                  "reason": "answers as an MCP server and is not registered",
                  "since": "2026-11-20T12:00:00Z"
                },
                {
                  "endpoint": {
                    "address": "2001:db8::5",
                    "port": 3001
                  },
                  "finding": "F-b0a9e71adebad923105ebb75f5eaaadb",
                  "action": "shadow",
                  "reason": "answers as an MCP server and is not registered",
                  "since": "2026-11-20T12:00:00Z"
                }
              ]
            }"#]],
    );
}

#[test]
fn a_bundle_and_what_carries_it() {
    let registration = Registration {
        slug: "files".into(),
        name: "Files".into(),
        description: String::new(),
        version: "1.2.0".into(),
        owner: "platform".into(),
        contact: "platform@corp.example".into(),
        backends: vec![Backend { url: "http://10.0.0.9:8000/mcp".parse().unwrap(), addresses: ["10.0.0.9".parse().unwrap()].into() }],
        transport: Some(Transport::StreamableHttp),
        lifecycle: Lifecycle::Deprecated { since: at("2026-11-01T00:00:00Z"), sunset: Some(at("2027-01-01T00:00:00Z")) },
        tools: ["read".to_owned()].into(),
        revision: 3,
        registered_at: at("2026-10-01T00:00:00Z"),
        registered_by: "ann".into(),
    };
    let grant = Grant { id: "g1".into(), tenant: "acme".into(), subject: None, slug: "files".into(), tools: vec!["*".into()] };
    let registry = Registry { revision: 7, registrations: [("files".to_owned(), registration)].into() };
    let tenants = vec![Tenant { name: "acme".into(), secrets: vec!["c2VjcmV0".into()], keys: vec!["n1".into()] }];
    published(
        &Bundle { generation: 8, registry, grants: vec![grant], tenants },
        &expect![[r#"
        {
          "generation": 8,
          "registry": {
            "revision": 7,
            "registrations": {
              "files": {
                "slug": "files",
                "name": "Files",
                "description": "",
                "version": "1.2.0",
                "owner": "platform",
                "contact": "platform@corp.example",
                "backends": [
                  {
                    "url": "http://10.0.0.9:8000/mcp",
                    "addresses": [
                      "10.0.0.9"
                    ]
                  }
                ],
                "transport": "streamable-http",
                "lifecycle": {
                  "state": "deprecated",
                  "since": "2026-11-01T00:00:00Z",
                  "sunset": "2027-01-01T00:00:00Z"
                },
                "tools": [
                  "read"
                ],
                "revision": 3,
                "registered_at": "2026-10-01T00:00:00Z",
                "registered_by": "ann"
              }
            }
          },
          "grants": [
            {
              "id": "g1",
              "tenant": "acme",
              "subject": null,
              "slug": "files",
              "tools": [
                "*"
              ]
            }
          ],
          "tenants": [
            {
              "name": "acme",
              "secrets": [
                "c2VjcmV0"
              ],
              "keys": [
                "n1"
              ]
            }
          ]
        }"#]],
    );
    let signed =
        Signed { domain: Signed::BUNDLE.into(), key_id: "0123456789abcdef".into(), payload: "e30=".into(), signature: "AAAA".into() };
    published(
        &signed,
        &expect![[r#"
        {
          "domain": "gnomon.bundle.v1",
          "key_id": "0123456789abcdef",
          "payload": "e30=",
          "signature": "AAAA"
        }"#]],
    );
}

#[test]
fn a_newer_peer_may_say_more() {
    let json = r#"{"sensor":"s1","epoch":1,"mood":"good","records":[{"seq":1,"at":"2026-11-20T12:00:00Z","weather":null,
        "said":{"kind":"coverage","interface":"eth0","frames":1,"lost":{},"temperature":21}}]}"#;
    assert_eq!(serde_json::from_str::<Batch>(json).unwrap().records.len(), 1);
}
