//! What a command saw by itself, without a collector: evidence in, server reports out. The same fusion as the collector's.

use crate::{
    failure::{Failure, Side},
    out,
    table::{Table, some, word},
};
use collector::inventory::Inventory;
use rules::{confidence::Confidence, evidence::Evidence, pack::Pack, server::Server, wire::v1::ServerReport};
use std::{collections::BTreeMap, path::Path};

/// Servers as one command saw them, and what it already said about them.
#[derive(Debug)]
pub struct Tally {
    inventory: Inventory,
    pack: Pack,
    told: BTreeMap<String, Confidence>,
}

impl Tally {
    pub fn new() -> Tally {
        Tally { inventory: Inventory::new("local"), pack: Pack::shipped(), told: BTreeMap::new() }
    }

    /// One that weighs by the packs of a directory, if there is one, as a collector would.
    pub fn weighing_by(packs: Option<&Path>) -> Result<Tally, Failure> {
        let Some(directory) = packs else { return Ok(Tally::new()) };
        let set = collector::packs::read(directory).map_err(|why| {
            Failure::new(Side::Input, format!("{}: {why}", directory.display()), "a pack changes strength, status and groups of signatures that exist, or adds its own; `gnomon doctor collector` names the packs in force")
        })?;
        Ok(Tally { pack: set.pack, ..Tally::new() })
    }

    /// Adds one piece of evidence. Gives what is newly known: a server, or a better confidence in one.
    pub fn take(&mut self, evidence: &Evidence) -> Vec<ServerReport> {
        self.inventory.observe("local", evidence, &self.pack);
        let Some(known) = self.inventory.record(evidence.place.endpoint) else { return Vec::new() };
        let servers = known.servers().filter(|s| !s.is_attempt(&self.pack));
        // A report is much to make; most evidence says again what is known.
        let better = |s: &&Server| self.told.get(&s.key()).is_none_or(|told| *told < s.judgement(&self.pack).confidence);
        let news = servers.filter(better).map(|s| ServerReport::new(s, &self.pack)).collect::<Vec<_>>();
        self.told.extend(news.iter().map(|r| (r.key.clone(), r.confidence)));
        news
    }

    /// All servers, the surest first.
    pub fn reports(&self) -> Vec<ServerReport> {
        let shown = self.inventory.servers().filter(|s| !s.is_attempt(&self.pack));
        let mut all = shown.map(|s| ServerReport::new(s, &self.pack)).collect::<Vec<_>>();
        all.sort_by(|a, b| b.confidence.cmp(&a.confidence).then_with(|| (a.address, a.port, &a.path).cmp(&(b.address, b.port, &b.path))));
        all
    }
}

impl Default for Tally {
    fn default() -> Self {
        Tally::new()
    }
}

/// Whether any of these is more than a hint.
pub fn any_found(reports: &[ServerReport]) -> bool {
    reports.iter().any(|r| r.confidence >= Confidence::Probable)
}

/// One object per server, or a table.
pub fn print(reports: &[ServerReport], json: bool) -> Result<(), Failure> {
    if json {
        return reports.iter().try_for_each(out::object);
    }
    let mut table = Table::new(&["CONFIDENCE", "WHERE", "SERVER", "REVISION", "AUTH", "TOOLS", "CLIENTS", "REGISTERED", "SEEN BY"]);
    for r in reports {
        table.row([
            r.confidence.as_str().to_owned(),
            format!("{}{}", address(r), r.path.as_deref().unwrap_or("")),
            r.server_info.as_ref().map(|i| i.name.clone()).or_else(|| r.host.clone()).unwrap_or_default(),
            r.revisions.last().cloned().unwrap_or_default(),
            r.auth.map(|a| word(&a)).unwrap_or_default(),
            count(r.tools.len()),
            count(r.clients.len()),
            r.registered_as.clone().unwrap_or_default(),
            some(r.sources.iter().map(word), 3),
        ]);
    }
    table.print("no MCP server seen")
}

/// One line about one server, for commands that talk while they work.
pub fn one_line(r: &ServerReport) -> String {
    let name = r.server_info.as_ref().map(|i| format!(" `{}`", i.name)).unwrap_or_default();
    let why = r.reasons.first().map(|w| format!(": {w}")).unwrap_or_default();
    let text = format!("{}{}{name} is {}{why}", address(r), r.path.as_deref().unwrap_or(""), r.confidence.as_str());
    rules::printable::printable(&text, 400)
}

pub fn address(r: &ServerReport) -> String {
    std::net::SocketAddr::new(r.address, r.port).to_string()
}

fn count(n: usize) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}
