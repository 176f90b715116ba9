//! The enforcer's keys and settings on disk, where `gnomon enforce` finds them when nothing runs.

use launch::{Failure, Side};
use std::path::Path;

const KEY_FILE: &str = "decisions.pub";

/// Keeps the public keys that may sign decision sets, one a line.
pub fn remember_keys(data: &Path, keys: &[String]) -> Result<(), Failure> {
    remember(&data.join(KEY_FILE), &keys.iter().map(|key| format!("{key}\n")).collect::<String>())
}

/// Replaced whole. What is there already needs no room: a full disk must not keep anybody from starting as before.
fn remember(path: &Path, text: &str) -> Result<(), Failure> {
    if std::fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path)).map_err(|why| {
        let what = format!("cannot write {}: {why}", path.display());
        Failure::new(Side::Machine, what, "make room, or choose another directory: --data DIR")
    })
}

/// The keys that `remember_keys` kept, if it did.
pub fn known_keys(data: &Path) -> Vec<String> {
    let kept = std::fs::read_to_string(data.join(KEY_FILE)).unwrap_or_default();
    kept.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

const POINT_FILE: &str = "enforcer.json";

/// Keeps the enforcer's settings.
pub fn remember_point(data: &Path, config: &enforcer::Config) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(config)
        .map_err(|why| Failure::new(Side::Gnomon, format!("the enforcer's settings cannot be written: {why}"), "please report this"))?;
    remember(&data.join(POINT_FILE), &text)
}

/// The settings that `remember_point` kept, if it did.
pub fn known_point(data: &Path) -> Result<Option<enforcer::Config>, Failure> {
    let path = data.join(POINT_FILE);
    let told = |why: &dyn std::fmt::Display| {
        let what = format!("{} says how the enforcer here was started, and cannot be read: {why}", path.display());
        Failure::new(Side::Machine, what, "start the enforcer again, or name its configuration: --config FILE")
    };
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|why| told(&why)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(told(&why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_may_sign_are_kept_and_who_no_longer_may_is_forgotten() {
        let data = tempfile::tempdir().unwrap();
        assert!(known_keys(data.path()).is_empty());
        for keys in [vec!["a=".to_owned(), "b=".to_owned()], vec!["b=".to_owned()]] {
            remember_keys(data.path(), &keys).unwrap();
            assert_eq!(known_keys(data.path()), keys);
        }
    }
}
