//! Random worlds: evidence that is lost, doubled and late; notices that arrive or do not; clocks that jump; crashes, restarts,
//! people who change the policy and the registry. After every step the [`model`] says what may be blocked, and what may never be.
//!
//! Everything is a function of the seed. What is simulated is a [`Subject`]: the real rules, or a known bug of [`mutants`], so
//! that a test can prove that the simulation would have seen it.

mod chance;
mod enforcer;
mod model;
pub mod mutants;
mod world;

use jiff::Timestamp;
use rules::{
    compose::{Composition, compose},
    decision::DecisionSet,
    detect::Sight,
    round::{Round, round},
    server::Server,
    site::{Matters, Site},
};

/// The functions under test.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub round: fn(&Site<'_>, &[&Server], &[Sight<'_>], &Matters, Timestamp) -> Round,
    pub compose: fn(&Site<'_>, &Matters, Option<&DecisionSet>, Timestamp) -> Composition,
    /// What a restart reads back of what was written.
    pub restart: fn(Matters) -> Matters,
    /// Whether an enforcer that has applied a generation takes this set.
    pub accepts: fn(applied: u64, set: &DecisionSet, now: Timestamp) -> bool,
}

impl Subject {
    pub fn real() -> Subject {
        Subject {
            round: |site, servers, sights, matters, now| round(site, servers.iter().copied(), sights, matters, now),
            compose: |site, matters, previous, now| compose(site, matters.values(), previous, 0, now),
            restart: |matters| serde_json::from_str(&serde_json::to_string(&matters).expect("it can be written")).expect("it can be read"),
            accepts: |applied, set, now| set.generation > applied && now < set.not_after,
        }
    }
}

/// What happened in a run: a simulation in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub rounds: u64,
    pub blocks: u64,
    pub releases: u64,
    pub jumps: u64,
    pub restarts: u64,
    pub crashes: u64,
    pub sets: u64,
    pub refused_sets: u64,
    pub held: u64,
    pub calm_blocks: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.rounds += other.rounds;
        self.blocks += other.blocks;
        self.releases += other.releases;
        self.jumps += other.jumps;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
        self.sets += other.sets;
        self.refused_sets += other.refused_sets;
        self.held += other.held;
        self.calm_blocks += other.calm_blocks;
    }
}

/// Plays one world: some hundred steps of chaos, then a calm in which everything that may be blocked has to be.
pub fn simulate(seed: u64, subject: Subject) -> Result<Tally, String> {
    let mut world = world::World::new(seed, subject);
    let lived = world.chaos(160).and_then(|()| world.calm());
    lived.map(|()| world.tally).map_err(|why| {
        let last: Vec<&str> = world.trace.iter().rev().take(12).rev().map(String::as_str).collect();
        format!("seed {seed}: {why}\nthe last steps were:\n  {}\nrun it alone with GNOMON_SEED={seed} GNOMON_RUNS=1", last.join("\n  "))
    })
}
