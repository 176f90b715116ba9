//! Real captures with their ground truth: what is an MCP server is found, what is not is left alone.
//!
//! `TRACES=/path/to/captures cargo test -p sensor --test traces -- --nocapture` reads another folder with a manifest.

mod truth;

use rules::{
    confidence::Confidence,
    endpoint::{Endpoint, Place},
    evidence::Evidence,
    pack::Pack,
    server::Server,
};
use sensor::capture::replay;
use std::collections::{BTreeMap, BTreeSet};
use truth::{folder, traces};

fn servers(evidence: &[Evidence], pack: &Pack) -> BTreeMap<Place, Server> {
    let mut servers: BTreeMap<Place, Server> = BTreeMap::new();
    for e in evidence {
        servers.entry(e.place.clone()).or_insert_with(|| Server::new("default", e.place.clone(), e.at)).absorb("test", e, pack);
    }
    servers
}

#[test]
fn every_server_is_found_and_no_look_alike() {
    let pack = Pack::shipped();
    let (mut wrong, mut right) = (Vec::new(), 0);
    for trace in traces() {
        let mut evidence = Vec::new();
        let coverage = replay::watch_file(&folder().join(&trace.file), &mut |e| evidence.push(e)).unwrap();
        let servers = servers(&evidence, &pack);
        let mut best: BTreeMap<Endpoint, Confidence> = BTreeMap::new();
        for (place, server) in &servers {
            let confidence = server.judgement(&pack).confidence;
            let known = best.entry(place.endpoint).or_insert(confidence);
            *known = (*known).max(confidence);
            if std::env::var_os("TRACES").is_some() {
                println!(
                    "{} {place} {:?} {confidence:?} {:?} {:?} {:?} {:?} {:?} clients {:?}",
                    trace.file,
                    place.host,
                    server.profile.transports,
                    server.profile.revisions,
                    server.profile.auth,
                    server.profile.server_info.as_ref().map(|i| &i.name),
                    server.profile.tools.len(),
                    server.clients.len()
                );
                for t in &server.testimonies {
                    println!("      {} x{} `{}`", t.signature, t.count, t.detail);
                }
            }
        }
        if std::env::var_os("TRACES").is_some() {
            println!("   {} lost {:?}", trace.file, coverage.lost);
        }
        let mcp: BTreeSet<Endpoint> = trace.endpoints.iter().filter(|t| t.label == "mcp").map(|t| Endpoint::new(t.ip, t.port)).collect();
        for endpoint in &mcp {
            let hidden = trace
                .endpoints
                .iter()
                .filter(|t| t.label == "mcp" && Endpoint::new(t.ip, t.port) == *endpoint)
                .all(|t| t.tls || t.expect == "candidate");
            let wanted = if hidden { Confidence::Candidate } else { Confidence::Probable };
            match best.get(endpoint) {
                Some(found) if *found >= wanted => right += 1,
                found => wrong.push(format!("{}: {endpoint} should be at least {wanted:?}, is {found:?}", trace.file)),
            }
        }
        for (endpoint, confidence) in best.iter().filter(|(e, c)| !mcp.contains(e) && **c > Confidence::Candidate) {
            wrong.push(format!("{}: {endpoint} is no MCP server, but is {confidence:?}", trace.file));
        }
    }
    assert!(wrong.is_empty(), "{right} right, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
