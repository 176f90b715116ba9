//! Lengths of time as people write them: `30d`, `15m`, `1d 12h`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};

/// A length of time that reads and prints as text (`30d`, `12h`, `90s`). A day is 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(pub Duration);

impl Period {
    pub const fn seconds(n: u64) -> Period {
        Period(Duration::from_secs(n))
    }

    pub const fn days(n: u64) -> Period {
        Period(Duration::from_secs(n * 86_400))
    }

    /// The moment this long after `at`, or the last representable moment.
    pub fn after(self, at: crate::Timestamp) -> crate::Timestamp {
        at.checked_add(self.0).unwrap_or(crate::Timestamp::MAX)
    }

    /// The moment this long before `at`, or the first representable moment.
    pub fn before(self, at: crate::Timestamp) -> crate::Timestamp {
        at.checked_sub(self.0).unwrap_or(crate::Timestamp::MIN)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text)
            .map(Period)
            .map_err(|why| format!("`{text}` is not a length of time such as 30d, 12h or 90s: {why}"))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime counts months and years; a deadline is agreed in days.
        let days = self.0.as_secs() / 86_400;
        let rest = self.0.saturating_sub(Duration::from_secs(days * 86_400));
        match (days, rest.is_zero()) {
            (0, _) => write!(f, "{}", humantime::format_duration(rest)),
            (d, true) => write!(f, "{d}d"),
            (d, false) => write!(f, "{d}d {}", humantime::format_duration(rest)),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_it_reads() {
        for text in ["30d", "12h", "90d", "1d 12h", "250ms", "0s"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert!("soon".parse::<Period>().unwrap_err().contains("30d"));
    }
}
