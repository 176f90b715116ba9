//! The settings. Unknown keys are refused; every key has a default.

pub mod notify;

use crate::clock::Clock;
use rules::{endpoint::Endpoint, period::Period, policy::Policy};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory for the database, keys and the admin token; made with mode 0700 when missing.
    pub data: PathBuf,
    /// The site of sensors in this process, and of tokens that name none. `[a-z0-9-]`.
    pub site: String,
    /// Admin API and status page. Loopback only.
    pub admin: SocketAddr,
    /// HTTPS for remote sensors, enforcers and gateways. Unset: off.
    pub intake: Option<SocketAddr>,
    /// Names and addresses that remote roles reach the intake by, for its certificate, beside the machine's own name and loopback.
    pub names: Vec<String>,
    /// The site's policy as long as none was set by the API.
    pub policy: Policy,
    /// Ours: neither a finding nor ever blocked. This collector's intake and the gateway of the same process are added by
    /// themselves; gateways on other hosts, and what else the site cannot do without, are named here. A wildcard
    /// (`0.0.0.0:7413`, `[::]:7413`) stands for all addresses that this host has at the start.
    pub protect: Vec<Endpoint>,
    /// Directory of the site's own signature packs: every `*.yaml` in it, in lexical order, is laid over the shipped one, and again
    /// whenever it changes. Unset: only the shipped pack.
    pub packs: Option<PathBuf>,
    pub notify: notify::Config,
    /// How often clocks are looked at when nothing else happens.
    pub judge_every: Period,
    pub retention: Retention,
    pub limits: Limits,
    /// A person's answer to a start that was refused.
    #[serde(skip)]
    pub beginning: Beginning,
    /// Handed in by tests; the system's otherwise.
    #[serde(skip)]
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("/var/lib/gnomon"),
            site: "default".to_owned(),
            admin: SocketAddr::from(([127, 0, 0, 1], 7411)),
            intake: None,
            names: Vec::new(),
            policy: Policy::default(),
            protect: Vec::new(),
            packs: None,
            notify: notify::Config::default(),
            judge_every: Period::seconds(5),
            retention: Retention::default(),
            limits: Limits::default(),
            beginning: Beginning::AsLeft,
            clock: Clock::System,
        }
    }
}

/// A person's answer to a start that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    #[default]
    AsLeft,
    /// An empty database is meant. The old one is moved aside; keys are kept.
    NewSite,
    /// Keys that are missing or others are meant.
    NewKeys,
    /// Goes back to this snapshot; the present database is moved aside.
    Restore(PathBuf),
}

/// How much raw material is kept. Servers, findings and the journal are not pruned by this.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    pub observations: Period,
    pub max_observations: u64,
    /// Servers never more than Probable are forgotten after so long.
    pub candidates: Period,
    /// Days of which a snapshot of the database is kept, in `snapshots/` beside it; 0: none is made.
    pub snapshots: usize,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { observations: Period::days(30), max_observations: 1_000_000, candidates: Period::days(30), snapshots: 7 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub servers_per_site: usize,
    pub servers_per_sensor: usize,
    pub sensors: usize,
    pub registrations: usize,
    /// Jobs waiting for the writer; more are refused with "busy".
    pub queue: usize,
    pub connections: usize,
    /// Pages of the database, for tests of a full disk. Unset: as many as the disk holds.
    pub database_pages: Option<u32>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            servers_per_site: 20_000,
            servers_per_sensor: 5_000,
            sensors: 5_000,
            registrations: 5_000,
            queue: 1024,
            connections: 512,
            database_pages: None,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !rules::registry::is_slug(&self.site) {
            return Err(format!("`site` is `{}`; use 1 to 63 characters of a-z, 0-9 and -", rules::printable::printable(&self.site, 80)));
        }
        if !self.admin.ip().is_loopback() {
            return Err(format!(
                "`admin` is {}; it speaks plain HTTP and must stay on loopback, such as 127.0.0.1:7411. Use ssh -L to reach it from elsewhere",
                self.admin
            ));
        }
        if self.judge_every.0.is_zero() {
            return Err("`judge_every` must be longer than 0s".to_owned());
        }
        self.notify.check()
    }
}
