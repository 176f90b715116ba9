//! The enforcement points of a site, and the wave of new blocks on its way through them.

use crate::{Timestamp, endpoint::Endpoint, observation::Applied, policy::Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

mod attempts;

pub use attempts::Tried;

/// One enforcement point, as the collector knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The name in its certificate.
    pub name: String,
    pub heard_at: Timestamp,
    /// Since when its word is that not all is enforced there.
    pub short_since: Option<Timestamp>,
    pub said: Applied,
}

/// The enforcement points of a site, and the wave under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fleet<'a> {
    pub points: &'a [Point],
    pub wave: Option<&'a Wave>,
}

/// New blocks on their way through the points. Kept by the collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub blocks: BTreeSet<Endpoint>,
    /// Index into [`crate::policy::FleetPolicy::waves`].
    pub stage: usize,
    /// Who makes these blocks so far.
    pub points: BTreeSet<String>,
    /// When this stage began, and with which generation.
    pub since: Timestamp,
    pub generation: u64,
    /// Why it stands still.
    pub held: Option<String>,
    /// A person said that it is to go on now.
    #[serde(default)]
    pub pushed: bool,
}

/// What is enforced of what is to be, over all points that enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetCoverage {
    pub enforced: u64,
    pub desired: u64,
    /// Points that enforce, and how many of them were heard lately.
    pub points: usize,
    pub heard: usize,
}

impl Point {
    /// Whether its last word is young enough to be believed.
    pub fn is_heard(&self, policy: &Policy, now: Timestamp) -> bool {
        policy.fleet.point_silence.after(self.heard_at) > now
    }

    /// A dry run is no enforcement point.
    pub fn enforces(&self) -> bool {
        self.said.status.enforces
    }
}

impl Fleet<'_> {
    pub fn coverage(&self, policy: &Policy, now: Timestamp) -> FleetCoverage {
        let mut sum = FleetCoverage::default();
        for p in self.points.iter().filter(|p| p.enforces()) {
            let heard = p.is_heard(policy, now);
            sum.points += 1;
            sum.heard += usize::from(heard);
            sum.desired = sum.desired.saturating_add(p.said.status.desired);
            sum.enforced = sum.enforced.saturating_add(if heard { p.said.status.enforced.min(p.said.status.desired) } else { 0 });
        }
        sum
    }
}

impl Wave {
    /// A person says no, and why.
    pub fn hold(&mut self, why: String) {
        (self.held, self.pushed) = (Some(why), false);
    }

    /// A person says yes: on to the next points at once.
    pub fn go(&mut self) {
        (self.held, self.pushed) = (None, true);
    }
}
