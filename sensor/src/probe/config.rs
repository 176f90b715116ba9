//! Settings and results of a scan.

use super::{
    dial::Patience,
    identify::{Hint, Manner, USUAL_PATHS},
    schedule::{Bounds, Progress},
    targets::{TargetError, USUAL_PORTS},
};
use ipnet::IpNet;
use rules::period::Period;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// `[probe]` of the sensor's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// From the end of one scan to the start of the next.
    pub every: Period,
    pub scan: ScanConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config { every: Period::seconds(3600), scan: ScanConfig::default() }
    }
}

/// What one scan may ask; `gnomon scan` fills it from its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Addresses, networks (CIDR), ranges `A-B`, names. Empty is refused: nobody is asked who was not named.
    pub targets: Vec<String>,
    pub ports: Vec<u16>,
    /// Request paths, most likely first.
    pub paths: Vec<String>,
    /// Questions per second in all, and to one host.
    pub rate: u32,
    pub per_host_rate: u32,
    /// Questions under way at once.
    pub concurrency: u16,
    pub exclude: Vec<IpNet>,
    pub exclude_ports: Vec<u16>,
    /// Ask addresses that are not private.
    pub allow_public: bool,
    pub max_addresses: u64,
    /// Open event streams (2024-11-05) where gentler questions left it open.
    pub legacy_get: bool,
    /// Send the negative control under a foreign `Host`, to learn whether the server checks it.
    pub foreign_host: bool,
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
        let patience = Patience::default();
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        ScanConfig {
            targets: Vec::new(),
            ports: USUAL_PORTS.to_vec(),
            paths: USUAL_PATHS.iter().map(|p| (*p).to_owned()).collect(),
            rate: 200,
            per_host_rate: 10,
            concurrency: 384,
            exclude: Vec::new(),
            exclude_ports: Vec::new(),
            allow_public: false,
            max_addresses: 65_536,
            legacy_get: true,
            foreign_host: true,
            max_questions: 32,
            connect_ms: ms(patience.connect),
            answer_ms: ms(patience.answer),
            slow_answer_ms: ms(patience.slow_answer),
            dry_run: false,
            contact: String::new(),
            seed: None,
            hints: Vec::new(),
        }
    }
}

impl ScanConfig {
    pub(super) fn manner(&self) -> Manner {
        let paths = self.paths.iter().take(64).cloned().collect();
        Manner { paths, legacy_get: self.legacy_get, foreign_host: self.foreign_host, max_questions: self.max_questions }
    }

    pub(super) fn bounds(&self) -> Bounds {
        let concurrency = usize::from(self.concurrency.clamp(1, 4096));
        Bounds { concurrency, rate: self.rate.clamp(1, 1_000_000), per_host_rate: self.per_host_rate.clamp(1, 1_000_000) }
    }

    pub(super) fn patience(&self) -> Patience {
        let within = |ms: u64| Duration::from_millis(ms.clamp(50, 120_000));
        Patience { connect: within(self.connect_ms), answer: within(self.answer_ms), slow_answer: within(self.slow_answer_ms) }
    }
}

/// What a scan did: everything it sent is in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    pub addresses: u64,
    pub endpoints: u64,
    pub finished: u64,
    pub excluded: u64,
    pub reached: u64,
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
    /// Names that did not resolve.
    pub unresolved: Vec<String>,
}

impl ScanReport {
    pub const MAX_LISTED: usize = 4096;

    pub(super) fn progress(&mut self, progress: &Progress) {
        self.finished = progress.finished;
        self.excluded = progress.excluded;
        self.reached = progress.reached;
        self.sessions_minted = progress.sessions_minted;
        self.sessions_ended = progress.sessions_ended;
    }
}

/// Why a scan did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("none of the names resolves: {0}")]
    NothingResolves(String),
    #[error("the hint for `{0}` names no address")]
    Hint(String),
}
