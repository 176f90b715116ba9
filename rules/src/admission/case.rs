//! One finding's history: where it stands on the ladder, and how much of its grace period has been lived through.

use crate::{Timestamp, period::Period, policy::Policy};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A finding's escalation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escalation {
    Open,
    Notified,
    Reminded,
    Due,
    Blocked,
    /// Left the ladder; it comes back to `Open` if the trouble does.
    Closed,
}

impl Escalation {
    pub fn as_str(self) -> &'static str {
        match self {
            Escalation::Open => "open",
            Escalation::Notified => "notified",
            Escalation::Reminded => "reminded",
            Escalation::Due => "due",
            Escalation::Blocked => "blocked",
            Escalation::Closed => "closed",
        }
    }
}

/// Why a finding left the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closure {
    Registered,
    Gone,
    NotDetected,
}

impl Closure {
    pub fn says(self) -> &'static str {
        match self {
            Closure::Registered => "registered",
            Closure::Gone => "nothing answers there any more",
            Closure::NotDetected => "no longer found",
        }
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    Owner,
    /// The site's security team: where the owner is unknown, or cannot be reached.
    SecurityQueue,
}

/// Somebody's word that a finding may stand for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    pub requested_by: String,
    /// Never the requester.
    pub approved_by: String,
    pub reason: String,
    pub until: Timestamp,
}

/// What has happened to one finding so far. Stored; the clock lives here and survives everything the store survives.
///
/// Two kinds of time: calendar dates (`*_at`, `*_until`) are read off the wall clock; the grace period is *counted* in
/// [`Case::waited`], which only grows, and by no more than [`Case::WATCH`] per step. So neither a clock that jumps (either
/// way) nor days in which the collector was down bring a block nearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    #[serde(rename = "rung", alias = "escalation")]
    pub escalation: Escalation,
    pub opened_at: Timestamp,
    /// To whom the notice was addressed, and since when: the owner, the security queue, or one after the other.
    pub asked: BTreeMap<Audience, Timestamp>,
    /// Proof that a notice reached somebody. No proof, no clock.
    pub notified_at: Option<Timestamp>,
    /// How much of the time since then was lived through.
    pub waited: Period,
    #[serde(flatten)]
    pub presence: Presence,
    /// Why it is due and not blocked.
    pub why_not: Option<String>,
    /// Reminders already sent, by how long before the block they were to go out.
    pub reminded: Vec<Period>,
    pub blocked_at: Option<Timestamp>,
    /// Blocked, and not seen since the block was taken back: it may be silent because of it, so that it takes twice the silence, or
    /// a probe that misses it, to call it gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hushed: bool,
    #[serde(flatten)]
    pub occupant: Occupant,
    #[serde(flatten)]
    pub end: End,
    pub exemption: Option<Exemption>,
    /// Silenced until then: no messages, but the clock runs.
    pub snoozed_until: Option<Timestamp>,
    /// When this case was last judged, by the wall clock of then.
    pub judged_at: Timestamp,
}

/// How long the server of a case was silent, counted like the grace period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// How often the server had been seen, as far as this case was told.
    pub seen: u64,
    /// The time since then that was lived through with somebody watching. The wall clock does not count: after an outage of a month nothing
    /// was seen for a month, and all servers may be there.
    pub unseen: Period,
}

/// The server that answers at the place of a case, by the name it gives itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Another server took its place once, and the clock began anew for it. A second time it does not: changing names buys no more time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// A third server answered after that. Told once, so that a person looks whether it is one server with many names or an address with
    /// many servers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contested: bool,
}

/// Why and when a case was closed; both unset while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub closed: Option<Closure>,
    pub closed_at: Option<Timestamp>,
}

/// Why a person's word on a case was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    #[error("`{0}` must not be empty")]
    Empty(&'static str),
    #[error("an exemption is approved by somebody else than {0}, who asked for it")]
    SelfApproved(String),
    #[error("{until} is not in the future")]
    Past { until: Timestamp },
    #[error("until {until} is longer than this site allows: at most {max}, that is until {latest}")]
    TooLong { until: Timestamp, max: Period, latest: Timestamp },
    #[error("a snooze silences the reminders, so it must end before the block falls due at {deadline}")]
    PastDeadline { deadline: Timestamp },
    #[error("the finding is closed")]
    Closed,
}

impl Case {
    /// The longest time between two steps that counts in full; what is beyond was an outage or a jump of the clock, and
    /// counts for nothing. Whoever drives the ladder steps every case more often than this.
    pub const WATCH: Duration = Duration::from_secs(3600);

    pub fn open(at: Timestamp) -> Case {
        Case {
            escalation: Escalation::Open,
            opened_at: at,
            asked: BTreeMap::new(),
            notified_at: None,
            waited: Period::default(),
            presence: Presence::default(),
            why_not: None,
            reminded: Vec::new(),
            blocked_at: None,
            hushed: false,
            occupant: Occupant::default(),
            end: End::default(),
            exemption: None,
            snoozed_until: None,
            judged_at: at,
        }
    }

    /// Whether this, a step later, has to replace what is stored. Mere passing of time need not be written down every time:
    /// a stored case that is a few minutes old lives through them at the next step, also after a restart.
    pub fn worth_storing(&self, stored: &Case) -> bool {
        let aged = Case { waited: self.waited, presence: self.presence, judged_at: self.judged_at, ..stored.clone() };
        aged != *self || self.judged_at.duration_since(stored.judged_at).unsigned_abs() >= Case::WATCH / 4
    }

    /// A notice was delivered (the channel's proof, not the attempt), at `now` by our own clock. Only the first counts;
    /// gives whether it did.
    pub fn delivered(&mut self, now: Timestamp) -> bool {
        if self.notified_at.is_some() || self.escalation == Escalation::Closed {
            return false;
        }
        self.notified_at = Some(now);
        self.waited = Period::default();
        self.judged_at = now;
        true
    }

    /// Lets the finding stand until `exemption.until`. What was blocked is released by the next step.
    pub fn exempt(&mut self, mut exemption: Exemption, policy: &Policy, now: Timestamp) -> Result<(), Unacceptable> {
        for (field, text) in
            [("requested_by", &mut exemption.requested_by), ("approved_by", &mut exemption.approved_by), ("reason", &mut exemption.reason)]
        {
            *text = crate::printable::printable(text.trim(), 400);
            if text.is_empty() {
                return Err(Unacceptable::Empty(field));
            }
        }
        if exemption.requested_by.to_lowercase() == exemption.approved_by.to_lowercase() {
            return Err(Unacceptable::SelfApproved(exemption.requested_by));
        }
        self.bounded(exemption.until, policy.grace.max_exemption, now)?;
        self.exemption = Some(exemption);
        Ok(())
    }

    /// Acknowledges: no messages until then. The clock runs on.
    pub fn snooze(&mut self, until: Timestamp, policy: &Policy, soft_phase_start: Timestamp, now: Timestamp) -> Result<(), Unacceptable> {
        self.bounded(until, policy.grace.max_snooze, now)?;
        if let Some(deadline) = self.block_at(policy, soft_phase_start).filter(|d| *d <= until) {
            return Err(Unacceptable::PastDeadline { deadline });
        }
        self.snoozed_until = Some(until);
        Ok(())
    }

    fn bounded(&self, until: Timestamp, max: Period, now: Timestamp) -> Result<(), Unacceptable> {
        let latest = max.after(now);
        if self.escalation == Escalation::Closed {
            Err(Unacceptable::Closed)
        } else if until <= now {
            Err(Unacceptable::Past { until })
        } else if until > latest {
            Err(Unacceptable::TooLong { until, max, latest })
        } else {
            Ok(())
        }
    }

    /// When the block falls due by the wall clock, if nothing interrupts the waiting: the grace period after the first
    /// delivered notice, and not before the soft phase ends. `None`: no clock runs.
    pub fn block_at(&self, policy: &Policy, soft_phase_start: Timestamp) -> Option<Timestamp> {
        self.notified_at?;
        let hard_from = policy.grace.hard_from.unwrap_or_else(|| policy.grace.soft_phase.after(soft_phase_start));
        Some(policy.grace.period.after(self.started()).max(hard_from))
    }

    /// When the waiting would have begun had it never been interrupted.
    pub(super) fn started(&self) -> Timestamp {
        self.waited.before(self.judged_at)
    }

    /// Lets time pass up to `now`, and gives how much of it counts.
    pub(super) fn live(&mut self, now: Timestamp, clock_runs: bool) -> Duration {
        let elapsed = Duration::try_from(now.duration_since(self.judged_at)).unwrap_or(Duration::ZERO).min(Case::WATCH);
        self.judged_at = now;
        if clock_runs && self.notified_at.is_some() {
            self.waited = Period(self.waited.0.saturating_add(elapsed));
        }
        elapsed
    }

    /// The server has been seen so often by now; `counts` is what was lived through since the last step while somebody watched.
    pub(super) fn look(&mut self, sightings: u64, counts: Duration) {
        if sightings == self.presence.seen {
            self.presence.unseen = Period(self.presence.unseen.0.saturating_add(counts));
        } else {
            self.presence = Presence { seen: sightings, unseen: Period::default() };
            self.hushed &= self.escalation == Escalation::Blocked;
        }
    }
}
