//! `--config FILE`: one TOML section per component, each with the component's own shape and defaults. What no component
//! knows is refused, with the line and the nearest name.

use crate::failure::{Failure, Side};
use launch::settings::{self, home};
use rules::policy::Policy;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Every key with its default and what it means, commented out.
pub const DEFAULTS: &str = include_str!("../config/gnomon.toml");

/// Everything a file may say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub sensor: sensor::Config,
    pub collector: collector::Config,
    pub enforcer: enforcer::Config,
    pub gateway: gateway::Config,
    /// What must answer for new blocks to stay.
    pub health: crate::health::Config,
    /// The site's policy, as long as none was set by the API. The collector's own section may hold it as well, but not both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

impl Config {
    /// Reads a file; without one, the defaults.
    pub fn load(path: Option<&Path>) -> Result<Config, Failure> {
        let mut config: Config = settings::load(path)?;
        if let Some(policy) = config.policy.take() {
            if config.collector.policy != Policy::default() {
                let shown = path.unwrap_or(Path::new("")).display();
                let what = format!("{shown}: both [policy] and [collector.policy] are set");
                return Err(Failure::new(Side::Configuration, what, "keep one of them"));
            }
            config.collector.policy = policy;
        }
        Ok(config)
    }

    pub fn collector_at(&self, data: &Path) -> collector::Config {
        let mut config = self.collector.clone();
        home(&mut config.data, &collector::Config::default().data, data);
        config
    }

    /// The spool is the sensor's memory over restarts.
    pub fn sensor_at(&self, data: &Path) -> sensor::Config {
        gnomon_sensor::settings::home(self.sensor.clone(), data)
    }

    pub fn enforcer_at(&self, data: &Path) -> enforcer::Config {
        gnomon_enforcer::settings::home(self.enforcer.clone(), data)
    }

    pub fn gateway_at(&self, data: &Path) -> gateway::Config {
        let mut config = self.gateway.clone();
        home(&mut config.data, &gateway::Config::default().data, data);
        config
    }
}

#[cfg(test)]
mod tests;
