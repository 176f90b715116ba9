//! The enforcer's part of the settings file. The other roles' sections may stand in the same file; they are not read here.

use crate::health;
use launch::Failure;
use serde::{Deserialize, de::IgnoredAny};
use std::path::Path;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub enforcer: enforcer::Config,
    /// The services that must answer for new blocks to stay.
    pub health: health::Config,
    #[serde(rename = "sensor")]
    _sensor: IgnoredAny,
    #[serde(rename = "collector")]
    _collector: IgnoredAny,
    #[serde(rename = "gateway")]
    _gateway: IgnoredAny,
    #[serde(rename = "policy")]
    _policy: IgnoredAny,
}

impl Settings {
    pub fn new(enforcer: enforcer::Config, health: health::Config) -> Settings {
        Settings { enforcer, health, ..Settings::default() }
    }
}

pub fn load(path: Option<&Path>) -> Result<Settings, Failure> {
    launch::settings::load(path)
}

/// With the state below the data directory, unless the section names another place.
pub fn home(mut config: enforcer::Config, data: &Path) -> enforcer::Config {
    launch::settings::home(&mut config.data, &enforcer::Config::default().data, &data.join("enforcer"));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        launch::settings::parse(text, "gnomon.toml").map_err(|why| why.to_string())
    }

    #[test]
    fn the_shipped_file_is_read_and_other_roles_keys_are_theirs() {
        read(include_str!("../../config/gnomon.toml")).unwrap();
        let settings =
            read("[sensor]\nname = \"x\"\n[policy]\nmode = \"hard\"\n[enforcer]\nconfine = false\n[health]\nenabled = false\n").unwrap();
        assert!(!settings.enforcer.confine && !settings.health.enabled);
    }

    #[test]
    fn a_misspelt_key_or_section_is_refused_with_the_nearest_name() {
        for (text, near) in
            [("[enforcer]\nconfin = true\n", "confine"), ("[enfrocer]\n", "enforcer"), ("[health]\nenable = true\n", "enabled")]
        {
            let why = read(text).unwrap_err();
            assert!(why.contains(&format!("did you mean `{near}`?")), "{why}");
        }
    }
}
