//! Real servers and clients of the official SDKs, as people run them, in both eras.

mod cast;
mod rust;

use crate::lab;
use cast::{ALL, Real};
use gnomon::demo::{
    product::{Product, until},
    stage::{Stage, v4},
};
use rules::{confidence::Confidence, evidence::Source, wire::v1::ServerReport};
use serde_json::Value;
use std::{process::Command, time::Duration};

const SOON: Duration = Duration::from_secs(40);

/// What a command that prints one server per line found. Exit code 1 says that it found some.
fn reports(command: &mut Command) -> Vec<ServerReport> {
    let done = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(matches!(done.status.code(), Some(0 | 1)), "{:?}: {}\n{err}", command.get_args().collect::<Vec<_>>(), done.status);
    out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|why| panic!("{why}: {l}"))).collect()
}

fn found<'a>(reports: &'a [ServerReport], real: &Real) -> Option<&'a ServerReport> {
    reports.iter().find(|r| r.address == v4(real.n) && r.port == real.port && r.path.as_deref() == Some(real.path))
}

/// Runs a real client against `url` and gives the line it printed.
fn talk(stage: &Stage, client: &[String], url: &str, key: Option<&str>) -> Value {
    let mut command = stage.agent.command("timeout");
    command.arg("60").args(client).arg(url).args(key);
    let done = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{client:?} {url}: {}\n{out}\n{err}", done.status);
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_else(|why| panic!("{why}: {out}"))
}

#[test]
fn each_witness_knows_each_real_server() {
    let Some(mut lab) = lab::enter() else { return };
    let stage = &mut lab.stage;
    let reals: Vec<Real> = ALL.iter().map(|one| one.start(stage)).collect();

    let heard = stage.path("watch.ndjson");
    let mut watch = stage.gnomon(&stage.router);
    watch.args(["--json", "watch", "--interface", "servers"]).stdout(std::fs::File::create(&heard).unwrap());
    watch.stderr(std::fs::File::create(stage.path("watch.txt")).unwrap());
    let watching = stage.world.spawn(&mut watch).unwrap();
    // The same by three threads.
    let shared = stage.path("shared.ndjson");
    let mut watch = stage.gnomon(&stage.router);
    watch.args(["--json", "watch", "--interface", "servers", "--threads", "3"]).stdout(std::fs::File::create(&shared).unwrap());
    watch.stderr(std::fs::File::create(stage.path("shared.txt")).unwrap());
    let sharing = stage.world.spawn(&mut watch).unwrap();
    // Its first words say that it listens; a frame before them proves nothing.
    std::thread::sleep(Duration::from_millis(1500));
    for real in &reals {
        for client in real.clients() {
            let said = talk(stage, &client, &real.url(), None);
            assert_eq!(said["steps"].as_u64().unwrap_or(0) >= 1, real.counts(), "{}: {said}", real.name);
            assert!(said["find"].as_str().unwrap().contains("ada"), "{}: {said}", real.name);
        }
    }
    // Connections that end take their time; nothing is to come when the two stop.
    std::thread::sleep(Duration::from_millis(1500));
    for process in [watching, sharing] {
        stage.world.end(process);
    }
    let [wire, shared]: [Vec<ServerReport>; 2] =
        [&heard, &shared].map(|said| std::fs::read_to_string(said).unwrap().lines().filter_map(|l| serde_json::from_str(l).ok()).collect());
    let counted = |said: &str| -> (u64, String) {
        let said = std::fs::read_to_string(stage.path(said)).unwrap();
        let (frames, lost) = said.strip_prefix("servers: ").and_then(|s| s.split_once(" frames")).unwrap_or_else(|| panic!("{said}"));
        (frames.parse().unwrap(), lost.to_owned())
    };
    let (one, three) = (counted("watch.txt"), counted("shared.txt"));
    // A multicast report may fall between the two beginnings; a conversation is more than that.
    assert!(one.0 > 100 && one.0.abs_diff(three.0) <= 3 && one.1 == three.1, "one thread counted {one:?}, three {three:?}");

    let mut scan = stage.gnomon(&stage.hq);
    let ports = reals.iter().map(|r| r.port.to_string()).collect::<Vec<_>>().join(",");
    scan.args(["--json", "scan", "--ports", &ports]).args(reals.iter().map(|r| v4(r.n).to_string()));
    let probe = reports(&mut scan);

    for real in &reals {
        let name = real.name;
        for (source, reports) in [(Source::Wire, &wire), (Source::Wire, &shared), (Source::Probe, &probe)] {
            let report = found(reports, real).unwrap_or_else(|| panic!("{name} was not found by {source:?}: {reports:#?}"));
            assert_eq!(report.confidence, Confidence::Confirmed, "{name} by {source:?}: {report:#?}");
            assert!(report.sources.contains(&source), "{name}");
        }
        let heard = found(&wire, real).unwrap();
        assert!(heard.tools.iter().any(|t| t == real.tool()), "{name}: tools {:?}", heard.tools);
        let host = reports(stage.gnomon(&real.host).args(["--json", "inventory"]));
        let listening = host.iter().find(|r| r.port == real.port).unwrap_or_else(|| panic!("{name} was not seen on its host: {host:#?}"));
        assert!(listening.processes.iter().any(|p| format!("{p:?}").contains(real.program)), "{name}: {:?}", listening.processes);
    }
}

/// A sensor that only reads its own host.
const HOST_ONLY: &str = "[sensor.capture]\nenabled = false\n\n[sensor.host]\nevery = \"2s\"\n";

#[test]
fn three_witnesses_agree_and_real_clients_call_through_the_gateway() {
    let Some(mut lab) = lab::enter() else { return };
    let reals: Vec<Real> = ALL.iter().map(|one| one.start(&mut lab.stage)).collect();
    let (numbers, ports): (Vec<u8>, Vec<u16>) = reals.iter().map(|r| (r.n, r.port)).unzip();
    let toml = lab.settings(1, Duration::from_secs(60), &numbers, &ports).toml();
    let router = lab.stage.router.clone();
    let product = Product::prepare(&lab.stage, &router, "gnomon", &toml).unwrap();
    product.up(&mut lab.stage).unwrap_or_else(|why| panic!("{why}\n{}", lab::words(&lab.stage, &["up"])));
    let host_only = lab.stage.path("host.toml");
    std::fs::write(&host_only, HOST_ONLY).unwrap();
    for real in &reals {
        let name = format!("on-{}", real.name);
        lab.join(&product, &real.host, "sensor", &name, &["--config", host_only.to_str().unwrap()]);
    }
    for real in &reals {
        let client = real.clients().into_iter().next().unwrap();
        talk(&lab.stage, &client, &real.url(), None);
    }
    for real in &reals {
        let fused = until(SOON, || {
            let all = product.servers()?;
            let report = found(&all, real).ok_or_else(|| format!("{} is not known", real.name))?;
            let whole = report.confidence == Confidence::Confirmed && report.sources.len() == 3;
            if whole { Ok(report.clone()) } else { Err(format!("{}: {:?} by {:?}", real.name, report.confidence, report.sources)) }
        });
        let fused = fused.unwrap_or_else(|why| panic!("{why}\n{}", lab::words(&lab.stage, &["up", &format!("on-{}", real.name)])));
        assert!(fused.processes.iter().any(|p| p.command.contains(real.program)), "{}: {:?}", real.name, fused.processes);
    }

    let key = lab.ask(&product, &["keys", "issue", "agents"]);
    let key = key.iter().find_map(|v| v.pointer("/key/key").or(v.get("key"))?.as_str()).unwrap_or_else(|| panic!("{key:?}"));
    // HTTP+SSE of 2024-11-05 has two endpoints and no place behind a gateway with one.
    for real in reals.iter().filter(|r| r.path == "/mcp") {
        let (slug, backend) = (real.name, real.url());
        lab.ask(&product, &["registry", "add", "--slug", slug, "--owner", "lab", "--contact", "lab@corp.example", "--url", &backend]);
        lab.ask(&product, &["keys", "grant", "agents", "--server", slug, "--tool", real.granted()]);
        let url = format!("http://{}:7413/mcp/v1/tools/{slug}/rpc", v4(1));
        for client in real.clients() {
            let said = talk(&lab.stage, &client, &url, Some(key));
            let tools: Vec<&str> = said["tools"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(tools.join(","), real.granted(), "{slug} by {client:?}: {said}");
            assert!(said["find"].as_str().unwrap().contains("ada"), "{slug}: {said}");
            assert_eq!(said["steps"].as_u64().unwrap_or(0) >= 1, real.counts(), "{slug}: progress does not stream: {said}");
            let erase = said["erase"].as_str().unwrap();
            assert!(erase.starts_with("error: ") && erase.contains("nknown tool"), "{slug}: a denied tool is not unknown: {said}");
        }
    }
}
