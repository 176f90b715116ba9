//! Servers as SARIF 2.1.0 (OASIS), for code-scanning dashboards and ticket pipelines.

use crate::{failure::Failure, out, table::word};
use rules::{confidence::Confidence, printable::printable, wire::v1::ServerReport};
use sensor::probe::ScanReport;
use serde_json::{Value, json};
use url::Url;

const RULES: [(&str, &str, &str); 2] = [
    ("shadow-mcp-server", "An MCP server answers here", "Register it, or shut it down."),
    ("exposed-mcp-server", "An MCP server is open to more than it should be", "Ask for authentication, check Host, and use TLS."),
];

pub(super) fn print(reports: &[ServerReport], scan: &ScanReport) -> Result<(), Failure> {
    out::object(&log(reports, scan))
}

fn log(reports: &[ServerReport], scan: &ScanReport) -> Value {
    let rules: Vec<Value> =
        RULES.iter().map(|(id, short, help)| json!({"id": id, "shortDescription": {"text": short}, "help": {"text": help}})).collect();
    let results: Vec<Value> = reports.iter().flat_map(|r| [Some(found(r)), exposed(r)]).flatten().collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "gnomon", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [{
                "executionSuccessful": !scan.stopped,
                "properties": {"addresses": scan.addresses, "endpoints": scan.endpoints, "packets": scan.packets, "connections": scan.connections, "requests": scan.requests},
            }],
            "results": results,
        }],
    })
}

fn found(r: &ServerReport) -> Value {
    let level = match r.confidence {
        Confidence::Confirmed => "error",
        Confidence::Probable => "warning",
        Confidence::Candidate => "note",
    };
    let why = r.reasons.first().map(|w| format!(": {w}")).unwrap_or_default();
    let name = r.server_info.as_ref().map(|i| format!(" `{}`", i.name)).unwrap_or_default();
    result(r, 0, level, &format!("An MCP server{name} answers here; {}{why}", r.confidence.as_str()))
}

fn exposed(r: &ServerReport) -> Option<Value> {
    let all = r.exposures.iter().map(word).collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then(|| result(r, 1, "warning", &format!("This MCP server is exposed: {all}")))
}

fn result(r: &ServerReport, rule: usize, level: &str, text: &str) -> Value {
    json!({
        "ruleId": RULES[rule].0,
        "ruleIndex": rule,
        "level": level,
        "message": {"text": printable(text, 1000)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(r)}}}],
        "partialFingerprints": {"place/v1": printable(&r.key, 1000)},
    })
}

/// A valid URI (RFC 3986) whatever the path holds.
fn uri(r: &ServerReport) -> String {
    let scheme = if r.tls == Some(true) { "https" } else { "http" };
    let origin = format!("{scheme}://{}/", std::net::SocketAddr::new(r.address, r.port));
    match Url::parse(&origin) {
        Ok(mut url) => {
            url.set_path(r.path.as_deref().unwrap_or("/"));
            url.into()
        }
        Err(_) => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;
    use rules::{
        Timestamp,
        endpoint::Place,
        evidence::{Evidence, Exposure, Facts, Source},
    };

    #[test]
    fn a_server_is_a_result_with_a_valid_place() {
        let place = Place::new("[fd00::5]:3001".parse().unwrap()).with_target("/a b\"/\u{202e}mcp");
        let facts = Facts { exposures: [Exposure::NoAuth].into(), ..Facts::default() };
        let mut tally = Tally::new();
        tally.take(&Evidence::new(place, Source::Probe, "probe.server.discover-result", Timestamp::UNIX_EPOCH).facts(facts));
        let log = log(&tally.reports(), &ScanReport::default());
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        for r in results {
            let uri = r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.starts_with("http://[fd00::5]:3001/a%20b") && uri.is_ascii() && !uri.contains('"'), "{uri}");
            let rule = r["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][rule]["id"], r["ruleId"]);
            assert!(["error", "warning", "note"].contains(&r["level"].as_str().unwrap()));
        }
    }
}
