//! Settings and results of a scan.

use super::{
    identify::{Hint, Options, USUAL_PATHS},
    schedule::Bounds,
    targets::{FRAGILE_VENDORS, TargetError, USUAL_PORTS},
    timeouts::Timeouts,
    windows::Window,
};
use ipnet::IpNet;
use rules::period::Period;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

/// `[probe]` of the sensor's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// From one sweep of the targets to the next, and up to an eighth longer.
    pub every: Period,
    /// Known servers are asked again so often, each by the question it answered.
    pub recheck: Period,
    /// Where known servers and the time of the last sweep are kept over restarts.
    pub memory: Option<PathBuf>,
    pub scan: ScanConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config { every: Period::days(7), recheck: Period::seconds(3600), memory: None, scan: ScanConfig::default() }
    }
}

/// What one scan may ask; `gnomon scan` fills it from its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Addresses, networks (CIDR), ranges `A-B`, names, `@FILE` of them. Empty is refused: nobody is asked who was not named.
    pub targets: Vec<String>,
    pub ports: Vec<u16>,
    /// Request paths, most likely first.
    pub paths: Vec<String>,
    /// Packets of the port stage and questions per second: in all, to one host, and to one subnet (/24, /64).
    pub rate: u32,
    pub per_host_rate: u32,
    pub per_subnet_rate: u32,
    /// Look for open ports with bare SYNs first, in spaces of more than 2,048 endpoints and where raw sockets are allowed.
    pub port_stage: bool,
    /// Questions under way at once.
    pub concurrency: u16,
    /// Nothing outside these is asked. Empty: `allow_public` alone decides.
    pub allow: Vec<IpNet>,
    pub exclude: Vec<IpNet>,
    pub exclude_ports: Vec<u16>,
    /// Neighbours whose MAC address begins so (`00:80:77`) are not asked.
    pub exclude_vendors: Vec<String>,
    /// Ask the IPv6 neighbours this host knows, too.
    pub neighbours: bool,
    /// When new endpoints may be asked, in UTC: `22:00-05:00`, `Mon-Fri 20:00-06:00`, `Sat,Sun`. Empty: always.
    pub windows: Vec<Window>,
    /// While this file exists nothing is asked; a scan that runs ends within a second.
    pub stop_file: Option<PathBuf>,
    /// Where the position is noted every second, and gone on from.
    pub resume: Option<PathBuf>,
    /// Ask addresses that are not private.
    pub allow_public: bool,
    pub max_addresses: u64,
    /// Open event streams (2024-11-05) where gentler questions left it open.
    pub legacy_get: bool,
    /// Send the negative control under a foreign `Host`, to learn whether the server checks it.
    pub foreign_host: bool,
    /// Try newline-delimited JSON-RPC over bare TCP on ports that speak no HTTP.
    pub raw: bool,
    /// Shown to servers that serve nobody without a certificate; nothing is shown otherwise.
    pub test_identity: Option<TestIdentity>,
    /// Questions to one endpoint, at most.
    pub max_questions: u16,
    pub connect_ms: u64,
    pub answer_ms: u64,
    pub slow_answer_ms: u64,
    /// Say what would be asked, and ask nothing.
    pub dry_run: bool,
    /// Where those asked may ask back: a URL or an address, sent in `User-Agent`.
    pub contact: String,
    /// Order of asking. `None`: another one each time.
    pub seed: Option<u64>,
    pub hints: Vec<TargetHint>,
    /// A directory for transcripts of what was said and heard, one file per server.
    pub evidence: Option<PathBuf>,
}

/// A client certificate made for asking, and its key (PEM).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What is known about a target beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetHint {
    pub address: String,
    /// `None`: every port.
    pub port: Option<u16>,
    pub host: Option<String>,
    pub paths: Vec<String>,
    pub tls: Option<bool>,
}

impl TargetHint {
    pub fn hint(&self) -> Hint {
        Hint { host: self.host.clone(), paths: self.paths.clone(), tls: self.tls, nominated: self.port.is_some() }
    }
}

impl Default for ScanConfig {
    fn default() -> Self {
        let timeouts = Timeouts::default();
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        ScanConfig {
            targets: Vec::new(),
            ports: USUAL_PORTS.to_vec(),
            paths: USUAL_PATHS.iter().map(|p| (*p).to_owned()).collect(),
            rate: 1000,
            per_host_rate: 10,
            per_subnet_rate: 200,
            port_stage: true,
            concurrency: 384,
            allow: Vec::new(),
            exclude: Vec::new(),
            exclude_ports: Vec::new(),
            exclude_vendors: FRAGILE_VENDORS.iter().map(|v| (*v).to_owned()).collect(),
            neighbours: false,
            windows: Vec::new(),
            stop_file: None,
            resume: None,
            allow_public: false,
            max_addresses: 65_536,
            legacy_get: true,
            foreign_host: true,
            raw: false,
            test_identity: None,
            max_questions: 32,
            connect_ms: ms(timeouts.connect),
            answer_ms: ms(timeouts.answer),
            slow_answer_ms: ms(timeouts.slow_answer),
            dry_run: false,
            contact: String::new(),
            seed: None,
            hints: Vec::new(),
            evidence: None,
        }
    }
}

impl ScanConfig {
    pub(super) fn options(&self) -> Options {
        let paths = self.paths.iter().take(64).cloned().collect();
        Options {
            paths,
            legacy_get: self.legacy_get,
            foreign_host: self.foreign_host,
            raw: self.raw,
            test_identity: self.test_identity.is_some(),
            max_questions: self.max_questions,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        let concurrency = usize::from(self.concurrency.clamp(1, 4096));
        let rate = |rate: u32| rate.clamp(1, 1_000_000);
        Bounds { concurrency, rate: rate(self.rate), per_host_rate: rate(self.per_host_rate), per_subnet_rate: rate(self.per_subnet_rate) }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let within = |ms: u64| Duration::from_millis(ms.clamp(50, 120_000));
        Timeouts { connect: within(self.connect_ms), answer: within(self.answer_ms), slow_answer: within(self.slow_answer_ms) }
    }
}

/// What a scan did: everything it sent is in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    pub addresses: u64,
    pub endpoints: u64,
    pub finished: u64,
    /// Addresses that were named and left alone.
    pub excluded: u64,
    /// Endpoints where something answered a question.
    pub reached: u64,
    /// SYNs of the port stage that left (what came back open was reset by this host's kernel), and that could not.
    pub packets: u64,
    pub packets_failed: u64,
    pub open: u64,
    /// SYNs to endpoints that had answered before, and those that stayed unanswered: loss on the way.
    pub canaries: u64,
    pub canaries_lost: u64,
    /// Connections opened, HTTP requests written, bytes each way.
    pub connections: u64,
    pub requests: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Questions by kind.
    pub asked: BTreeMap<String, u64>,
    /// How they ended: `answered`, `refused`, `silent`, `abusive`, ….
    pub outcomes: BTreeMap<String, u64>,
    /// HTTP requests by endpoint that answered, at most [`ScanReport::MAX_LISTED`].
    pub requests_to: BTreeMap<String, u64>,
    pub sessions_minted: u64,
    pub sessions_ended: u64,
    pub evidence: u64,
    /// Evidence nobody took.
    pub evidence_lost: u64,
    /// It was told to stop before the end.
    pub stopped: bool,
    pub elapsed_ms: u64,
    /// Of a dry run: the questions it would begin with, at most [`ScanReport::MAX_LISTED`].
    pub would_ask: Vec<String>,
    /// Neighbours left alone for the maker of their network card, at most [`ScanReport::MAX_LISTED`].
    pub excluded_vendors: Vec<String>,
    /// How long it takes at best, at this rate, if nobody answers.
    pub at_least_ms: u64,
    /// With the port stage.
    pub knocking: bool,
    /// Names that did not resolve.
    pub unresolved: Vec<String>,
    /// Transcripts written, and exchanges that did not fit or could not be.
    pub transcripts: u64,
    pub transcripts_lost: u64,
}

impl ScanReport {
    pub const MAX_LISTED: usize = 4096;
}

/// Why a scan did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("none of the names resolves: {0}")]
    NothingResolves(String),
    #[error("the list of targets {0} cannot be read: {1}")]
    List(String, String),
    #[error("the position in {0} cannot be gone on from: {1}")]
    Resume(String, String),
    #[error("probing is stopped: {0} exists (`gnomon scan --go` removes it)")]
    Stopped(String),
    #[error("the vendor prefix `{0}` is not three to six bytes like 00:80:77")]
    Vendor(String),
    #[error("the hint for `{0}` names no address")]
    Hint(String),
    #[error("the test identity {} cannot be used: {}", .0.display(), .1)]
    Identity(PathBuf, String),
    #[error("cannot write transcripts to {}: {}", .0.display(), .1)]
    Evidence(PathBuf, io::Error),
}
