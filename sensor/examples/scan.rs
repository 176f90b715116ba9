//! `scan TARGET… --ports P,Q --json`: NDJSON, one object per server.
use rules::{pack::Pack, server::Server, wire::v1::ServerReport};
use std::collections::BTreeMap;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = sensor::probe::ScanConfig::default();
    let mut args = std::env::args().skip(1).filter(|a| a != "scan");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--ports" => config.ports = args.next().unwrap_or_default().split(',').filter_map(|p| p.parse().ok()).collect(),
            "--no-legacy-get" => config.legacy_get = false,
            "--dry-run" => config.dry_run = true,
            "--json" => {}
            target => config.targets.push(target.to_owned()),
        }
    }
    let (out, mut found) = tokio::sync::mpsc::channel(64);
    let scan = tokio::spawn(sensor::probe::scan(config, out, tokio_util::sync::CancellationToken::new()));
    let pack = Pack::shipped();
    let mut servers: BTreeMap<String, Server> = BTreeMap::new();
    while let Some(evidence) = found.recv().await {
        let server =
            servers.entry(evidence.place.to_string()).or_insert_with(|| Server::new("default", evidence.place.clone(), evidence.at));
        server.absorb("scan", &evidence, &pack);
    }
    let report = scan.await??;
    for server in servers.values() {
        println!("{}", serde_json::to_string(&ServerReport::from((server, &pack)))?);
    }
    eprintln!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
