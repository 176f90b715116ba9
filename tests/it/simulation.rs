//! Tier 3: random worlds against a reference model. `GNOMON_SEED=n GNOMON_RUNS=m` runs others, or one again.

use tests::simulation::{Subject, Tally, mutants, simulate};

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

#[test]
fn random_worlds_agree_with_the_model() {
    let (first, runs) = (number("GNOMON_SEED", 1), number("GNOMON_RUNS", 24));
    let mut all = Tally::default();
    for seed in first..first + runs {
        match simulate(seed, Subject::real()) {
            Ok(tally) => all.add(tally),
            Err(why) => panic!("{why}"),
        }
    }
    println!("{all:?}");
    if runs >= 24 {
        // A world in which nothing happens proves nothing.
        let happened =
            [all.blocks, all.releases, all.jumps, all.restarts, all.crashes, all.sets, all.refused_sets, all.held, all.calm_blocks];
        assert!(happened.iter().all(|n| *n >= 10), "{all:?}");
    }
}

#[test]
fn every_known_bug_is_seen() {
    for (bug, subject) in mutants::all() {
        let seen = (1..=24).find_map(|seed| simulate(seed, subject).err());
        match seen {
            Some(why) => println!("{bug}: {}", why.lines().next().unwrap_or_default()),
            None => panic!("the simulation is blind to this: {bug}"),
        }
    }
}
