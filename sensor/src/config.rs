//! What one sensor is told to do. Every part has a default that is safe: watch, read this host, ask nobody.

use crate::{capture, host, probe, reset, uplink};
use serde::{Deserialize, Serialize};

/// The sensor's configuration file (TOML). Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name this sensor reports under; a remote sensor must use the name in its certificate.
    pub name: String,
    pub capture: capture::Config,
    pub host: host::Config,
    pub probe: probe::Config,
    pub uplink: uplink::Config,
    pub reset: reset::Config,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: "local".to_owned(),
            capture: capture::Config::default(),
            host: host::Config::default(),
            probe: probe::Config::default(),
            uplink: uplink::Config::default(),
            reset: reset::Config::default(),
        }
    }
}
