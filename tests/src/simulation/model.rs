//! What may be blocked, by a second and simpler account of the same world, kept in true time that no clock can jump.

use jiff::Timestamp;
use rules::{
    admission::Case,
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
    finding::{FindingId, FindingKind},
    policy::{Mode, Policy},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One server, as it really is and as it was really treated.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// Kinds of evidence that arrived.
    pub(super) wire: bool,
    pub(super) host: bool,
    pub(super) probe: bool,
    pub(super) control: bool,
    pub(super) neighbour: bool,
    pub(super) registered: bool,
    /// By the wall clock of the collector, as evidence is stamped.
    pub(super) last_seen: Option<Timestamp>,
}

/// What people did about one finding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// True time at which a notice was delivered in this life of the finding.
    pub(super) delivered: Option<Duration>,
    /// Jumps of the clock and outages since then: each may count for at most an hour that nobody lived.
    pub(super) jumps: u32,
    pub(super) exempt_until: Option<Timestamp>,
}

impl Truth {
    fn corroborated(&self) -> bool {
        let probe_confirmed = self.probe && self.control;
        let confirmed = self.wire || probe_confirmed;
        let sources = [self.wire, self.host, self.probe].iter().filter(|w| **w).count();
        probe_confirmed || (confirmed && sources >= 2)
    }

    /// Why a block of it would be wrong at this moment, whatever its clock says.
    fn objection(&self, policy: &Policy, now: Timestamp) -> Option<&'static str> {
        if policy.mode != Mode::Hard {
            Some("the site is not in hard mode")
        } else if policy.agents.is_empty() {
            Some("there are no agents")
        } else if self.registered {
            Some("it is registered")
        } else if !self.corroborated() {
            Some("one witness")
        } else if self.neighbour {
            Some("it shares its endpoint")
        } else if self.last_seen.is_none_or(|at| policy.presence.gone_after.after(at) <= now) {
            Some("it was not seen lately")
        } else {
            None
        }
    }
}

impl Clock {
    fn objection(&self, policy: &Policy, start: Timestamp, elapsed: Duration, now: Timestamp) -> Option<&'static str> {
        let slack = Case::WATCH * self.jumps;
        let hard_from = policy.grace.hard_from.unwrap_or_else(|| policy.grace.soft_phase.after(start));
        if self.exempt_until.is_some() {
            Some("it is exempted")
        } else if now < hard_from {
            Some("the soft phase is not over")
        } else if self.delivered.is_none() {
            Some("no notice was delivered")
        } else if self.delivered.is_some_and(|at| elapsed.saturating_sub(at) + slack < policy.grace.period.0) {
            Some("the grace period was not lived through")
        } else {
            None
        }
    }
}

/// The whole account.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) truths: BTreeMap<Endpoint, Truth>,
    pub(super) clocks: BTreeMap<FindingId, Clock>,
    pub(super) elapsed: Duration,
    issued: BTreeMap<u64, DecisionSet>,
}

impl Model {
    /// The clock of the wall was set, or nobody lived through the time since: see [`Clock::jumps`].
    pub(super) fn jumped(&mut self) {
        for clock in self.clocks.values_mut() {
            clock.jumps += 1;
        }
    }

    pub(super) fn delivered(&mut self, finding: &FindingId) {
        let clock = self.clocks.entry(finding.clone()).or_default();
        (clock.delivered, clock.jumps) = (Some(self.elapsed), 0);
    }

    /// Registered, or no longer: whatever was found before is over.
    pub(super) fn registered(&mut self, endpoint: Endpoint, registered: bool) {
        self.truths.entry(endpoint).or_default().registered = registered;
        for kind in [FindingKind::Shadow, FindingKind::Retired] {
            self.clocks.entry(id(kind, endpoint)).or_default().delivered = None;
        }
    }

    /// What a round at `now` has to notice before it judges.
    pub(super) fn before_round(&mut self, now: Timestamp) {
        for clock in self.clocks.values_mut() {
            if clock.exempt_until.is_some_and(|until| until <= now) {
                (clock.exempt_until, clock.delivered) = (None, None);
            }
        }
    }

    /// Why no block of this endpoint is to be expected, for the one finding or the other.
    pub(super) fn excuse(&self, endpoint: Endpoint, policy: &Policy, start: Timestamp, now: Timestamp) -> Option<&'static str> {
        let clock = |kind| self.clocks.get(&id(kind, endpoint)).copied().unwrap_or_default();
        let excuse = |kind| clock(kind).objection(policy, start, self.elapsed, now);
        self.truths.get(&endpoint).and_then(|t| t.objection(policy, now)).or_else(|| {
            // Which of the two it is now is for the rules to say; both are excused only if each is.
            let (shadow, retired) = (excuse(FindingKind::Shadow), excuse(FindingKind::Retired));
            shadow.and(retired)
        })
    }

    pub(super) fn check(&mut self, set: &DecisionSet, policy: &Policy, start: Timestamp, now: Timestamp) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for decision in &set.decisions {
            let endpoint = decision.endpoint;
            if !seen.insert(endpoint) {
                return Err(format!("{endpoint} is decided on twice"));
            }
            if set.protected_endpoints.contains(&endpoint) || set.protected.iter().any(|net| net.contains(&endpoint.address)) {
                return Err(format!("{endpoint} is protected and {:?}", decision.action));
            }
            let truth = self.truths.get(&endpoint).ok_or_else(|| format!("{endpoint} does not exist"))?;
            if truth.registered {
                return Err(format!("{endpoint} is registered and {:?}", decision.action));
            }
            let clock = self.clocks.get(&decision.finding).copied().unwrap_or_default();
            let why = truth.objection(policy, now).or_else(|| clock.objection(policy, start, self.elapsed, now));
            if let Some(why) = why.filter(|_| decision.action == Action::Block) {
                return Err(format!("{endpoint} is blocked, and {why}"));
            }
        }
        for (endpoint, truth) in &self.truths {
            if truth.registered && !set.protected_endpoints.contains(endpoint) {
                return Err(format!("{endpoint} is registered and not protected"));
            }
        }
        self.check_generation(set)
    }

    fn check_generation(&mut self, set: &DecisionSet) -> Result<(), String> {
        let newest = self.issued.keys().next_back().copied().unwrap_or(0);
        match self.issued.get(&set.generation) {
            Some(same) if same == set && set.generation == newest => Ok(()),
            Some(_) if set.generation < newest => Err(format!("generation {} was taken out again after {newest}", set.generation)),
            Some(_) => Err(format!("generation {} says two things", set.generation)),
            None if set.generation <= newest => Err(format!("generation {} came after {newest}", set.generation)),
            None => {
                self.issued.insert(set.generation, set.clone());
                Ok(())
            }
        }
    }

    pub(super) fn was_issued(&self, set: &DecisionSet) -> bool {
        self.issued.get(&set.generation) == Some(set)
    }
}

fn id(kind: FindingKind, endpoint: Endpoint) -> FindingId {
    FindingId::derive(kind, &format!("default/{endpoint}/mcp"))
}
