//! Whether the sensor's reactive reset is on, and can be.

use super::{Finding, Role};
use std::fs;

/// Nothing where it is off: that is how it should be.
pub(super) fn best_effort(role: Role, config: &sensor::reset::Config) -> Option<Finding> {
    if !config.enabled || !matches!(role, Role::Up | Role::Sensor) {
        return None;
    }
    let name = "reactive reset";
    let lacking = |found: String, todo: &str| Finding::lacking(name, false, format!("on, but nothing is reset: {found}"), todo);
    let sets = match config.ready() {
        Ok((sets, _)) => sets,
        Err(why) => return Some(lacking(why.to_string(), "see [sensor.reset] in `gnomon config defaults`")),
    };
    Some(match fs::File::open(&sets) {
        Ok(_) => {
            Finding::ok(name, format!("on, best effort (TCP only, loses races, counts as no enforcement); sets in {}", sets.display()))
        }
        Err(why) => {
            lacking(format!("{}: {why}", sets.display()), "`gnomon courier --sets FILE` writes it; this user must be able to read it")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Readiness;

    #[test]
    fn it_is_named_best_effort_and_said_only_where_it_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = sensor::reset::Config::default();
        assert!(best_effort(Role::Sensor, &config).is_none());
        config.enabled = true;
        assert!(best_effort(Role::Enforcer, &config).is_none(), "an enforcer resets nothing this way");
        let found = |config: &sensor::reset::Config| best_effort(Role::Sensor, config).unwrap();
        assert!(found(&config).found.contains("sets"));
        config.sets = Some(dir.path().join("set.json"));
        assert!(found(&config).found.contains("trusted_keys"));
        config.trusted_keys = vec!["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()];
        assert_eq!(found(&config).state, Readiness::Lacking, "nobody wrote a set");
        fs::write(dir.path().join("set.json"), "{}").unwrap();
        let on = found(&config);
        assert_eq!(on.state, Readiness::Ok);
        assert!(on.found.contains("best effort"), "{}", on.found);
    }
}
