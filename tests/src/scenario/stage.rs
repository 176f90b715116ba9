//! What a script plays on: one site, with its inventory, its matters and the last decision set, and a clock that only moves
//! when the script says so.

use collector::inventory::Inventory;
use jiff::{SignedDuration, Timestamp};
use rules::{
    admission::{Case, Effect, Message},
    compose::{Composition, WithheldBlock, compose},
    decision::DecisionSet,
    detect::Sight,
    endpoint::Place,
    evidence::Evidence,
    finding::FindingId,
    fleet::Fleet,
    pack::Pack,
    period::Period,
    policy::Policy,
    registry::Registry,
    round::{rename, round},
    server::Server,
    site::{Matters, Site},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// 2026-01-01.
pub(super) const DAY_0: i64 = 1_767_225_600;

pub(super) struct Stage {
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    pub(super) registry: Registry,
    pub(super) inventory: Inventory,
    pub(super) matters: Matters,
    pub(super) set: Option<DecisionSet>,
    pub(super) held: Vec<WithheldBlock>,
    /// What goes on being seen, day after day, until the place falls silent.
    pub(super) habits: Vec<(String, Evidence)>,
    /// When each sensor was last heard.
    pub(super) sensors: BTreeMap<String, Timestamp>,
    pub(super) unplugged: BTreeSet<String>,
    hold: Option<String>,
    /// Notices that wait for the proof of their delivery.
    pub(super) undelivered: Vec<FindingId>,
    pack: Pack,
}

impl Stage {
    pub(super) fn new() -> Stage {
        let agents = vec!["10.0.9.0/24".parse().expect("a network"), "2001:db8:9::/64".parse().expect("a network")];
        Stage {
            now: start(),
            policy: Policy { agents, ..Policy::default() },
            registry: Registry::default(),
            inventory: Inventory::new("default"),
            matters: Matters::new(),
            set: None,
            held: Vec::new(),
            habits: Vec::new(),
            sensors: BTreeMap::new(),
            unplugged: BTreeSet::new(),
            hold: None,
            undelivered: Vec::new(),
            pack: Pack::shipped(),
        }
    }

    pub(super) fn site(&self) -> Site<'_> {
        Site {
            name: "default",
            policy: &self.policy,
            registry: &self.registry,
            pack: &self.pack,
            soft_phase_start: start(),
            ours: &[],
            fleet: Fleet::default(),
        }
    }

    pub(super) fn servers(&self) -> Vec<&Server> {
        self.inventory.servers().collect()
    }

    pub(super) fn pack(&self) -> &Pack {
        &self.pack
    }

    pub(super) fn day(&self, at: Timestamp) -> String {
        let hours = at.duration_since(start()).as_hours();
        if hours % 24 == 0 { format!("day {}", hours / 24) } else { format!("day {:.1}", hours as f64 / 24.0) }
    }

    /// Something is seen now, and goes on being seen.
    pub(super) fn observe(&mut self, sensor: &str, evidence: Evidence) -> Vec<String> {
        self.see(sensor, &evidence);
        self.habits.retain(|(s, e)| s != sensor || e.place != evidence.place || e.signature != evidence.signature);
        self.habits.push((sensor.to_owned(), evidence));
        self.judge()
    }

    /// Something is seen once.
    pub(super) fn see(&mut self, sensor: &str, evidence: &Evidence) {
        self.sensors.insert(sensor.to_owned(), self.now);
        let evidence = Evidence { at: self.now, ..evidence.clone() };
        for (from, to) in self.inventory.observe(sensor, &evidence, &self.pack).renamed {
            rename(&mut self.matters, &from, &to);
        }
    }

    pub(super) fn falls_silent(&mut self, place: &Place) {
        self.habits.retain(|(_, e)| e.place.endpoint != place.endpoint || (place.path.is_some() && e.place.path != place.path));
    }

    /// One round of judgement, and the set that follows from it, as lines.
    pub(super) fn judge(&mut self) -> Vec<String> {
        let sights: Vec<Sight<'_>> = self.sensors.iter().map(|(sensor, at)| Sight { sensor, last_heard: *at, coverage: &[] }).collect();
        let done = round(&self.site(), self.inventory.servers(), &sights, &self.matters, self.now);
        let mut lines = Vec::new();
        for (id, effect) in &done.effects {
            if matches!(effect, Effect::Tell { message: Message::Notice, .. }) && !self.undelivered.contains(id) {
                self.undelivered.push(id.clone());
            }
            let finding = done.matters.get(id).map(|m| &m.finding);
            let about = finding.map_or_else(|| id.to_string(), |f| subject(f.place.as_ref(), f.slug.as_deref(), f.kind.as_str()));
            lines.push(format!("{}: {about}: {}", self.day(self.now), said(effect, |at| self.day(at))));
        }
        if let Some(why) = done.hold.as_ref().filter(|why| self.hold.as_ref() != Some(why)) {
            lines.push(format!("{}: held: {why}", self.day(self.now)));
        }
        self.hold = done.hold;
        self.matters = done.matters;
        lines.extend(self.compose());
        lines
    }

    fn compose(&mut self) -> Vec<String> {
        let Composition { set, news, held, .. } = compose(&self.site(), self.matters.values(), self.set.as_ref(), 0, self.now);
        let mut lines = Vec::new();
        let before: Vec<_> = self.set.iter().flat_map(|s| &s.decisions).map(|d| (d.endpoint, d.action)).collect();
        let after: Vec<_> = set.decisions.iter().map(|d| (d.endpoint, d.action)).collect();
        if news && before != after {
            let generation = set.generation;
            lines.push(format!("{}: generation {generation}: {} decisions", self.day(self.now), after.len()));
        }
        for h in held.iter().filter(|h| !self.held.contains(h)) {
            lines.push(format!("{}: {} held: {}", self.day(self.now), h.endpoint, h.reason));
        }
        self.set = Some(set);
        self.held = held;
        lines
    }

    /// Lives through a period, judging every half hour; what goes on being seen is seen every half day.
    pub(super) fn advance(&mut self, period: Period) -> Vec<String> {
        let step = Case::WATCH / 2;
        let mut lines = Vec::new();
        let mut left = period.0;
        while left > Duration::ZERO {
            let by = left.min(step);
            left -= by;
            self.now = Period(by).after(self.now);
            if self.now.duration_since(start()).as_secs() % 43_200 == 0 {
                for (sensor, evidence) in self.habits.clone() {
                    self.see(&sensor, &evidence);
                }
            }
            for (_, at) in self.sensors.iter_mut().filter(|(name, _)| !self.unplugged.contains(*name)) {
                *at = self.now;
            }
            lines.extend(self.judge());
        }
        lines
    }

    /// The wall clock is set to something else; nobody lived through the time between.
    pub(super) fn jump(&mut self, by: SignedDuration) -> Vec<String> {
        self.now = self.now.checked_add(by).expect("a time that can be written");
        self.judge()
    }

    /// All is written down and read again, as a restart does.
    pub(super) fn restart(&mut self) -> Vec<String> {
        fn again<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
            serde_json::from_str(&serde_json::to_string(value).expect("it can be written")).expect("it can be read")
        }
        self.matters = again(&self.matters);
        self.set = again(&self.set);
        self.policy = again(&self.policy);
        self.registry = again(&self.registry);
        let mut inventory = Inventory::new("default");
        let endpoints: Vec<_> = self.inventory.servers().map(|s| s.place.endpoint).collect();
        for endpoint in endpoints {
            if let Some(record) = self.inventory.record(endpoint) {
                inventory.restore(endpoint, again(record));
            }
        }
        self.inventory = inventory;
        self.judge()
    }
}

fn start() -> Timestamp {
    Timestamp::from_second(DAY_0).expect("a time that can be written")
}

pub(super) fn subject(place: Option<&Place>, slug: Option<&str>, kind: &str) -> String {
    match (place, slug) {
        (Some(place), _) => format!("{place} {kind}"),
        (None, Some(slug)) => format!("{slug} {kind}"),
        (None, None) => kind.to_owned(),
    }
}

fn said(effect: &Effect, day: impl Fn(Timestamp) -> String) -> String {
    match effect {
        Effect::Moved { from, to, reason } if from == to => format!("still {}: {reason}", to.as_str()),
        Effect::Moved { from, to, reason } => format!("{} -> {}: {reason}", from.as_str(), to.as_str()),
        Effect::Tell { to, message, deadline } => {
            let what = match message {
                Message::Notice => "notice".to_owned(),
                Message::Reminder(before) => format!("reminder, {before} before"),
                Message::Blocked => "blocked".to_owned(),
                Message::Released => "released".to_owned(),
            };
            let to = serde_json::to_value(to).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            let deadline = deadline.map_or_else(String::new, |at| format!(", due {}", day(at)));
            format!("tell the {to}: {what}{deadline}")
        }
    }
}
