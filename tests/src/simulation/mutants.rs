//! Known bugs, each as small as it would be written by mistake. The simulation is worth its time as long as it sees them all.

use super::Subject;
use jiff::Timestamp;
use rules::{
    admission::Escalation,
    decision::Action,
    evidence::{Evidence, Source},
    period::Period,
    registry::Registry,
    round::Round,
    server::Server,
    site::{Matters, Site},
};

/// Name, and the subject with that bug.
pub fn all() -> Vec<(&'static str, Subject)> {
    let real = Subject::real();
    vec![
        (
            "the grace period is read off the wall clock",
            Subject {
                round: |site, servers, sights, matters, now| {
                    (Subject::real().round)(site, servers, sights, &off_the_wall(matters, now), now)
                },
                ..real
            },
        ),
        (
            "a notice that was sent counts as delivered",
            Subject {
                round: |site, servers, sights, matters, now| {
                    let mut matters = matters.clone();
                    let mut effects = Vec::new();
                    loop {
                        let mut done = (Subject::real().round)(site, servers, sights, &matters, now);
                        effects.append(&mut done.effects);
                        let fresh = done.matters.values_mut().filter(|m| !m.case.asked.is_empty()).any(|m| m.case.delivered(now));
                        matters = done.matters.clone();
                        if !fresh {
                            return Round { effects, ..done };
                        }
                    }
                },
                ..real
            },
        ),
        (
            "one witness is enough",
            Subject {
                round: |site, servers, sights, matters, now| {
                    let invented = |s: &&Server| {
                        let mut server = (*s).clone();
                        let seen = Evidence::new(server.place.clone(), Source::Host, "host.context.sdk-process", server.last_seen);
                        server.absorb("s1", &seen, site.pack);
                        server
                    };
                    let servers: Vec<Server> = servers.iter().map(invented).collect();
                    (Subject::real().round)(site, &servers.iter().collect::<Vec<_>>(), sights, matters, now)
                },
                ..real
            },
        ),
        (
            "the soft phase is forgotten",
            Subject {
                round: |site, servers, sights, matters, now| {
                    let mut policy = site.policy.clone();
                    policy.grace.hard_from = Some(Timestamp::MIN);
                    (Subject::real().round)(&Site { policy: &policy, ..*site }, servers, sights, matters, now)
                },
                ..real
            },
        ),
        (
            "the registry is not asked when the set is made",
            Subject {
                compose: |site, matters, previous, now| {
                    (Subject::real().compose)(&Site { registry: &Registry::default(), ..*site }, matters, previous, now)
                },
                ..real
            },
        ),
        (
            "a changed set keeps its number",
            Subject {
                compose: |site, matters, previous, now| {
                    let mut composed = (Subject::real().compose)(site, matters, previous, now);
                    composed.set.generation = previous.map_or(1, |p| p.generation);
                    composed
                },
                ..real
            },
        ),
        (
            "every round issues a new set",
            Subject {
                compose: |site, matters, previous, now| {
                    let mut composed = (Subject::real().compose)(site, matters, previous, now);
                    composed.set.generation = previous.map_or(1, |p| p.generation + 1);
                    composed.news = true;
                    composed
                },
                ..real
            },
        ),
        (
            "a restart loses a case",
            Subject { restart: |matters| (Subject::real().restart)(matters).into_iter().skip(1).collect::<Matters>(), ..real },
        ),
        (
            "a restart forgets how long was waited",
            Subject {
                restart: |matters| {
                    let mut matters = (Subject::real().restart)(matters);
                    matters.values_mut().for_each(|m| m.case.waited = Period::default());
                    matters
                },
                ..real
            },
        ),
        ("an enforcer takes any set that is valid", Subject { accepts: |_, set, now| now < set.not_after, ..real }),
        ("an enforcer takes a set that is over", Subject { accepts: |applied, set, _| set.generation > applied, ..real }),
        (
            "nothing is ever blocked",
            Subject {
                compose: |site, matters, previous, now| {
                    let mut matters = matters.clone();
                    matters
                        .values_mut()
                        .filter(|m| m.case.escalation == Escalation::Blocked)
                        .for_each(|m| m.case.escalation = Escalation::Due);
                    let composed = (Subject::real().compose)(site, &matters, previous, now);
                    debug_assert!(composed.set.decisions.iter().all(|d| d.action != Action::Block));
                    composed
                },
                ..real
            },
        ),
    ]
}

/// The mistake that this product was drafted with: `now - notified_at` instead of what was lived through.
fn off_the_wall(matters: &Matters, now: Timestamp) -> Matters {
    let mut matters = matters.clone();
    for m in matters.values_mut() {
        let since = m.case.notified_at.and_then(|at| std::time::Duration::try_from(now.duration_since(at)).ok());
        m.case.waited = since.map_or(m.case.waited, Period);
        m.case.judged_at = now;
    }
    matters
}
