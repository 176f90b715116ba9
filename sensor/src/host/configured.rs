//! Users' homes and the client configurations in them. IO with bounds.

use super::{
    HostReport,
    addresses::Addresses,
    client_configs::{ConfigFile, ConfiguredServer, IN_PROJECTS, KNOWN, Reach, parse},
    proc, stdio_place,
};
use rules::{
    Timestamp,
    endpoint::{Endpoint, Place},
    evidence::{Client, Evidence, Facts, Implementation, Source, Transport},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// Homes looked into.
const MAX_HOMES: usize = 256;
/// A larger configuration is not one.
const MAX_CONFIG: u64 = 4 << 20;

/// Accounts of this host.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    names: BTreeMap<u32, String>,
    /// Homes of people and of root.
    homes: Vec<(String, PathBuf)>,
}

impl Users {
    pub(super) fn read(root: &Path) -> Users {
        let mut users = Users::default();
        for line in proc::read(&root.join("etc/passwd")).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let (Some(name), Some(uid), Some(home)) = (fields.first(), fields.get(2).and_then(|u| u.parse::<u32>().ok()), fields.get(5))
            else {
                continue;
            };
            users.names.entry(uid).or_insert_with(|| (*name).to_owned());
            let person = uid == 0 || (1000..65_534).contains(&uid);
            if person && users.homes.len() < MAX_HOMES && home.starts_with('/') && *home != "/" {
                users.homes.push(((*name).to_owned(), root.join(home.trim_start_matches('/'))));
            }
        }
        users
    }

    pub(super) fn name(&self, uid: u32) -> String {
        self.names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// Reads every known configuration of every home, and of the projects they name.
pub(super) fn read(root: &Path, users: &Users, addresses: &Addresses, now: Timestamp, report: &mut HostReport) {
    let mut reader = Reader { addresses, hosts: hosts(root), now, unresolved: BTreeSet::new(), unreadable: 0, seen: BTreeSet::new() };
    let mut closed = 0;
    for (user, home) in &users.homes {
        match fs::read_dir(home) {
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => closed += 1,
            Err(_) => {}
            Ok(_) => reader.home(root, user, home, report),
        }
    }
    reader.file("managed", "the administrator", &root.join("etc/claude-code/managed-mcp.json"), report);
    if closed > 0 {
        report.off.push(format!(
            "the homes of {closed} users cannot be read: client configurations there are not seen; run as root or with CAP_DAC_READ_SEARCH"
        ));
    }
    if reader.unreadable > 0 {
        report.off.push(format!("{} client configurations cannot be read or are malformed", reader.unreadable));
    }
    if !reader.unresolved.is_empty() {
        let names: Vec<&str> = reader.unresolved.iter().take(8).map(String::as_str).collect();
        report.off.push(format!(
            "{} configured server names have no address in /etc/hosts, and no name server was asked: {}",
            reader.unresolved.len(),
            names.join(" ")
        ));
    }
}

/// Names of `/etc/hosts`: the only resolver that asks nobody.
fn hosts(root: &Path) -> BTreeMap<String, IpAddr> {
    let text = proc::read(&root.join("etc/hosts")).unwrap_or_default();
    let mut names = BTreeMap::new();
    for line in text.lines().map(|l| l.split('#').next().unwrap_or_default()) {
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|a| a.parse::<IpAddr>().ok()) else { continue };
        for name in words.take(16) {
            names.entry(name.to_ascii_lowercase()).or_insert(address);
        }
    }
    names.insert("localhost".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    names
}

struct Reader<'a> {
    addresses: &'a Addresses,
    hosts: BTreeMap<String, IpAddr>,
    now: Timestamp,
    unresolved: BTreeSet<String>,
    unreadable: usize,
    seen: BTreeSet<PathBuf>,
}

impl Reader<'_> {
    fn home(&mut self, root: &Path, user: &str, home: &Path, report: &mut HostReport) {
        let mut projects = Vec::new();
        for ConfigFile { path, client } in KNOWN {
            projects.extend(self.file(client, user, &home.join(path), report));
        }
        for project in projects.iter().take(64) {
            let directory = root.join(project.trim_start_matches('/'));
            for ConfigFile { path, client } in IN_PROJECTS {
                self.file(client, user, &directory.join(path), report);
            }
        }
    }

    /// One file; the projects it names.
    fn file(&mut self, client: &str, user: &str, path: &Path, report: &mut HostReport) -> Vec<String> {
        let fits = match fs::metadata(path) {
            Ok(metadata) => metadata.is_file() && metadata.len() <= MAX_CONFIG,
            Err(_) => return Vec::new(),
        };
        if !self.seen.insert(path.to_owned()) {
            return Vec::new();
        }
        let text = if fits { fs::read_to_string(path).ok() } else { None };
        let Some(contents) = text.and_then(|t| parse(&path.to_string_lossy(), &t)) else {
            self.unreadable += 1;
            return Vec::new();
        };
        report.evidence.extend(contents.entries.iter().filter_map(|e| self.evidence(client, user, e)));
        contents.projects
    }

    fn evidence(&mut self, client: &str, user: &str, entry: &ConfiguredServer) -> Option<Evidence> {
        let detail = format!("{client} of {user} is told to use `{}`", entry.name);
        let software = Some(Implementation { name: client.to_owned(), version: None });
        let here = self.addresses.places(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).first().copied()?;
        let client = |address| Some(Client { address, software: software.clone() });
        match &entry.reach {
            Reach::Stdio(command) => {
                let place = stdio_place(self.addresses, &entry.name);
                let facts = Facts { transport: Some(Transport::Stdio), client: client(here), ..Facts::default() };
                let evidence = Evidence::new(place, Source::Host, "host.context.stdio-config", self.now);
                Some(evidence.detail(&format!("{detail}: {command}")).facts(facts))
            }
            Reach::Url(url) => {
                let name = url.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase();
                let Some(address) = name.parse().ok().or_else(|| self.hosts.get(&name).copied()) else {
                    self.unresolved.insert(rules::printable::printable(&name, 80));
                    return None;
                };
                let address = if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address };
                let endpoint = Endpoint::new(address, url.port_or_known_default()?);
                let place = Place::new(endpoint).with_target(url.path()).with_host(&name);
                let near = if address.is_loopback() { address } else { here };
                let facts = Facts { tls: Some(url.scheme() == "https"), client: client(near), ..Facts::default() };
                Some(Evidence::new(place, Source::Host, "host.context.client-config", self.now).detail(&detail).facts(facts))
            }
        }
    }
}
