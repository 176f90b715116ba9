//! This host's listeners and client configurations.

use rules::{Timestamp, evidence::Evidence, period::Period};
use serde::{Deserialize, Serialize};

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

pub fn inventory(_now: Timestamp) -> HostReport {
    HostReport::default()
}
