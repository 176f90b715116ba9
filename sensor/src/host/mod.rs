//! This host's own source: which processes listen, which of them run MCP, which servers the clients here are told to use.
//!
//! Start reading at [`inventory`]. It reads, and changes nothing; it asks nobody, not even a name server.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod addresses;
mod client_configs;
mod configured;
mod owner;
mod proc;
mod process;
mod sockets;
mod software;

use addresses::Addresses;
use configured::Users;
use proc::{Proc, Raw};
use rules::{
    Timestamp,
    endpoint::{Endpoint, Place},
    evidence::{Evidence, Exposure, Facts, Process, Source, Transport},
    period::Period,
    printable::printable,
};
use serde::{Deserialize, Serialize};
use sockets::Listener;
use std::{collections::BTreeSet, net::IpAddr, path::Path};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// From one inventory to the next.
    pub every: Period,
}

impl Default for Config {
    fn default() -> Config {
        Config { enabled: true, every: Period::seconds(30) }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostReport {
    pub evidence: Vec<Evidence>,
    /// What could not be read, and why.
    pub off: Vec<String>,
}

/// What this host says about itself: its listeners, its processes, its users' client configurations.
///
/// Of sockets only those of this process's network namespace. Without privileges other users' sockets have no process, and
/// their homes are closed: `off` says so.
pub fn inventory(now: Timestamp) -> HostReport {
    let held = addresses::held();
    inventory_of(Path::new("/"), &held, now)
}

/// Addresses of this network namespace.
pub(crate) fn own_addresses() -> std::collections::BTreeSet<IpAddr> {
    addresses::held().into_iter().map(|h| h.address.to_canonical()).collect()
}

fn inventory_of(root: &Path, held: &[addresses::InterfaceAddress], now: Timestamp) -> HostReport {
    let proc = Proc::new(&root.join("proc"));
    let mut report = HostReport::default();
    let default = proc.net("route").ok().and_then(|table| addresses::default_interface(&table));
    let addresses = Addresses::primary(held, default.as_deref());
    let users = Users::read(root);
    let listeners = listeners(&proc, &mut report.off);
    let (processes, hidden) = match proc.processes() {
        Ok(found) => found,
        Err(why) => {
            report.off.push(format!("processes cannot be read: {why}"));
            (Vec::new(), 0)
        }
    };
    if hidden > 0 {
        report.off.push(format!(
            "the open files of {hidden} processes cannot be read: their sockets have no owner here; run as root or with CAP_SYS_PTRACE"
        ));
    }
    let host = Host { addresses: &addresses, users: &users, processes: &processes, now };
    host.listening(&listeners, &mut report);
    host.stdio(&listeners, &mut report);
    configured::read(root, &users, &addresses, now, &mut report);
    report
}

fn listeners(proc: &Proc, off: &mut Vec<String>) -> BTreeSet<Listener> {
    let mut all = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        match proc.net(table) {
            Ok(text) => all.extend(sockets::listeners(&text)),
            // A kernel without IPv6 has no such table, and misses nothing.
            Err(why) if table == "tcp" => off.push(format!("listening sockets cannot be read: {why}")),
            Err(_) => {}
        }
    }
    all
}

struct Host<'a> {
    addresses: &'a Addresses,
    users: &'a Users,
    processes: &'a [Raw],
    now: Timestamp,
}

impl Host<'_> {
    fn listening(&self, listeners: &BTreeSet<Listener>, report: &mut HostReport) {
        let holders = proc::holders(self.processes);
        for listener in listeners {
            let process = holders.get(&listener.inode).copied();
            let recognised = process.and_then(software::recognise);
            let usual = crate::probe::targets::USUAL_PORTS.contains(&listener.port) && !matches!(listener.port, 80 | 443);
            if recognised.is_none() && !usual {
                continue;
            }
            for address in self.addresses.places(listener.bound) {
                let place = Place::new(listener.endpoint(address));
                let facts = self.facts(process, listener);
                let (signature, detail) = match (&recognised, process) {
                    (Some(why), Some(p)) => {
                        ("host.context.sdk-process", format!("process {} listens on {}; {why}", p.pid, shown(listener)))
                    }
                    (None, Some(p)) => {
                        ("host.context.listener", format!("process {} ({}) listens on {}", p.pid, name_of(p), shown(listener)))
                    }
                    (_, None) => ("host.context.listener", format!("an unknown process listens on {}", shown(listener))),
                };
                report.evidence.extend(
                    self.with_owners(Evidence::new(place, Source::Host, signature, self.now).detail(&detail).facts(facts), process),
                );
            }
        }
    }

    /// Servers that talk to their client through pipes: known by name, started by somebody, listening nowhere.
    fn stdio(&self, listeners: &BTreeSet<Listener>, report: &mut HostReport) {
        let inodes: BTreeSet<u64> = listeners.iter().map(|l| l.inode).collect();
        let listens = |p: &Raw| p.sockets.iter().any(|s| inodes.contains(s));
        for process in self.processes.iter().filter(|p| p.piped && !listens(p)) {
            let Some(word) = software::named(&process.arguments) else { continue };
            let parent = self.processes.iter().find(|p| p.pid == process.parent);
            // A launcher (npx, uvx, sh) names the same program as the server it started: one of the two is enough.
            if parent.is_some_and(|p| p.piped && software::named(&p.arguments).is_some()) {
                continue;
            }
            let place = stdio_place(self.addresses, &word);
            let facts = Facts { transport: Some(Transport::Stdio), process: Some(self.process(process, None)), ..Facts::default() };
            let by = parent.map(name_of).unwrap_or_default();
            let detail = format!("process {} ({word}), started by {by}, talks through pipes", process.pid);
            report.evidence.push(Evidence::new(place, Source::Host, "host.context.stdio-process", self.now).detail(&detail).facts(facts));
        }
    }

    fn facts(&self, process: Option<&Raw>, listener: &Listener) -> Facts {
        let mut facts = Facts { process: process.map(|p| self.process(p, Some(listener.bound))), ..Facts::default() };
        if listener.is_wildcard() {
            facts.exposures.insert(Exposure::WildcardBind);
        }
        facts
    }

    fn process(&self, raw: &Raw, bound: Option<IpAddr>) -> Process {
        let (unit, container) = process::cgroup(&raw.cgroup);
        Process {
            pid: raw.pid,
            executable: printable(&raw.executable, 200),
            command: process::command(&raw.arguments),
            user: printable(&self.users.name(raw.uid), 64),
            unit,
            container,
            bound: bound.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        }
    }

    /// An observation carries one owner; further ones come as further observations of the same signature.
    fn with_owners(&self, evidence: Evidence, process: Option<&Raw>) -> Vec<Evidence> {
        let Some(raw) = process else { return vec![evidence] };
        let (unit, container) = process::cgroup(&raw.cgroup);
        let owners = owner::owners(&self.users.name(raw.uid), raw.uid, unit.as_deref(), container.as_deref(), &raw.directory);
        if owners.is_empty() {
            return vec![evidence];
        }
        let with = |owner| {
            let mut one = evidence.clone();
            one.facts.owner = Some(owner);
            one
        };
        owners.into_iter().map(with).collect()
    }
}

/// A server without a socket is at port 0 of its host, under its name.
fn stdio_place(addresses: &Addresses, name: &str) -> Place {
    let address = addresses.places(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)).first().copied();
    let place = Place::new(Endpoint::new(address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), 0));
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.@/".contains(*c)).take(80).collect();
    place.with_target(&format!("/stdio/{plain}"))
}

fn shown(listener: &Listener) -> String {
    match listener.is_wildcard() {
        true => format!("every address, port {}", listener.port),
        false => listener.endpoint(listener.bound).to_string(),
    }
}

fn name_of(process: &Raw) -> String {
    let name = process.executable.rsplit('/').next().unwrap_or_default();
    printable(if name.is_empty() { "a process that cannot be read" } else { name }, 60)
}

#[cfg(test)]
mod tests;
