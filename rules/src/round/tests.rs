//! One site for these tests and those of `decision` and `explain`.

use super::*;
use crate::{
    admission::Message,
    blast::BlastRadius,
    compose::{Composition, compose},
    decision::{Action, DecisionSet},
    endpoint::{Endpoint, Place},
    evidence::{Client, Evidence, Facts, Owner, OwnerSource, Source},
    fleet::Fleet,
    pack::Pack,
    policy::Policy,
    policy::{GracePolicy, Mode},
    registry::Registry,
    registry::tests::{registration, registry},
};

pub(crate) struct Lab {
    pub(crate) policy: Policy,
    pub(crate) registry: Registry,
    pub(crate) pack: Pack,
    pub(crate) ours: Vec<Endpoint>,
    pub(crate) servers: Vec<Server>,
    pub(crate) matters: Matters,
    pub(crate) now: Timestamp,
}

pub(crate) const START: Timestamp = Timestamp::UNIX_EPOCH;

impl Lab {
    /// `n` shadow servers, each confirmed and corroborated, with a grace period of an hour.
    pub(crate) fn with_servers(n: u8) -> Lab {
        let policy = Policy {
            mode: Mode::Hard,
            grace: GracePolicy {
                period: Period::seconds(3600),
                soft_phase: Period::default(),
                reminders: Vec::new(),
                ..GracePolicy::default()
            },
            agents: vec!["10.0.9.0/24".parse().unwrap()],
            ..Policy::default()
        };
        let pack = Pack::shipped();
        let servers = (0..n).map(|n| server(n, &pack)).collect();
        let registry = Registry::default();
        Lab { policy, registry, pack, ours: Vec::new(), servers, matters: Matters::new(), now: START }
    }

    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            name: "default",
            policy: &self.policy,
            registry: &self.registry,
            pack: &self.pack,
            soft_phase_start: START,
            ours: &self.ours,
            fleet: Fleet::default(),
        }
    }

    pub(crate) fn round(&mut self) -> Round {
        let done = round(&self.site(), &self.servers, &[], &self.matters, self.now);
        self.matters = done.matters.clone();
        done
    }

    /// Told, and the grace period lived through: blocked, as far as the rules let it be.
    pub(crate) fn ripe(mut self) -> Lab {
        self.round();
        for matter in self.matters.values_mut() {
            matter.case.delivered(self.now);
        }
        self.later(3600);
        self
    }

    pub(crate) fn later(&mut self, seconds: u64) -> Round {
        self.now = Period::seconds(seconds).after(self.now);
        self.round()
    }

    pub(crate) fn compose(&self, previous: Option<&DecisionSet>) -> Composition {
        compose(&self.site(), self.matters.values(), previous, 0, self.now)
    }

    pub(crate) fn escalations(&self) -> Vec<&'static str> {
        self.matters.values().map(|m| m.case.escalation.as_str()).collect()
    }
}

fn server(n: u8, pack: &Pack) -> Server {
    let place = Place::new(Endpoint::new([10, 0, 0, n + 1].into(), 3001)).with_target("/mcp");
    let mut server = Server::new("default", place.clone(), START);
    let client = |last: u8| Some(Client { address: [10, 0, last, 2].into(), software: None });
    let owner = Some(Owner { name: "eve".into(), source: OwnerSource::ProcessUser });
    for (source, signature, facts) in [
        (Source::Wire, "wire.server.initialize-result", Facts { client: client(9), ..Facts::default() }),
        (Source::Wire, "wire.server.tools-result", Facts { client: client(7), ..Facts::default() }),
        (Source::Host, "host.context.sdk-process", Facts { owner, ..Facts::default() }),
    ] {
        server.absorb("s1", &Evidence::new(place.clone(), source, signature, START).facts(facts), pack);
    }
    server
}

fn actions(c: &Composition) -> Vec<Action> {
    c.set.decisions.iter().map(|d| d.action).collect()
}

#[test]
fn a_round_twice_is_a_round_once() {
    let mut lab = Lab::with_servers(3);
    assert_eq!(lab.round().effects.len(), 3, "three notices");
    let again = lab.round();
    assert!(again.effects.is_empty());
    assert_eq!(again.matters, lab.matters);
}

#[test]
fn too_many_new_blocks_wait_for_a_person_all_of_them() {
    let mut lab = Lab::with_servers(3);
    lab.policy.blocking.max_new_blocks = 2;
    let mut lab = lab.ripe();
    assert_eq!(lab.escalations(), ["due", "due", "due"]);
    assert_eq!(actions(&lab.compose(None)), [Action::Shadow; 3]);
    assert!(lab.later(60).hold.is_some());
    lab.policy.blocking.max_new_blocks = 3;
    assert_eq!(lab.later(60).hold, None);
    assert_eq!(lab.escalations(), ["blocked"; 3]);
}

#[test]
fn a_set_is_made_of_what_is_true_now_whatever_the_cases_say() {
    let mut lab = Lab::with_servers(2).ripe();
    assert_eq!(actions(&lab.compose(None)), [Action::Block; 2]);
    // Nobody has judged again since: the registration is newer than the cases.
    lab.registry = registry([registration("files", "http://10.0.0.1:3001/mcp")]);
    let c = lab.compose(None);
    assert_eq!(c.set.decisions.len(), 1);
    assert_eq!(c.held.len(), 1);
    assert_eq!(c.held[0].reason, "the registered server `files` answers there");
    assert_eq!(c.set.protected_endpoints, ["10.0.0.1:3001".parse().unwrap()]);
    lab.ours.push("10.0.0.2:3001".parse().unwrap());
    assert!(lab.compose(None).set.decisions.is_empty());
    lab.policy.mode = Mode::Observe;
    lab.ours.clear();
    assert!(lab.compose(None).set.decisions.is_empty(), "in observe mode nothing is even counted");
}

#[test]
fn a_set_that_blocks_too_much_at_once_counts_instead() {
    let mut lab = Lab::with_servers(3).ripe();
    let before = lab.compose(None).set;
    lab.policy.blocking.max_new_blocks = 2;
    assert_eq!(actions(&lab.compose(None)), [Action::Shadow; 3], "all are new to an empty past");
    assert_eq!(actions(&lab.compose(Some(&before))), [Action::Block; 3], "none is new");
}

#[test]
fn generations_grow_only_with_news_and_never_fall_behind() {
    let mut lab = Lab::with_servers(1).ripe();
    let first = lab.compose(None);
    assert!(first.news && first.set.generation == 1);
    assert!(!lab.compose(Some(&first.set)).news);
    let behind = compose(&lab.site(), lab.matters.values(), Some(&first.set), 41, lab.now);
    assert_eq!((behind.news, behind.set.generation), (true, 42));
    lab.now = Period::days(4).after(lab.now);
    let renewed = lab.compose(Some(&first.set));
    assert!(renewed.news, "half of the validity is over");
    lab.now = START;
    assert!(lab.compose(Some(&renewed.set)).news, "it was issued by a clock that has been set back since");
}

#[test]
fn whom_a_block_breaks_and_whom_it_spares() {
    let lab = Lab::with_servers(1).ripe();
    let set = lab.compose(None).set;
    let addresses = |now| -> (Vec<String>, Vec<String>) {
        let plain = |clients: &[crate::blast::RecentClient]| clients.iter().map(|c| c.address.to_string()).collect();
        let here = lab.servers.iter().filter(|s| s.place.endpoint == set.decisions[0].endpoint);
        let radius = BlastRadius::of(here, &set.agents, now);
        (plain(&radius.breaks), plain(&radius.spares))
    };
    assert_eq!(addresses(lab.now), (vec!["10.0.9.2".to_owned()], vec!["10.0.7.2".to_owned()]));
    assert_eq!(addresses(Period::days(40).after(lab.now)), (vec![], vec![]), "nobody was seen in the last thirty days");
}

#[test]
fn a_finding_keeps_its_clock_under_a_new_name_and_the_older_clock_wins() {
    let mut lab = Lab::with_servers(2).ripe();
    let (old, new) = ("default/10.0.0.1:3001/mcp", "default/10.0.0.1:3001/v2");
    let id = |key| FindingId::derive(crate::finding::FindingKind::Shadow, key);
    let case = lab.matters[&id(old)].case.clone();
    rename(&mut lab.matters, old, new);
    assert_eq!(lab.matters[&id(new)].case, case);
    assert!(!lab.matters.contains_key(&id(old)));
    // There is a younger one under the name it gets now.
    let mut younger = lab.matters[&id(new)].clone();
    younger.finding.id = id(old);
    younger.case = Case::open(lab.now);
    lab.matters.insert(id(old), younger);
    rename(&mut lab.matters, new, old);
    assert_eq!(lab.matters[&id(old)].case, case);
    assert_eq!(lab.matters.len(), 2);
}

#[test]
fn what_is_over_is_not_opened_and_what_is_closed_long_ago_is_forgotten() {
    let mut lab = Lab::with_servers(1);
    lab.now = Period::days(20).after(START);
    assert!(lab.round().matters.is_empty(), "nobody saw it for twenty days");
    let mut lab = Lab::with_servers(1).ripe();
    lab.registry = registry([registration("files", "http://10.0.0.1:3001/mcp")]);
    let closed = lab.later(60);
    assert!(closed.effects.iter().any(|(_, e)| matches!(e, Effect::Tell { message: Message::Released, .. })));
    assert_eq!(lab.later(170 * 86_400).matters.values().filter(|m| m.case.escalation == Escalation::Closed).count(), 1);
    let shadow = FindingId::derive(crate::finding::FindingKind::Shadow, "default/10.0.0.1:3001/mcp");
    assert!(!lab.later(11 * 86_400).matters.contains_key(&shadow));
}
