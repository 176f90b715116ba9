//! When the next sweep is due, and what is remembered for it over restarts.

use super::config::TargetHint;
use crate::replace::replace;
use rules::{Timestamp, period::Period};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind, Read},
    path::Path,
    time::Duration,
};

/// How long until the next sweep: `every` after the last one, and up to an eighth later, which hangs on the sensor's name and the
/// time, so that sensors that were started together part. Pure.
pub(super) fn until_sweep(sensor: &str, every: Period, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(last) = last.filter(|at| *at <= now) else { return Duration::ZERO };
    let mut hasher = DefaultHasher::new();
    (sensor, last.as_second()).hash(&mut hasher);
    let every = every.0.max(Duration::from_secs(1));
    let later = (every / 8).mul_f64((hasher.finish() % 1000) as f64 / 1000.0);
    let passed = now.duration_since(last).unsigned_abs();
    (every + later).saturating_sub(passed)
}

/// A sensor's own memory, beside its spool: nobody tells it what the collector knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) swept_at: Option<Timestamp>,
    pub(super) known: Vec<TargetHint>,
}

const MAX: u64 = 8 << 20;

impl Memory {
    /// What was kept. What cannot be read is forgotten: the next sweep finds it again.
    pub(super) fn load(path: &Path) -> Memory {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text));
        match read.map(|_| serde_json::from_str(&text)) {
            Ok(Ok(memory)) => memory,
            Err(why) if why.kind() == ErrorKind::NotFound => Memory::default(),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(path = %path.display(), "what the probe remembered cannot be read: it begins anew");
                Memory::default()
            }
        }
    }

    pub(super) fn keep(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekly_is_not_the_same_hour_for_all_and_a_restart_changes_nothing() {
        let start = Timestamp::UNIX_EPOCH;
        let week = Period::days(7);
        let after = |sensor: &str, days: u64| until_sweep(sensor, week, Some(start), Period::days(days).after(start));
        assert_eq!(until_sweep("a", week, None, start), Duration::ZERO);
        assert!(week.0 <= after("a", 0) && after("a", 0) <= week.0 + week.0 / 8);
        assert_ne!(after("a", 0), after("b", 0));
        assert_eq!(after("a", 0) - after("a", 3), Period::days(3).0, "asked later, due at the same time");
        assert_eq!(after("a", 8), Duration::ZERO);
        assert_eq!(until_sweep("a", week, Some(Period::days(9).after(start)), start), Duration::ZERO, "a clock that was set back");
    }

    #[test]
    fn what_is_kept_is_found_again_and_rubbish_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probe.memory");
        assert_eq!(Memory::load(&path), Memory::default());
        let known = vec![TargetHint { address: "10.0.0.5".into(), port: Some(3001), ..TargetHint::default() }];
        let memory = Memory { swept_at: Some(Timestamp::UNIX_EPOCH), known };
        memory.keep(&path).unwrap();
        assert_eq!(Memory::load(&path), memory);
        std::fs::write(&path, b"{\"swept_at\":").unwrap();
        assert_eq!(Memory::load(&path), Memory::default());
    }
}
