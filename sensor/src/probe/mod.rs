//! Asks ports, never one that was not named.

use rules::{evidence::Evidence, period::Period};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Nobody is asked unless named here.
    pub targets: Vec<ipnet::IpNet>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {}

#[derive(Debug, thiserror::Error)]
pub enum ScanError {}

pub async fn scan(_config: ScanConfig, _out: mpsc::Sender<Evidence>, _shutdown: CancellationToken) -> Result<ScanReport, ScanError> {
    Ok(ScanReport {})
}
