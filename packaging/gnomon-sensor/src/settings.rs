//! The sensor's part of the settings file. The other roles' sections may stand in the same file; they are not read here.

use launch::Failure;
use serde::{Deserialize, de::IgnoredAny};
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    sensor: sensor::Config,
    #[serde(rename = "collector")]
    _collector: IgnoredAny,
    #[serde(rename = "enforcer")]
    _enforcer: IgnoredAny,
    #[serde(rename = "gateway")]
    _gateway: IgnoredAny,
    #[serde(rename = "health")]
    _health: IgnoredAny,
    #[serde(rename = "policy")]
    _policy: IgnoredAny,
}

pub fn load(path: Option<&Path>) -> Result<sensor::Config, Failure> {
    launch::settings::load::<File>(path).map(|file| file.sensor)
}

/// With everything that is kept over restarts below the data directory, unless the section names another place.
pub fn home(mut config: sensor::Config, data: &Path) -> sensor::Config {
    config.uplink.spool.get_or_insert_with(|| data.join("spool"));
    config.probe.memory.get_or_insert_with(|| data.join("probe.memory"));
    config.reset.memory.get_or_insert_with(|| data.join("reset.generation"));
    config.probe.scan.stop_file.get_or_insert_with(|| stop_file(data));
    config
}

/// While this file is there, nobody on this machine is asked anything.
pub fn stop_file(data: &Path) -> PathBuf {
    data.join("probe.stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<sensor::Config, String> {
        launch::settings::parse::<File>(text, "gnomon.toml").map(|file| file.sensor).map_err(|why| why.to_string())
    }

    #[test]
    fn the_shipped_file_is_read_and_other_roles_keys_are_theirs() {
        assert_eq!(read(include_str!("../../config/gnomon.toml")).unwrap(), sensor::Config::default());
        assert_eq!(read("[sensor]\nname = \"edge\"\n[enforcer]\nmode = \"enforce\"\n").unwrap().name, "edge");
    }

    #[test]
    fn a_misspelt_key_or_section_is_refused_with_the_nearest_name() {
        for (text, near) in [("[sensor]\nnam = \"x\"\n", "name"), ("[sensr]\n", "sensor")] {
            let why = read(text).unwrap_err();
            assert!(why.contains(&format!("did you mean `{near}`?")), "{why}");
        }
    }
}
