//! The world that is played: a collector's state, the lines to and from it, and two kinds of time.

use super::{
    Subject, Tally,
    chance::Chance,
    enforcer::Enforcer,
    model::{Model, Truth},
};
use collector::inventory::Inventory;
use jiff::{SignedDuration, Timestamp};
use rules::{
    admission::{Effect, Escalation, Exemption, Message},
    decision::{Action, DecisionSet},
    detect::Sight,
    endpoint::{Endpoint, Place},
    evidence::{Evidence, Owner, OwnerSource, Source},
    finding::FindingId,
    fleet::Fleet,
    pack::Pack,
    period::Period,
    policy::{BlockingPolicy, GracePolicy, Mode, Policy, PresencePolicy},
    registry::{Backend, Lifecycle, Registration, Registry},
    round::Round,
    server::Server,
    site::{Matter, Matters, Site},
};
use std::time::Duration;

const SERVERS: u8 = 5;

pub(super) struct World {
    pub(super) tally: Tally,
    pub(super) trace: Vec<String>,
    subject: Subject,
    chance: Chance,
    pack: Pack,
    model: Model,
    /// What the collector's machine believes; what really passed is in the model.
    wall: Timestamp,
    start: Timestamp,
    policy: Policy,
    registry: Registry,
    inventory: Inventory,
    matters: Matters,
    set: Option<DecisionSet>,
    /// Evidence on its way, and notices that were not delivered yet.
    evidence: Vec<Evidence>,
    notices: Vec<FindingId>,
    heard: Timestamp,
    enforcers: [Enforcer; 2],
}

impl World {
    pub(super) fn new(seed: u64, subject: Subject) -> World {
        let mut chance = Chance::new(seed);
        let start = Timestamp::from_second(1_767_225_600).expect("a time that can be written");
        let policy = Policy {
            mode: Mode::Hard,
            grace: GracePolicy {
                period: Period::days(chance.within(1, 2)),
                reminders: vec![Period::seconds(12 * 3600), Period::seconds(3600)],
                soft_phase: Period::days(chance.within(0, 3)),
                ..GracePolicy::default()
            },
            presence: PresencePolicy { gone_after: Period::days(4), ..PresencePolicy::default() },
            blocking: BlockingPolicy {
                validity: Period::days(2),
                max_new_blocks: if chance.one_in(3) { 1 } else { 50 },
                ..BlockingPolicy::default()
            },
            agents: vec!["10.0.9.0/24".parse().expect("a network")],
            ..Policy::default()
        };
        let mut model = Model::default();
        model.truths = (0..SERVERS).map(|n| (endpoint(n), Truth::default())).collect();
        World {
            tally: Tally::default(),
            trace: Vec::new(),
            subject,
            chance,
            pack: Pack::shipped(),
            model,
            wall: start,
            start,
            policy,
            registry: Registry::default(),
            inventory: Inventory::new("default"),
            matters: Matters::new(),
            set: None,
            evidence: Vec::new(),
            notices: Vec::new(),
            heard: start,
            enforcers: [Enforcer::default(), Enforcer::default()],
        }
    }

    pub(super) fn chaos(&mut self, steps: u32) -> Result<(), String> {
        for _ in 0..steps {
            match self.chance.within(0, 63) {
                0..=17 => self.hours(1)?,
                18..=27 => {
                    let n = self.chance.within(6, 20);
                    self.hours(n)?;
                }
                28..=41 => self.speak(),
                42..=47 => self.arrive(8),
                48..=53 => self.deliver(),
                54..=55 => self.change_policy()?,
                56 => self.change_registry()?,
                57 => self.speak_for_a_case()?,
                58..=59 => self.jump()?,
                60 => self.restart()?,
                61..=62 => self.crash(),
                _ => self.outage()?,
            }
            let (accepts, wall) = (self.subject.accepts, self.wall);
            for enforcer in &mut self.enforcers {
                // A slow line: more is sent than comes in.
                if !self.chance.one_in(4) {
                    continue;
                }
                self.tally.refused_sets += u64::from(enforcer.receive(accepts, &self.model, wall, &mut self.chance)?);
            }
        }
        Ok(())
    }

    /// The clock is right from now on, everything arrives, nobody interferes: what may be blocked has to be, in the end.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        self.note("calm");
        self.policy.mode = Mode::Hard;
        self.policy.agents = vec!["10.0.9.0/24".parse().expect("a network")];
        self.policy.protected.clear();
        self.policy.blocking.max_new_blocks = 50;
        self.policy.grace.hard_from = Some(self.start);
        self.policy.grace.max_exemption = Period::days(5);
        // The wall may have been left years ahead of exemptions and evidence, or behind; both kinds of time go on together now.
        for day in 0..5 {
            for n in 0..SERVERS {
                self.evidence.extend(shows(n).iter().map(|kind| evidence(n, *kind, self.wall)));
            }
            self.arrive(usize::MAX);
            self.hours(if day == 0 { 1 } else { 24 })?;
            while !self.notices.is_empty() {
                self.deliver();
            }
        }
        let set = self.set.as_ref().ok_or("no set was ever issued")?;
        for endpoint in self.model.truths.keys() {
            let blocked = set.decisions.iter().any(|d| d.endpoint == *endpoint && d.action == Action::Block);
            let excuse = self.model.excuse(*endpoint, &self.policy, self.start, self.wall);
            if !blocked && excuse.is_none() {
                let here = |m: &&Matter| m.finding.place.as_ref().is_some_and(|p| p.endpoint == *endpoint);
                let cases: Vec<_> = self.matters.values().filter(here).collect();
                return Err(format!("{endpoint} is not blocked after all this time, and nothing speaks against it: {cases:#?}"));
            }
            self.tally.calm_blocks += u64::from(blocked);
        }
        Ok(())
    }

    fn note(&mut self, what: impl Into<String>) {
        self.trace.push(format!("{} {}", self.wall, what.into()));
    }

    /// Lives through up to so many hours, with a round each; the sensor is heard.
    fn hours(&mut self, n: u64) -> Result<(), String> {
        self.note(format!("{n} hours pass"));
        for _ in 0..n {
            let by = Duration::from_secs(if self.chance.one_in(8) { self.chance.within(60, 3599) } else { 3600 });
            self.model.elapsed += by;
            self.wall = Period(by).after(self.wall);
            self.heard = self.wall;
            self.round()?;
        }
        Ok(())
    }

    /// A sensor says something about a server; it may get lost, arrive twice, and arrive late.
    fn speak(&mut self) {
        let n = u8::try_from(self.chance.index(usize::from(SERVERS))).expect("a small number");
        let kinds = if self.chance.one_in(40) { &[4] } else { shows(n) };
        for kind in kinds.iter().copied() {
            for _ in 0..self.chance.within(0, 2) {
                self.evidence.push(evidence(n, kind, self.wall));
            }
        }
        self.note(format!("the sensors speak of server {n}"));
    }

    /// Some of what is on its way comes in, in any order.
    fn arrive(&mut self, at_most: usize) {
        for _ in 0..at_most.min(self.evidence.len()) {
            self.take_in();
        }
    }

    fn take_in(&mut self) {
        let mut said = self.evidence.swap_remove(self.chance.index(self.evidence.len()));
        // As intake does: nothing is observed later than now.
        said.at = said.at.min(self.wall);
        if let Some(truth) = self.model.truths.get_mut(&said.place.endpoint) {
            match said.signature.as_str() {
                "wire.server.initialize-result" => truth.wire = true,
                "host.context.sdk-process" => truth.host = true,
                "probe.server.initialize-result" => truth.probe = true,
                "probe.control.refused" => truth.control = true,
                _ => truth.neighbour = true,
            }
            if said.signature != "wire.server.tools-result" {
                truth.last_seen = truth.last_seen.max(Some(said.at));
            }
        }
        self.note(format!("{} of {} arrives", said.signature, said.place));
        self.inventory.observe("s1", &said, &self.pack);
    }

    /// A notice reaches somebody, or its proof gets lost, or it comes a second time.
    fn deliver(&mut self) {
        if self.notices.is_empty() {
            return;
        }
        let at = self.chance.index(self.notices.len());
        let id = if self.chance.one_in(4) { self.notices[at].clone() } else { self.notices.swap_remove(at) };
        let Some(matter) = self.matters.get_mut(&id) else { return };
        let counted = matter.case.delivered(self.wall);
        if counted {
            self.model.delivered(&id);
        }
        self.note(format!("a notice of {id} is delivered, which {}", if counted { "counts" } else { "does not count" }));
    }

    fn change_policy(&mut self) -> Result<(), String> {
        match self.chance.within(0, 7) {
            0 => self.policy.mode = Mode::Soft,
            1 => self.policy.mode = Mode::Observe,
            2..=4 => self.policy.mode = Mode::Hard,
            5 => self.policy.grace.period = Period::days(self.chance.within(1, 2)),
            6 => self.policy.blocking.max_new_blocks = u32::try_from(self.chance.within(0, 3)).expect("a small number"),
            _ if self.policy.protected.is_empty() => self.policy.protected.push("10.0.0.3/32".parse().expect("a network")),
            _ => self.policy.protected.clear(),
        }
        self.note(format!("policy: {:?}, grace {}", self.policy.mode, self.policy.grace.period));
        self.round()
    }

    fn change_registry(&mut self) -> Result<(), String> {
        let n = u8::try_from(self.chance.index(usize::from(SERVERS))).expect("a small number");
        let slug = format!("s{n}");
        let what = match self.registry.registrations.get_mut(&slug) {
            None => {
                self.registry.registrations.insert(slug, registration(n, self.wall));
                "registered"
            }
            Some(r) if r.lifecycle == Lifecycle::Active && self.chance.one_in(3) => {
                r.lifecycle = Lifecycle::Sunset { since: self.start };
                "retired"
            }
            Some(_) => {
                self.registry.registrations.remove(&slug);
                "unregistered"
            }
        };
        let standing = self.registry.endpoints(self.wall).contains(&endpoint(n));
        self.model.registered(endpoint(n), standing);
        self.note(format!("server {n} is {what}"));
        self.round()
    }

    fn speak_for_a_case(&mut self) -> Result<(), String> {
        let open: Vec<FindingId> =
            self.matters.iter().filter(|(_, m)| m.case.escalation != Escalation::Closed).map(|(id, _)| id.clone()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let id = open[self.chance.index(open.len())].clone();
        let until = Period::days(self.chance.within(1, 2)).after(self.wall);
        let exempt = self.chance.one_in(2);
        let (policy, start, wall) = (self.policy.clone(), self.start, self.wall);
        let Some(matter) = self.matters.get_mut(&id) else { return Ok(()) };
        if exempt {
            let word = |s: &str| s.to_owned();
            let exemption = Exemption { requested_by: word("ann"), approved_by: word("bob"), reason: word("why not"), until };
            let granted = matter.case.exempt(exemption, &policy, wall).is_ok();
            if granted {
                self.model.clocks.entry(id.clone()).or_default().exempt_until = Some(until);
            }
        } else {
            // Whether it is taken or refused, the clock is none of its business.
            matter.case.snooze(until, &policy, start, wall).ok();
        }
        self.note(format!("somebody speaks for {id}"));
        self.round()
    }

    fn jump(&mut self) -> Result<(), String> {
        let hours = i64::try_from(self.chance.within(1, 1200)).expect("a small number");
        let hours = if self.chance.one_in(2) { hours } else { -hours };
        self.wall = self.wall.checked_add(SignedDuration::from_hours(hours)).expect("a time that can be written");
        self.tally.jumps += 1;
        self.model.jumped();
        self.note(format!("the clock jumps by {hours} hours"));
        self.round()
    }

    fn outage(&mut self) -> Result<(), String> {
        let by = Duration::from_secs(3600 * self.chance.within(2, 200));
        self.model.elapsed += by;
        self.wall = Period(by).after(self.wall);
        self.note(format!("nobody is there for {} hours", by.as_secs() / 3600));
        self.restart()
    }

    /// All is written down and read again. Nothing that was open may be lost, and no clock may begin anew.
    fn restart(&mut self) -> Result<(), String> {
        self.tally.restarts += 1;
        let before = self.matters.clone();
        self.matters = (self.subject.restart)(std::mem::take(&mut self.matters));
        for (id, matter) in &before {
            let now = self.matters.get(id).ok_or_else(|| format!("{id} was lost in a restart"))?;
            if now.case.notified_at != matter.case.notified_at || now.case.waited < matter.case.waited {
                return Err(format!("the clock of {id} began anew in a restart"));
            }
        }
        let written = serde_json::to_string(&self.set).map_err(|e| e.to_string())?;
        self.set = serde_json::from_str(&written).map_err(|e| e.to_string())?;
        self.note("a restart");
        self.round()
    }

    /// A round is made and nothing of it is written down: as if it had not been.
    fn crash(&mut self) {
        self.tally.crashes += 1;
        drop(self.judge());
        self.note("a crash before the commit");
    }

    fn judge(&self) -> Round {
        let servers: Vec<&Server> = self.inventory.servers().collect();
        let sights = [Sight { sensor: "s1", last_heard: self.heard, coverage: &[] }];
        (self.subject.round)(&self.site(), &servers, &sights, &self.matters, self.wall)
    }

    fn site(&self) -> Site<'_> {
        Site {
            name: "default",
            policy: &self.policy,
            registry: &self.registry,
            pack: &self.pack,
            soft_phase_start: self.start,
            ours: &[],
            fleet: Fleet::default(),
        }
    }

    fn round(&mut self) -> Result<(), String> {
        self.tally.rounds += 1;
        self.model.before_round(self.wall);
        let done = self.judge();
        self.keep_clocks(&done.matters)?;
        for (id, effect) in &done.effects {
            match effect {
                Effect::Tell { message: Message::Notice, .. } if !self.notices.contains(id) => self.notices.push(id.clone()),
                Effect::Moved { to: Escalation::Blocked, .. } => self.tally.blocks += 1,
                Effect::Moved { from: Escalation::Blocked, .. } => self.tally.releases += 1,
                _ => {}
            }
        }
        self.tally.held += u64::from(done.hold.is_some());
        self.matters = done.matters;
        let again = self.judge();
        if !again.effects.is_empty() || again.matters != self.matters {
            return Err(format!("a second round at the same moment did something: {:?}", again.effects));
        }

        let composed = (self.subject.compose)(&self.site(), &self.matters, self.set.as_ref(), self.wall);
        let twice = (self.subject.compose)(&self.site(), &self.matters, Some(&composed.set), self.wall);
        if twice.news || twice.set != composed.set {
            return Err("a second set at the same moment says something else".to_owned());
        }
        self.model.check(&composed.set, &self.policy, self.start, self.wall)?;
        if composed.news {
            self.tally.sets += 1;
            for enforcer in &mut self.enforcers {
                enforcer.send(&composed.set, &mut self.chance);
            }
        }
        self.set = Some(composed.set);
        Ok(())
    }

    /// In one life of a finding the proof of delivery stands, and what was waited only grows.
    fn keep_clocks(&self, after: &Matters) -> Result<(), String> {
        // What is closed may be forgotten in time.
        for (id, matter) in self.matters.iter().filter(|(_, m)| m.case.escalation != Escalation::Closed) {
            let (old, new) = (&matter.case, &after.get(id).ok_or_else(|| format!("{id} was lost"))?.case);
            let same_life = old.opened_at == new.opened_at && old.end.closed == new.end.closed;
            if same_life && (old.notified_at != new.notified_at || new.waited < old.waited) {
                return Err(format!("the clock of {id} ran backwards"));
            }
        }
        Ok(())
    }
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new([10, 0, 0, n + 1].into(), 3001)
}

/// The first server is only ever seen on the wire, the second by no probe.
fn shows(n: u8) -> &'static [u8] {
    match n {
        0 => &[0],
        1 => &[0, 1],
        _ => &[0, 1, 2, 3],
    }
}

/// Kinds 0 to 3 are what a server shows; 4 is a neighbour behind the same address and port.
fn evidence(n: u8, kind: u8, at: Timestamp) -> Evidence {
    let place = Place::new(endpoint(n)).with_target("/mcp");
    match kind {
        0 => Evidence::new(place, Source::Wire, "wire.server.initialize-result", at),
        1 => {
            let mut seen = Evidence::new(place, Source::Host, "host.context.sdk-process", at);
            seen.facts.owner = Some(Owner { name: "eve".to_owned(), source: OwnerSource::ProcessUser });
            seen.facts.process = None;
            seen
        }
        2 => Evidence::new(place, Source::Probe, "probe.server.initialize-result", at),
        3 => Evidence::new(place, Source::Probe, "probe.control.refused", at),
        _ => Evidence::new(Place::new(endpoint(n)).with_target("/other"), Source::Wire, "wire.server.tools-result", at),
    }
}

fn registration(n: u8, at: Timestamp) -> Registration {
    Registration {
        slug: format!("s{n}"),
        name: format!("s{n}"),
        description: String::new(),
        version: "1.0.0".to_owned(),
        owner: "platform".to_owned(),
        contact: "platform@corp.example".to_owned(),
        backends: vec![Backend { url: format!("http://{}/mcp", endpoint(n)).parse().expect("a URL"), addresses: Default::default() }],
        transport: None,
        lifecycle: Lifecycle::Active,
        tools: Default::default(),
        revision: 1,
        registered_at: at,
        registered_by: "ann".to_owned(),
    }
}
