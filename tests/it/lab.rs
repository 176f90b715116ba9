//! The door to tier 5: worlds of network namespaces. They need root; `GNOMON_NETNS=1` says that they must run.
//!
//! Each test there begins with `let Some(mut lab) = lab::enter() else { return };`, and [`tier_5_is_counted`] says how many those are.

use gnomon::demo::stage::Stage;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

/// One world at a time: they share two cores, and some measure.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Lab {
    pub(crate) stage: Stage,
    _turn: MutexGuard<'static, ()>,
}

/// A stage with its standing hosts. `None`: tier 5 is not asked for here. Panics when it is asked for and cannot be.
pub(crate) fn enter() -> Option<Lab> {
    if !asked_for() {
        eprintln!("not run: needs root and GNOMON_NETNS=1");
        return None;
    }
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::build(gnomon()).unwrap_or_else(|why| panic!("GNOMON_NETNS=1, but no world can be made here: {why}"));
    Some(Lab { stage, _turn: turn })
}

pub(crate) fn asked_for() -> bool {
    std::env::var("GNOMON_NETNS").is_ok_and(|v| v == "1")
}

/// The command under test: `GNOMON_BIN`, or what cargo builds from this workspace.
pub(crate) fn gnomon() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("GNOMON_BIN") {
            return path.into();
        }
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "gnomon", "--bin", "gnomon"]).status();
        assert!(built.is_ok_and(|s| s.success()), "gnomon does not build");
        // <target>/debug/deps/it-…
        let here = std::env::current_exe().unwrap();
        here.parent().and_then(Path::parent).unwrap().join("gnomon")
    })
}

#[test]
fn tier_5_is_counted() {
    let sources = [include_str!("world.rs"), include_str!("sdk.rs"), include_str!("crash.rs")];
    let tests: usize = sources.iter().map(|s| s.matches("lab::enter()").count()).sum();
    match asked_for() {
        true => eprintln!("tier 5: {tests} tests run in network namespaces"),
        false => eprintln!("tier 5: {tests} tests not run: they need root and GNOMON_NETNS=1"),
    }
    assert!(tests > 0);
}
