//! Sensors, enforcers and gateways, as the collector knows them.

mod received;

use ipnet::IpNet;
pub(crate) use received::Received;
use rules::{
    Timestamp,
    observation::{Applied, Coverage, Outcome, PointStatus, Said},
    period::Period,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A sensor, enforcer or gateway that speaks to us.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sensor {
    pub(crate) site: String,
    pub(crate) role: Role,
    /// Unset: in this process.
    pub(crate) enrolled: Option<Enrolled>,
    /// Serial numbers of certificates that stand, oldest first.
    pub(crate) serials: Vec<String>,
    pub(crate) revoked: Option<Timestamp>,
    pub(crate) heard_at: Option<Timestamp>,
    pub(crate) received: Received,
    /// Records the sensor said it lost.
    pub(crate) gaps: u64,
    /// Batches of an epoch that is over.
    pub(crate) stale: u64,
    #[serde(rename = "eyes")]
    pub(crate) captures: BTreeMap<String, Capture>,
    pub(crate) applied: Option<Applied>,
    /// Since when its word is that not all is enforced there.
    #[serde(default)]
    pub(crate) short_since: Option<Timestamp>,
    /// The last act of a person there that is in the journal.
    #[serde(default)]
    pub(crate) acts_upto: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    pub(crate) at: Timestamp,
    pub(crate) not_after: Timestamp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Sensor,
    Enforcer,
    Gateway,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Sensor => "sensor",
            Role::Enforcer => "enforcer",
            Role::Gateway => "gateway",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// 1 to 63 characters of a-z, 0-9, `.` and `-`, beginning with a letter or digit.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

impl Sensor {
    pub(crate) const MAX_INTERFACES: usize = 64;

    /// Takes a coverage report. False: too many interfaces, it was dropped.
    pub(crate) fn see(&mut self, report: Coverage, now: Timestamp) -> bool {
        let full = self.captures.len() >= Sensor::MAX_INTERFACES;
        match self.captures.get_mut(&report.interface) {
            Some(capture) => capture.see(report, now),
            None if full => return false,
            None => drop(self.captures.insert(report.interface.clone(), Capture::open(report, now))),
        }
        true
    }

    /// Recent coverage of each capture point. One that was opened just now and saw nothing yet is left out.
    pub(crate) fn recent(&self, now: Timestamp) -> Vec<Coverage> {
        self.captures.values().filter_map(|capture| capture.recent(now)).collect()
    }

    /// Takes an enforcement point's report. False: it says the same as before.
    pub(crate) fn take_word(&mut self, applied: Applied, now: Timestamp) -> bool {
        let s = &applied.status;
        let bad = matches!(applied.outcome, Outcome::Refused | Outcome::Failed) || !s.is_whole();
        self.short_since = (s.enforces && bad).then_some(self.short_since.unwrap_or(now));
        // A blocked attempt is no news about the set.
        let about =
            |a: &Applied| Applied { status: PointStatus { attempts: Vec::new(), attempts_lost: 0, ..a.status.clone() }, ..a.clone() };
        let news = self.applied.as_ref().map(about) != Some(about(&applied));
        self.applied = Some(applied);
        news
    }

    /// Whether its role may say this: an enforcer reports on sets and saw nothing, a sensor saw and enforces nothing. In this
    /// process nobody enrols, and all are one.
    pub(crate) fn may_say(&self, said: &Said) -> bool {
        match (self.role, said) {
            _ if self.enrolled.is_none() => true,
            (Role::Sensor, Said::Evidence(_) | Said::Coverage(_) | Said::Probed(_) | Said::Gap { .. }) => true,
            (Role::Enforcer, Said::Applied(_)) => true,
            (Role::Sensor | Role::Enforcer | Role::Gateway, _) => false,
        }
    }

    /// Whether a certificate with this serial number counts.
    pub(crate) fn stands(&self, serial: &str) -> bool {
        self.revoked.is_none() && self.serials.iter().any(|s| s == serial)
    }

    pub(crate) fn new(site: &str, role: Role) -> Sensor {
        Sensor {
            site: site.to_owned(),
            role,
            enrolled: None,
            serials: Vec::new(),
            revoked: None,
            heard_at: None,
            received: Received::default(),
            gaps: 0,
            stale: 0,
            captures: BTreeMap::new(),
            applied: None,
            short_since: None,
            acts_upto: None,
        }
    }
}

/// One capture point: its newest report, and older ones to count from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Capture {
    pub(crate) last: Coverage,
    /// Counted from here: at least [`Capture::WINDOW`] ago, once it has been open so long.
    base: Coverage,
    base_at: Timestamp,
    /// The next base.
    next: Coverage,
    next_at: Timestamp,
    /// Networks something came from, and when that was last said.
    #[serde(default)]
    heard: BTreeMap<IpNet, Timestamp>,
}

impl Capture {
    /// Coverage is judged over at least so long.
    const WINDOW: Period = Period::seconds(15 * 60);
    /// A network nothing came from for so long is not heard any more.
    const HEARD: Period = Period::seconds(60 * 60);
    const MAX_NETWORKS: usize = 4096;

    fn open(mut report: Coverage, now: Timestamp) -> Capture {
        let nothing = Coverage { interface: report.interface.clone(), ..Coverage::default() };
        let heard = std::mem::take(&mut report.heard).into_iter().take(Capture::MAX_NETWORKS).map(|net| (net, now)).collect();
        Capture { last: report.clone(), base: nothing, base_at: now, next: report, next_at: now, heard }
    }

    fn see(&mut self, mut report: Coverage, now: Timestamp) {
        for net in std::mem::take(&mut report.heard) {
            if self.heard.len() >= Capture::MAX_NETWORKS && !self.heard.contains_key(&net) {
                self.heard.retain(|_, at| Capture::HEARD.after(*at) > now);
            }
            if self.heard.len() < Capture::MAX_NETWORKS || self.heard.contains_key(&net) {
                self.heard.insert(net, now);
            }
        }
        if Capture::WINDOW.after(self.next_at) <= now {
            (self.base, self.base_at) = (std::mem::replace(&mut self.next, report.clone()), self.next_at);
            self.next_at = now;
        }
        self.last = report;
    }

    fn recent(&self, now: Timestamp) -> Option<Coverage> {
        let lately = self.heard.iter().filter(|(_, at)| Capture::HEARD.after(**at) > now).map(|(net, _)| *net);
        let recent = Coverage { heard: lately.collect(), ..self.last.since(&self.base) };
        let long_enough = Capture::WINDOW.after(self.base_at) <= now;
        (recent.frames > 0 || long_enough).then_some(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(frames: u64) -> Coverage {
        Coverage { interface: "eth0".to_owned(), frames, ..Coverage::default() }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
    }

    #[test]
    fn a_network_is_heard_for_an_hour_after_it_was_told() {
        let mut sensor = Sensor::new("lab", Role::Sensor);
        let net: IpNet = "10.1.2.0/24".parse().unwrap();
        assert!(sensor.see(Coverage { heard: [net].into(), ..report(1) }, at(0)));
        for minute in [10i64, 20, 59, 60, 70] {
            assert!(sensor.see(report(1 + minute.unsigned_abs()), at(minute)));
            let heard = sensor.recent(at(minute)).first().is_some_and(|c| c.heard.contains(&net));
            assert_eq!(heard, minute < 60, "{minute}");
        }
    }

    #[test]
    fn a_quiet_interface_is_judged_by_a_quarter_of_an_hour_not_by_a_moment() {
        let mut sensor = Sensor::new("lab", Role::Sensor);
        assert!(sensor.see(report(0), at(0)));
        assert_eq!(sensor.recent(at(1)), []);
        assert!(sensor.see(report(100), at(5)));
        assert_eq!(sensor.recent(at(5)).first().map(|c| c.frames), Some(100));
        for minute in 6..=60 {
            sensor.see(report(100), at(minute));
            assert_eq!(sensor.recent(at(minute)).len(), 1, "{minute}");
        }
        assert_eq!(sensor.recent(at(60)).first().map(|c| c.frames), Some(0), "nothing for half an hour");
    }
}
