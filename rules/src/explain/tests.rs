use super::*;
use crate::{evidence::Evidence, round::tests::Lab};
use expect_test::{Expect, expect};

fn explained(lab: &Lab, subject: &str, what: &Expect) {
    let composed = lab.compose(None);
    let servers: Vec<&Server> = lab.servers.iter().collect();
    let known = Known { site: lab.site(), servers: &servers, matters: &lab.matters, set: Some(&composed.set), held: &composed.held };
    let lines = explain(&subject.parse().unwrap(), &known, lab.now);
    assert!(lines.iter().all(|l| crate::printable::is_printable(l)));
    what.assert_eq(&lines.join("\n"));
}

#[test]
fn the_chain_from_bytes_to_decision() {
    explained(
        &Lab::with_servers(2).ripe(),
        "10.0.0.1:3001",
        &expect![[r#"
            server 10.0.0.1:3001/mcp is confirmed
              wire of sensor s1: wire.server.initialize-result at 1970-01-01T00:00:00Z
              wire of sensor s1: wire.server.tools-result at 1970-01-01T00:00:00Z
              host of sensor s1: host.context.sdk-process at 1970-01-01T00:00:00Z
              because: an answer to initialize with a dated protocolVersion, serverInfo and capabilities
              because: a result listing tools with name and inputSchema
              because: the listening process runs an MCP SDK or a packaged MCP server
              not registered
              owner eve (user of the process)
            finding F-3f83c5387b0102abbbadca9119d4c2f9 shadow is blocked
              because: answers as an MCP server and is not registered
              because: an answer to initialize with a dated protocolVersion, serverInfo and capabilities
              because: a result listing tools with name and inputSchema
              because: the listening process runs an MCP SDK or a packaged MCP server
              opened 1970-01-01T00:00:00Z
              a notice was delivered 1970-01-01T00:00:00Z
              blocked since 1970-01-01T01:00:00Z
            decision: block 10.0.0.1:3001 for 10.0.9.0/24, since 1970-01-01T01:00:00Z, in generation 1"#]],
    );
}

#[test]
fn a_finding_is_explained_by_its_id_alone() {
    let lab = Lab::with_servers(2).ripe();
    let id = lab.matters.keys().next().unwrap().to_string();
    let composed = lab.compose(None);
    let servers: Vec<&Server> = lab.servers.iter().collect();
    let known = Known { site: lab.site(), servers: &servers, matters: &lab.matters, set: Some(&composed.set), held: &[] };
    let lines = explain(&id.parse().unwrap(), &known, lab.now);
    assert_eq!(lines.iter().filter(|l| l.starts_with("finding ")).count(), 1);
    assert_eq!(lines.iter().filter(|l| l.starts_with("server ")).count(), 1);
    assert!(lines.last().unwrap().starts_with("decision: block"));
}

#[test]
fn nothing_that_a_stranger_said_reaches_a_terminal_as_it_was() {
    let mut lab = Lab::with_servers(1);
    let hostile = Evidence {
        detail: "\u{1b}]0;owned\u{7}\n\u{202e}".into(),
        ..Evidence::new(lab.servers[0].place.clone(), Source::Wire, "wire.server.call-result", lab.now)
    };
    lab.servers[0].absorb("s1", &hostile, &lab.pack);
    let lines = explain(
        &"10.0.0.1".parse().unwrap(),
        &Known { site: lab.site(), servers: &[&lab.servers[0]], matters: &lab.matters, set: None, held: &[] },
        lab.now,
    );
    assert!(lines.iter().any(|l| l.contains("\\u{1b}]0;owned\\u{7}\\u{a}\\u{202e}")), "{lines:?}");
    assert!(lines.iter().all(|l| crate::printable::is_printable(l)));
}

#[test]
fn what_cannot_be_explained_says_what_can() {
    assert_eq!(
        "10.0.0.\u{1b}".parse::<Subject>().unwrap_err(),
        "`10.0.0.\\u{1b}` is no address, no ADDRESS:PORT and no finding such as F-1a2b3c4d"
    );
    explained(
        &Lab::with_servers(1),
        "10.9.9.9",
        &expect!["nothing is known of it: no sensor saw anything there, or what it saw was no sign of MCP"],
    );
}
