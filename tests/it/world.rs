//! The world itself: before it may prove anything about the product, it has to prove itself.

use crate::lab;
use gnomon::demo::{
    agent::{self, Target, Trouble},
    cast::Role,
    stage::{url, v4, v6},
    world::sweep,
};
use std::{process::Command, time::Duration};

#[test]
fn agents_reach_servers_of_both_eras_over_both_families() {
    let Some(mut lab) = lab::enter() else { return };
    let stage = &mut lab.stage;
    let old = stage.server("old", 11).unwrap();
    let new = stage.server("new", 12).unwrap();
    stage.cast(&old, Role::Sessions, "old", &["read"]).unwrap();
    let process = stage.cast(&new, Role::Stateless, "new", &["read"]).unwrap();
    for (n, era) in [(11, Role::Sessions), (12, Role::Stateless)] {
        for address in [v4(n), v6(n)] {
            let target = Target::new(&url(address, 3001, "/mcp"), era);
            let said = agent::call(&stage.agent, &target, "read").unwrap();
            assert!(said.as_ref().is_ok_and(|s| s.contains("read(\"demo\") done")), "{target:?}: {said:?}");
            assert_eq!(agent::tools(&stage.agent, &target).unwrap(), Ok(vec!["read".to_owned()]));
            let stream = agent::listen(&stage.agent, &target).unwrap();
            assert!(stream.next(Duration::from_secs(5)).is_ok());
            assert!(stream.next(Duration::from_secs(5)).is_ok());
        }
    }
    let target = Target::new(&url(v4(12), 3001, "/mcp"), Role::Stateless);
    assert!(matches!(agent::call(&stage.agent, &target, "write").unwrap(), Err(Trouble::Status(400, _))));
    stage.world.kill(process);
    assert_eq!(agent::call(&stage.agent, &target, "read").unwrap(), Err(Trouble::Refused));
}

#[test]
fn a_world_leaves_nothing_behind_and_a_sweep_takes_only_what_is_dead() {
    let Some(lab) = lab::enter() else { return };
    let mine = lab.stage.hq.namespace.clone();
    let listed = || String::from_utf8(Command::new("ip").arg("netns").output().unwrap().stdout).unwrap();
    // A pid that cannot be: the kernel's limit is 4194304.
    let dead = "gnm4194305n0-router";
    assert!(Command::new("ip").args(["netns", "add", dead]).status().unwrap().success());
    assert_eq!(sweep(), [dead]);
    assert!(listed().contains(&mine) && !listed().contains(dead));
    let state = lab.stage.path("");
    assert!(state.is_dir());
    drop(lab);
    assert!(!listed().contains(&mine));
    assert!(!state.exists());
}
