//! What can be shown where no namespaces can be made: the same network as it was recorded, and the ruleset that would follow.

use super::{stage::AGENTS, teller::Teller};
use crate::{
    failure::{Failure, Side},
    tally::Tally,
};
use enforcer::{
    check::{self, Against},
    facts::Facts,
    render::{self, Skeleton, Term},
    ruleset,
};
use ipnet::IpNet;
use rules::{
    Timestamp,
    confidence::Confidence,
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::{FindingId, FindingKind},
    period::Period,
    wire::v1::ServerReport,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The servers' segment of the demo's own network, taken while the agent worked and the probe asked: tickets .11, notes .21,
/// search .22, and the look-alikes .31 to .33.
const OFFICE: &[u8] = include_bytes!("office.pcap");
const LEASE: Period = Period::seconds(15 * 60);

pub(super) fn run(teller: &mut Teller, why_not: &str) -> Result<(), Failure> {
    teller.title("Gnomon, from a recording")?;
    teller.say(format!("No namespaces can be made here: {why_not}"))?;
    teller.say("So no packet flows and nothing is blocked. As root (sudo gnomon demo) the whole story is played.")?;
    teller.scene("What the wire tells: an office network, replayed")?;
    let servers = hear()?;
    for s in &servers {
        let at = Endpoint::new(s.address, s.port);
        let clients = s.clients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let tools = s.tools.join(", ");
        teller.say(format!("{at} {} {}  tools {tools}  clients {clients}", crate::table::word(&s.confidence), s.revisions.join(", ")))?;
    }
    let sure: BTreeSet<String> = servers.iter().filter(|s| s.confidence == Confidence::Confirmed).map(|s| s.address.to_string()).collect();
    let real = ["10.97.1.11", "10.97.1.21", "10.97.1.22", "fd97:1::11", "fd97:1::21", "fd97:1::22"];
    let found = if real.iter().all(|a| sure.contains(*a)) { Ok(format!("{} addresses", sure.len())) } else { Err(listed(&sure)) };
    teller.claim("each MCP server is Confirmed, of both eras, over IPv4 and IPv6", found)?;
    let quiet = if sure.len() == real.len() { Ok("builds, till and docs are not among them".to_owned()) } else { Err(listed(&sure)) };
    teller.claim("what only looks like MCP is not reported", quiet)?;

    teller.scene("What would be blocked after the grace period, were a second source to agree")?;
    let shadows = servers.iter().filter(|s| sure.contains(&s.address.to_string()) && !s.address.to_string().ends_with("11"));
    let set = decisions(shadows)?;
    let config = enforcer::Config { hooks: BTreeSet::from([enforcer::Hook::Forward]), ..Default::default() };
    let facts = Facts::default();
    let (ruleset, withheld) = ruleset::plan(&set, &facts, &config);
    let lease = LEASE.0;
    let against =
        Against { set: &set, facts: &facts, config: &config, new_this_hour: set.decisions.len(), many_new: false, lease, beside: 0 };
    let objections = check::objections(&ruleset, &against);
    let whole = if objections.is_empty() && withheld.is_empty() {
        Ok(format!("{} blocks", ruleset.blocks.len()))
    } else {
        Err(format!("{} objections, {} withheld", objections.len(), withheld.len()))
    };
    teller.claim("the independent check has no objection", whole)?;
    let nft = render::render(&ruleset, None, Term { lease, age: Duration::ZERO, trial: None, skeleton: Skeleton::Assert }).to_nft();
    let all = set.decisions.iter().all(|d| nft.contains(&format!("{} . {}", d.endpoint.address, d.endpoint.port)));
    let leased = if all && nft.contains("timeout") { Ok("one transaction, each element a lease") } else { Err(nft.clone()) };
    teller.claim("the ruleset names each of them", leased.map(str::to_owned))?;
    teller.say(nft.trim_end())
}

fn hear() -> Result<Vec<ServerReport>, Failure> {
    let failed =
        |why: String| Failure::new(Side::Machine, format!("cannot replay the recording: {why}"), "make room in the temporary directory");
    let path = std::env::temp_dir().join(format!("gnomon-demo-{}.pcap", std::process::id()));
    std::fs::write(&path, OFFICE).map_err(|why| failed(why.to_string()))?;
    let mut tally = Tally::new();
    let heard = sensor::capture::replay::watch_file(&path, &mut |evidence| drop(tally.take(&evidence)));
    let removed = std::fs::remove_file(&path);
    heard.map_err(|why| failed(why.to_string()))?;
    removed.map_err(|why| failed(why.to_string()))?;
    Ok(tally.reports())
}

fn listed(addresses: &BTreeSet<String>) -> String {
    addresses.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn decisions<'a>(shadows: impl Iterator<Item = &'a ServerReport>) -> Result<DecisionSet, Failure> {
    let now = Timestamp::now();
    let mut decisions = BTreeMap::new();
    for s in shadows {
        let endpoint = Endpoint::new(s.address, s.port);
        let finding = FindingId::derive(FindingKind::Shadow, &s.key);
        let reason = "answers as an MCP server and is not registered".to_owned();
        decisions.insert(endpoint, Decision { endpoint, finding, action: Action::Block, reason, since: now, at: Vec::new() });
    }
    let agents: Result<Vec<IpNet>, _> = AGENTS.iter().map(|a| a.parse()).collect();
    Ok(DecisionSet {
        site: "default".to_owned(),
        generation: 1,
        issued_at: now,
        not_after: Period::days(7).after(now),
        agents: agents.map_err(|why| Failure::new(Side::Gnomon, why, "please report this"))?,
        protected: Vec::new(),
        protected_endpoints: Vec::new(),
        lease: LEASE,
        decisions: decisions.into_values().collect(),
        rollout: None,
    })
}
