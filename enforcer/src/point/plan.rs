//! The plan of a set for this host: what its table should hold, and the transaction that leads there. Pure.

use crate::{
    check::{self, Against, Objection},
    config::Config,
    facts::Facts,
    present::Present,
    render::{self, Skeleton, Term, Transaction},
    ruleset::{self, Block, Ruleset, Withheld},
};
use rules::{
    Timestamp,
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
};
use std::{collections::BTreeSet, time::Duration};

/// A set as it would be here, with everything that was weighed. Pure.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub ruleset: Ruleset,
    pub withheld: Vec<Withheld>,
    pub objections: Vec<Objection>,
    pub transaction: Transaction,
    /// Blocks that the set before did not have.
    pub new: usize,
    pub held_back: bool,
}

/// How a set is to be brought about.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    pub now: Timestamp,
    /// New blocks lapse after this long.
    pub trial: Option<Duration>,
    pub many_new: bool,
    /// Too many new blocks, or new ones that cannot be judged, are withheld and the rest is done (above all: lifted). Otherwise that is
    /// an objection, for a person to decide.
    pub hold_back: bool,
    /// The set applied before: what it holds is not new.
    pub before: Option<&'a DecisionSet>,
    pub new_this_hour: usize,
    /// No lease is longer than this, whatever the wall clock says.
    pub left: Duration,
}

/// A set in the kernel, read back and equal.
#[derive(Clone, Debug)]
pub struct Enacted {
    pub elements: usize,
    pub withheld: Vec<Withheld>,
    pub new: usize,
    /// New blocks were held back.
    pub held_back: bool,
    /// Facts of this host that could not be read.
    pub unknown: Vec<String>,
    /// Whether the kernel did not hold it any more (or not yet). A lease renewed, or a protected address come or gone, is no drift.
    pub drifted: bool,
    /// When leases are due for renewal.
    pub renew_in: Duration,
}

/// A lease never outlives the set that justifies it.
pub fn lease(set: &DecisionSet, options: &ApplyOptions<'_>) -> Duration {
    let valid = set.not_after.duration_since(options.now);
    set.lease.0.min(Duration::try_from(valid).unwrap_or_default()).min(options.left)
}

pub fn plan_for_host(
    set: &DecisionSet,
    facts: &Facts,
    config: &Config,
    (present, age): (Option<&Present>, Duration),
    skeleton: Skeleton,
    options: ApplyOptions<'_>,
) -> HostPlan {
    let (mut ruleset, mut withheld) = ruleset::plan(set, facts, config);
    let known: BTreeSet<Endpoint> = options
        .before
        .iter()
        .flat_map(|s| &s.decisions)
        .filter(|d| d.action == Action::Block)
        .map(|d| Endpoint::new(d.endpoint.address, d.endpoint.port))
        .collect();
    let is_new = |endpoint: &Endpoint, block: &Block| block.action == Action::Block && !known.contains(endpoint);
    let mut new = ruleset.blocks.iter().filter(|(e, b)| is_new(e, b)).count();
    let why = reason_to_hold_back(&ruleset, new, facts, config, &options);
    if let Some(why) = why {
        let held: Vec<Withheld> = ruleset
            .blocks
            .iter()
            .filter(|(e, b)| is_new(e, b))
            .map(|(endpoint, block)| Withheld { endpoint: *endpoint, finding: block.finding.clone(), why })
            .collect();
        ruleset.blocks.retain(|e, b| !is_new(e, b));
        withheld.splice(..0, held);
        new = 0;
    }
    let lease = lease(set, &options);
    let against = Against {
        set,
        facts,
        config,
        new_this_hour: if new == 0 { 0 } else { options.new_this_hour + new },
        many_new: options.many_new,
        lease,
        beside: 0,
    };
    let objections = check::objections(&ruleset, &against);
    let transaction = render::render(&ruleset, present, Term { lease, age, trial: options.trial.map(|t| t.min(lease)), skeleton });
    HostPlan { ruleset, withheld, objections, transaction, new, held_back: why.is_some() }
}

fn reason_to_hold_back(ruleset: &Ruleset, new: usize, facts: &Facts, config: &Config, options: &ApplyOptions<'_>) -> Option<&'static str> {
    let blocks = ruleset.blocks.values().filter(|b| b.action == Action::Block).count();
    if new == 0 || !options.hold_back {
        None
    } else if facts.blind {
        Some("new, while own addresses or default gateways of this host cannot be read")
    } else if !options.many_new && options.new_this_hour + new > config.limits.max_new_per_hour {
        Some("one of more new blocks within an hour than max_new_per_hour; a person may apply them with --many-new")
    } else if blocks > config.limits.max_blocks {
        Some("new, and there would be more than max_blocks")
    } else {
        None
    }
}
