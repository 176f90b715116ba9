//! A few blocks more or less: what stays as it is, is neither planned, nor checked, nor read again.
//!
//! Only where everything else stands still: the same agents, protected places, lease and facts of this host, and a kernel that holds what
//! we last read of it. The kernel itself refuses the change if somebody was there since. Anything else goes the whole way.

use super::{ApplyOptions, Enacted, Error, HostPlan, Point, lease};
use crate::{
    check::{self, Against},
    facts::{Facts, Session},
    present::{KernelBlock, Present},
    render::{self, Skeleton, Term, Transaction},
    ruleset::{self, Block, Ruleset, Withheld},
};
use ipnet::IpNet;
use rules::{
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// More places than this that changed, and the whole way is as short.
const MANY: usize = 1_000;

/// What was enacted last, and out of what.
#[derive(Debug)]
pub(super) struct LastApplied {
    set: Arc<DecisionSet>,
    facts: Facts,
    ruleset: Ruleset,
    withheld: Vec<Withheld>,
    lease: Duration,
    renew_at: Instant,
}

/// What the kernel was told to let through, whatever is blocked.
pub(super) struct Protects {
    never: BTreeSet<IpNet>,
    open: BTreeSet<Endpoint>,
    sessions: BTreeSet<Session>,
}

impl LastApplied {
    pub(super) fn protects(&self) -> Protects {
        let Ruleset { never, open, sessions, .. } = &self.ruleset;
        Protects { never: never.clone(), open: open.clone(), sessions: sessions.clone() }
    }
}

impl Protects {
    pub(super) fn holds(&self, present: &Present) -> bool {
        self.never == present.never && self.open == present.open && self.sessions == present.sessions
    }
}

/// What differs, planned.
struct Step {
    places: BTreeSet<Endpoint>,
    blocks: BTreeMap<Endpoint, Block>,
    withheld: Vec<Withheld>,
    new: usize,
}

impl Point {
    /// After the whole way.
    pub(super) fn remember(
        &mut self,
        set: &Arc<DecisionSet>,
        facts: Facts,
        plan: HostPlan,
        options: &ApplyOptions<'_>,
        lease: Duration,
        drifted: bool,
    ) -> Enacted {
        let HostPlan { ruleset, withheld, new, held_back, .. } = plan;
        let unknown = facts.unknown.clone();
        let enacted =
            Enacted { elements: ruleset.blocks.len(), withheld: withheld.clone(), new, held_back, unknown, drifted, renew_in: lease / 3 };
        // Once is for a person at the command line; who comes back comes without a trial.
        let plain = options.trial.is_none() && !held_back;
        self.known = plain.then(|| LastApplied { set: set.clone(), facts, ruleset, withheld, lease, renew_at: Instant::now() + lease / 3 });
        enacted
    }

    /// `None`: it takes the whole way. An error: the checker objects, and nothing was changed.
    pub(super) fn amend(
        &mut self,
        set: &Arc<DecisionSet>,
        options: &ApplyOptions<'_>,
        trusted: Option<&String>,
    ) -> Result<Option<Enacted>, Error> {
        // Whatever ends this half way leaves nothing that is believed.
        let Some(mut known) = self.known.take() else { return Ok(None) };
        let facts = self.facts();
        let Some(step) = self.step(&known, set, options, trusted, &facts) else { return Ok(None) };
        let objections = self.object(&known, &step, set, options, &facts);
        if !objections.is_empty() {
            self.known = Some(known);
            return Err(Error::Objected(objections));
        }
        if !self.carry_out(&step, known.lease) {
            self.memory = None;
            return Ok(None);
        }
        for at in &step.places {
            known.ruleset.blocks.remove(at);
        }
        known.ruleset.blocks.extend(step.blocks);
        known.withheld.retain(|w| !step.places.contains(&w.endpoint));
        known.withheld.extend(step.withheld);
        known.set = set.clone();
        let enacted = Enacted {
            elements: known.ruleset.blocks.len(),
            withheld: known.withheld.clone(),
            new: step.new,
            held_back: false,
            unknown: facts.unknown,
            drifted: false,
            renew_in: known.renew_at.saturating_duration_since(Instant::now()),
        };
        self.known = Some(known);
        Ok(Some(enacted))
    }

    fn step(
        &self,
        known: &LastApplied,
        set: &DecisionSet,
        options: &ApplyOptions<'_>,
        trusted: Option<&String>,
        facts: &Facts,
    ) -> Option<Step> {
        let memory = self.memory.as_ref()?;
        let untouched = memory.generation.is_some() && memory.generation == self.generation();
        let whole = memory.present.as_ref().is_some_and(|p| trusted == Some(&p.skeleton));
        let same =
            options.trial.is_none() && lease(set, options) == known.lease && *facts == known.facts && known.renew_at > Instant::now();
        let before = options.before.is_some_and(|b| b.generation == known.set.generation || b.generation == set.generation);
        if !(untouched && whole && same && before) {
            return None;
        }
        let places = ruleset::changed(&known.set, set, MANY)?;
        if known.ruleset.blocks.len() + places.len() > self.config.limits.max_blocks && !places.is_empty() {
            return None;
        }
        let (blocks, withheld) = ruleset::plan_at(&places, set, facts, &self.config);
        let was = |at: &Endpoint| {
            let from = known.set.decisions.partition_point(|d| d.endpoint < *at);
            known.set.decisions.iter().skip(from).take_while(|d| d.endpoint == *at).any(|d| d.action == Action::Block)
        };
        let new = blocks.iter().filter(|(at, block)| block.action == Action::Block && !was(at)).count();
        // Too many new ones, or new ones that cannot be judged: the whole way knows what to hold back.
        let plain = new == 0 || (!facts.blind && (options.many_new || options.new_this_hour + new <= self.config.limits.max_new_per_hour));
        plain.then_some(Step { places, blocks, withheld, new })
    }

    fn object(
        &self,
        known: &LastApplied,
        step: &Step,
        set: &DecisionSet,
        options: &ApplyOptions<'_>,
        facts: &Facts,
    ) -> Vec<check::Objection> {
        let Ruleset { shape, agents, never, open, sessions, blocks } = &known.ruleset;
        let (shape, agents, never) = (shape.clone(), agents.clone(), never.clone());
        let ruleset = Ruleset { shape, agents, never, open: open.clone(), sessions: sessions.clone(), blocks: step.blocks.clone() };
        let new_this_hour = if step.new == 0 { 0 } else { options.new_this_hour + step.new };
        let (many_new, lease, beside) = (options.many_new, known.lease, blocks.len());
        check::objections(&ruleset, &Against { set, facts, config: &self.config, new_this_hour, many_new, lease, beside })
    }

    /// Commits, and reads back what was changed; whether the kernel holds it.
    fn carry_out(&mut self, step: &Step, lease: Duration) -> bool {
        let (Some(kernel), Some(memory)) = (&self.monitor, &mut self.memory) else { return false };
        let (Some(generation), age) = (memory.generation, memory.age()) else { return false };
        let Some(present) = &mut memory.present else { return false };
        let term = Term { lease, age, trial: None, skeleton: Skeleton::Keep };
        let change = |at: &Endpoint| render::change(*at, step.blocks.get(at), present.blocks.get(at), term);
        let transaction = Transaction { changes: step.places.iter().filter_map(change).collect() };
        if transaction.is_empty() {
            return true;
        }
        let Ok(commits) = kernel.commit(&transaction, Some(generation), self.readd) else { return false };
        let generation = generation.wrapping_add(commits);
        let places: Vec<Endpoint> = step.places.iter().copied().collect();
        let mut as_asked = true;
        for action in [Action::Block, Action::Shadow] {
            let read = kernel.held(action, &places, |at, held| match (step.blocks.get(&at).filter(|b| b.action == action), held) {
                (Some(block), Some(held)) if held.holds(block) => {
                    present.blocks.insert(at, KernelBlock { left: held.left + age, ..held });
                }
                (None, None) if !step.blocks.contains_key(&at) => drop(present.blocks.remove(&at)),
                (None, None) => {}
                _ => as_asked = false,
            });
            as_asked &= read.is_ok();
        }
        if !as_asked {
            return false;
        }
        memory.generation = Some(generation);
        // Somebody beside us: what they did is not known yet.
        kernel.generation().is_ok_and(|now| now == generation)
    }
}
