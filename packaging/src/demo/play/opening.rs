//! The network, the registered path, and discovery.

use super::{
    CAST, DECOYS, IpAddr, Letterbox, NOTES, PORT, Play, Product, SEARCH, SOON, Settings, SocketAddr, Stage, TICKETS, Teller, agent, unset,
    until, url, v4, v6,
};
use crate::{failure::Failure, table::word};
use rules::{confidence::Confidence, evidence::Source, wire::v1::ServerReport};
use std::{path::Path, time::Duration};

/// Builds the network and proves that everything in it works before Gnomon is there.
pub(super) fn network(gnomon: &Path, teller: &mut Teller, day: Duration) -> Result<Play, Failure> {
    teller.scene("An office network, before Gnomon")?;
    teller.say("router .1   servers 10.97.1.0/24 fd97:1::/64   agents 10.97.2.0/25 fd97:2::/112   a person 10.97.2.200")?;
    teller.say("tickets .11 (registered soon)   notes .21, search .22 (nobody asked)   builds .31, till .32, docs .33 (not MCP)")?;
    let mut stage = Stage::build(gnomon).map_err(unset)?;
    for (n, role, name, tools) in CAST {
        let host = stage.server(name, n).map_err(unset)?;
        stage.cast(&host, role, name, tools).map_err(unset)?;
    }
    let webhook = SocketAddr::new(v4(2), 9000);
    let letterbox = Letterbox::open(&stage.hq, webhook).map_err(unset)?;
    let hosts = CAST.map(|(n, ..)| n);
    let settings = Settings {
        day,
        webhook,
        probe: hosts.iter().map(|n| v4(*n).to_string()).chain([v6(NOTES).to_string(), v6(SEARCH).to_string()]).collect(),
        ports: vec![PORT],
        intake: SocketAddr::new(v4(1), 7412),
        gateway: SocketAddr::from(([10, 97, 1, 1], 7413)),
    };
    let router = stage.router.clone();
    let product = Product::prepare(&stage, &router, "gnomon", &settings.toml()).map_err(unset)?;
    let play = Play { stage, product, letterbox, roles: Vec::new(), day, key: String::new() };
    for (what, n, tool) in [("tickets", TICKETS, "list-tickets"), ("notes", NOTES, "read-note"), ("search", SEARCH, "find-page")] {
        let both = play.call(&play.direct(v4(n)), tool).and_then(|said| play.call(&play.direct(v6(n)), tool).map(|_| said));
        teller.claim(&format!("the agent calls {tool} of {what}, over IPv4 and IPv6"), both)?;
    }
    for n in DECOYS {
        let path = if n == 33 { "/mcp" } else { "/" };
        let answered = agent::get(&play.stage.agent, &url(v4(n), PORT, path)).map_err(unset)?;
        teller.claim(&format!("{} answers", v4(n)), answered.map(|s| format!("HTTP {s}")).map_err(|t| t.to_string()))?;
    }
    Ok(play)
}

/// Starts the product; registers one server; calls it through the gateway.
pub(super) fn registered_path(play: &mut Play, teller: &mut Teller) -> Result<(), Failure> {
    teller.scene("Gnomon starts on the router, and the known server is registered")?;
    let up = play.product.up(&mut play.stage).map_err(|why| play.stuck("gnomon up did not start", why))?;
    play.roles.push(("up".to_owned(), up));
    teller.say("router$ gnomon up --config gnomon.toml       sensor, collector, enforcer on the forward hook, gateway")?;
    let urls = [v4(TICKETS), v6(TICKETS)].map(|a| url(a, PORT, "/mcp"));
    let add = ["registry", "add", "--slug", "tickets", "--owner", "helpdesk", "--contact", "helpdesk@corp.example"];
    let add: Vec<&str> = add.into_iter().chain(["--url", &urls[0], "--url", &urls[1]]).collect();
    teller.say(format!("$ gnomon {}", add.join(" ")))?;
    let registered = play.product.ask(&play.stage, &add).map(|_| String::new());
    teller.claim("tickets is registered", registered)?;
    grant(play, teller, "tickets", "list-tickets")?;

    let target = play.through_gateway("tickets");
    let called = until(SOON, || play.call(&target, "list-tickets"));
    teller.claim("the agent calls list-tickets through the gateway, with its key", called)?;
    let listed = agent::tools(&play.stage.agent, &target).map_err(unset)?;
    let only = match listed {
        Ok(tools) if tools == ["list-tickets"] => Ok("tools/list shows list-tickets alone".to_owned()),
        other => Err(format!("tools/list: {}", other.map_or_else(|t| t.to_string(), |tools| tools.join(", ")))),
    };
    teller.claim(
        "a tool that was not granted is unknown",
        only.and_then(|seen| match play.call(&target, "close-ticket") {
            Err(why) => Ok(format!("{seen}; {why}")),
            Ok(said) => Err(format!("close-ticket was let through: {said}")),
        }),
    )?;
    let mut keyless = target.clone();
    keyless.key = None;
    let refused = match agent::call(&play.stage.agent, &keyless, "list-tickets").map_err(unset)? {
        Err(agent::Trouble::Status(401, why)) => Ok(format!("401 {why}")),
        other => Err(agent::outcome(&other)),
    };
    teller.claim("without a key the gateway lets nothing through", refused)?;
    Ok(())
}

/// Lets the agents' tenant use a tool, and gets its first key.
pub(super) fn grant(play: &mut Play, teller: &mut Teller, slug: &str, tool: &str) -> Result<(), Failure> {
    if play.key.is_empty() {
        let issued = play.product.ask(&play.stage, &["keys", "issue", "agents", "--label", "build agents"]);
        let issued = issued.map_err(|why| play.stuck("no key was issued", why))?;
        let key = issued.iter().find_map(key_in).ok_or_else(|| play.stuck("no key was issued", shown(&issued)))?;
        play.key = key;
        teller.say("$ gnomon keys issue agents --label 'build agents'")?;
    }
    teller.say(format!("$ gnomon keys grant agents --server {slug} --tool {tool}"))?;
    let granted = play.product.ask(&play.stage, &["keys", "grant", "agents", "--server", slug, "--tool", tool]);
    granted.map(drop).map_err(|why| play.stuck("nothing was granted", why))
}

/// `tenant.nonce.signature`, wherever the answer has it.
fn key_in(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => (text.split('.').count() == 3 && text.starts_with("agents.")).then(|| text.clone()),
        serde_json::Value::Object(fields) => fields.values().find_map(key_in),
        _ => None,
    }
}

/// Who is found, by whom, and who is not.
pub(super) fn discovery(play: &mut Play, teller: &mut Teller) -> Result<(), Failure> {
    teller.scene("Discovery: the wire, the host, the probe")?;
    host_sensor(play, teller)?;
    // The agent goes about its work: that is what the wire has to tell.
    for (n, tool) in [(NOTES, "read-note"), (SEARCH, "find-page")] {
        for address in [v4(n), v6(n)] {
            play.call(&play.direct(address), tool).map_err(|why| play.stuck("the agent cannot work", why))?;
        }
    }
    let three = [Source::Wire, Source::Host, Source::Probe];
    let two = [Source::Wire, Source::Probe];
    for (name, address, sources) in
        [("notes", v4(NOTES), three.as_slice()), ("notes", v6(NOTES), &two), ("search", v4(SEARCH), &two), ("search", v6(SEARCH), &two)]
    {
        let said = until(SOON, || confirmed(&play.product, address, sources));
        let seen = said.as_ref().map(describe).map_err(Clone::clone);
        let by = sources.iter().map(crate::table::word).collect::<Vec<_>>().join(", ");
        teller.claim(&format!("{name} at {address} is Confirmed, by {by}"), seen)?;
        if address == v4(NOTES)
            && let Ok(server) = said
        {
            evidence(&server, teller)?;
        }
    }
    let quiet = play.product.servers().and_then(|all| {
        let wrong = all.iter().find(|s| DECOYS.iter().any(|n| s.address == v4(*n)) && s.confidence > Confidence::Candidate);
        wrong.map_or(Ok("builds streams events, till answers initialize, docs quotes the protocol".to_owned()), |s| Err(describe(s)))
    });
    teller.claim("what only looks like MCP is not reported", quiet)?;
    let registered = play.product.servers().and_then(|all| {
        let found = all.into_iter().find(|s| s.address == v4(TICKETS) && s.registered_as.is_some());
        found.map(|s| describe(&s)).ok_or_else(|| "tickets was not recognized".to_owned())
    });
    teller.claim("the registered server is recognized as such", registered)?;
    Ok(())
}

/// A sensor on the host of notes, which joins over mTLS with a token that it can use once.
fn host_sensor(play: &mut Play, teller: &mut Teller) -> Result<(), Failure> {
    let issued = play.product.ask(&play.stage, &["tokens", "issue"]);
    let token = issued.as_ref().ok().and_then(|all| all.iter().find_map(|v| v.get("token")?.as_str().map(str::to_owned)));
    let token = token.ok_or_else(|| play.stuck("no enrolment token was issued", issued.map_or_else(|why| why, |all| shown(&all))))?;
    teller.say("notes$ gnomon sensor --collector https://10.97.1.1:7412 --token …")?;
    let notes = play.stage.world.hosts().iter().find(|h| h.name == "notes").cloned();
    let notes = notes.ok_or_else(|| play.stuck("there is no host", "notes"))?;
    let mut command = play.stage.gnomon(&notes);
    command.args(["--log", "info", "--data"]).arg(play.stage.path("sensor-notes"));
    command.args(["sensor", "--collector", "https://10.97.1.1:7412", "--token", &token]);
    let sensor = play.stage.spawn(&mut command, "sensor").map_err(unset)?;
    play.roles.push(("sensor".to_owned(), sensor));
    Ok(())
}

fn confirmed(product: &Product, address: IpAddr, sources: &[Source]) -> Result<ServerReport, String> {
    let all = product.servers()?;
    let here: Vec<ServerReport> = all.into_iter().filter(|s| s.address == address).collect();
    let whole = here.iter().find(|s| s.confidence == Confidence::Confirmed && sources.iter().all(|w| s.sources.contains(w)));
    whole.cloned().ok_or_else(|| format!("at {address}: {}", here.iter().map(describe).collect::<Vec<_>>().join(" | ")))
}

fn describe(s: &ServerReport) -> String {
    let word = |w: &Source| crate::table::word(w);
    let at = format!("{}{}", SocketAddr::new(s.address, s.port), s.path.as_deref().unwrap_or(""));
    let by = s.sources.iter().map(word).collect::<Vec<_>>().join("+");
    format!("{at} {} by {by}; {}", crate::table::word(&s.confidence), s.revisions.join(", "))
}

fn evidence(server: &ServerReport, teller: &mut Teller) -> Result<(), Failure> {
    for e in &server.evidence {
        teller.say(format!("  {:<5} {:<32} {}", crate::table::word(&e.source), e.signature, e.detail))?;
    }
    for p in &server.processes {
        teller.say(format!("  host  process {} of {}, bound to {}: {}", p.pid, p.user, word(&p.bound), p.command))?;
    }
    Ok(())
}

/// The lines a command printed.
fn shown(lines: &[serde_json::Value]) -> String {
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
