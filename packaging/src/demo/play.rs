//! The play: what happens, in order, and what is claimed of it. Runs inside the shelter.

mod block;
mod notice;
mod opening;

use super::{
    agent::{self, Target, Trouble},
    cast::Role,
    product::{Product, Settings, until},
    stage::{Stage, url, v4, v6},
    teller::Teller,
    webhook::Letterbox,
    world::{self, Host, ProcessId},
};
use crate::failure::{Failure, Side};
use rules::{period::Period, wire::v1::FindingReport};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

/// How long the product may take for what it does at once.
const SOON: Duration = Duration::from_secs(15);
const PORT: u16 = 3001;
const GATEWAY: &str = "http://10.97.1.1:7413";

/// Members of the cast: number on the segment, what it is, name, tools.
const CAST: [(u8, Role, &str, &[&str]); 6] = [
    (11, Role::Sessions, "tickets", &["list-tickets", "close-ticket"]),
    (21, Role::Sessions, "notes", &["read-note", "delete-note"]),
    (22, Role::Stateless, "search", &["find-page"]),
    (31, Role::Events, "builds", &[]),
    (32, Role::JsonRpc, "till", &[]),
    (33, Role::Docs, "docs", &[]),
];
/// Registered from the start; shadow of either era; look-alikes.
const TICKETS: u8 = 11;
const NOTES: u8 = 21;
const SEARCH: u8 = 22;
const DECOYS: [u8; 3] = [31, 32, 33];

/// Everything the scenes share.
#[derive(Debug)]
struct Play {
    stage: Stage,
    product: Product,
    letterbox: Letterbox,
    roles: Vec<(String, ProcessId)>,
    day: Duration,
    /// The agent's key for the gateway.
    key: String,
}

/// Plays it all. What could not be shown at all is an error; what was shown and is not so is a claim that failed.
pub(super) fn run(gnomon: &Path, teller: &mut Teller, day: Duration) -> Result<(), Failure> {
    teller.title(&format!("Gnomon in a network of its own; a day of the policy lasts {}", Period(day)))?;
    let mut play = opening::network(gnomon, teller, day)?;
    let told = opening::registered_path(&mut play, teller)
        .and_then(|()| opening::discovery(&mut play, teller))
        .and_then(|()| notice::notice(&mut play, teller))
        .and_then(|streams| {
            notice::reminders(&mut play, teller, &streams)?;
            block::block(&mut play, teller, streams)
        })
        .and_then(|()| block::registration(&mut play, teller))
        .and_then(|()| block::farewell(&mut play, teller));
    if told.is_err() {
        for (name, _) in &play.roles {
            teller.say(format!("the last words of {name}:\n{}", play.stage.log(name)))?;
        }
    }
    told
}

impl Play {
    fn direct(&self, address: IpAddr) -> Target {
        let era = if address == v4(SEARCH) || address == v6(SEARCH) { Role::Stateless } else { Role::Sessions };
        Target::new(&url(address, PORT, "/mcp"), era)
    }

    /// The gateway's way to a registered server.
    fn through_gateway(&self, slug: &str) -> Target {
        Target::new(&format!("{GATEWAY}/mcp/v1/tools/{slug}/rpc"), Role::Sessions).with_key(&self.key)
    }

    fn call(&self, target: &Target, tool: &str) -> Result<String, String> {
        self.call_as(&self.stage.agent, target, tool)
    }

    fn call_as(&self, host: &Host, target: &Target, tool: &str) -> Result<String, String> {
        let answer = agent::call(host, target, tool).map_err(|why| why.to_string())?;
        answer.map_err(|trouble| format!("{tool} at {}: {trouble}", target.url))
    }

    /// Claims that a call is refused, and how.
    fn refused(&self, target: &Target, tool: &str) -> Result<String, String> {
        match agent::call(&self.stage.agent, target, tool).map_err(|why| why.to_string())? {
            Err(trouble @ (Trouble::Refused | Trouble::Reset)) => Ok(trouble.to_string()),
            other => Err(format!("{tool} at {}: {}", target.url, agent::outcome(&other))),
        }
    }

    /// The open shadow finding at an address.
    fn finding(&self, address: IpAddr) -> Result<FindingReport, String> {
        let all = self.product.findings()?;
        let mine = all.into_iter().find(|f| f.address == Some(address) && f.kind == rules::finding::FindingKind::Shadow);
        mine.ok_or_else(|| format!("no shadow finding about {address}"))
    }

    /// The story cannot go on: says why, with what the product last said.
    fn stuck(&self, what: &str, why: impl std::fmt::Display) -> Failure {
        let roles = self.roles.iter().map(|(name, _)| format!("\n{name}: {}", self.stage.log(name))).collect::<String>();
        Failure::new(Side::Gnomon, format!("{what}: {why}{roles}"), "please report this, with the lines above")
    }
}

fn unset(why: world::Error) -> Failure {
    Failure::new(Side::Machine, format!("the demo's network could not be made: {why}"), "`gnomon doctor` says what this machine lacks")
}

fn day(n: f64, day: Duration) -> Duration {
    day.mul_f64(n)
}
