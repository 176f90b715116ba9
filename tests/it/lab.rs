//! The door to tier 5: worlds of network namespaces. They need root; `GNOMON_NETNS=1` says that they must run.
//!
//! Each test there begins with `let Some(mut lab) = lab::enter() else { return };`, and [`every_test_of_tier_5_comes_in_by_the_door`] holds them to it.

use gnomon::demo::{
    product::{Product, Settings},
    stage::{Stage, v4},
    webhook::Letterbox,
    world::{Host, ProcessId},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
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

impl Lab {
    /// Settings of a collector on `at`, with its webhook on hq; the probe asks these hosts of the servers' segment.
    pub(crate) fn settings(&self, at: u8, day: Duration, probe: &[u8], ports: &[u16]) -> Settings {
        Settings {
            day,
            webhook: SocketAddr::new(v4(2), 9000),
            probe: probe.iter().map(|n| v4(*n).to_string()).collect(),
            ports: ports.to_vec(),
            intake: SocketAddr::new(v4(at), 7412),
            gateway: SocketAddr::new(v4(at), 7413),
        }
    }

    pub(crate) fn letterbox(&self) -> Letterbox {
        Letterbox::open(&self.stage.hq, SocketAddr::new(v4(2), 9000)).unwrap()
    }

    /// Asks with the command; panics with what it complained of.
    pub(crate) fn ask(&self, product: &Product, args: &[&str]) -> Vec<serde_json::Value> {
        product.ask(&self.stage, args).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts a role that joins the collector with a token of its own, on `host`, named and kept as `name`.
    pub(crate) fn join(&mut self, product: &Product, host: &Host, role: &str, name: &str, args: &[&str]) -> ProcessId {
        let kind = if role == "courier" { "enforcer" } else { role };
        let issued = self.ask(product, &["tokens", "issue", "--role", kind, "--name", name]);
        let token = issued.iter().find_map(|v| v.get("token")?.as_str()).unwrap_or_else(|| panic!("{issued:?}"));
        let collector = format!("https://{}:7412", v4(self.number(&product.host)));
        let more = ["--collector", &collector, "--token", token];
        self.role(host, role, name, &[&more, args].concat())
    }

    /// Starts a role, or starts it again where it left off.
    pub(crate) fn role(&mut self, host: &Host, role: &str, name: &str, args: &[&str]) -> ProcessId {
        let mut command = self.stage.gnomon(host);
        command.args(["--log", "info", "--data"]).arg(self.stage.path(name)).arg(role).args(args);
        self.stage.spawn(&mut command, name).unwrap()
    }

    fn number(&self, host: &Host) -> u8 {
        if *host == self.stage.hq { 2 } else { 1 }
    }
}

/// The last words of processes, for a panic.
pub(crate) fn words(stage: &Stage, names: &[&str]) -> String {
    names.iter().map(|n| format!("--- {n}\n{}", stage.log(n))).collect()
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

/// A test of these files that forgets the door would fail on every machine without root, or pass there having shown nothing.
#[test]
fn every_test_of_tier_5_comes_in_by_the_door() {
    let sources = [
        include_str!("world.rs"),
        include_str!("world_addresses.rs"),
        include_str!("sdk.rs"),
        include_str!("crash.rs"),
        include_str!("world_line.rs"),
        include_str!("world_hostile.rs"),
        include_str!("world_reset.rs"),
        include_str!("world_interfaces.rs"),
        include_str!("world_shunt.rs"),
    ];
    let mut counted = 0;
    for source in sources {
        for test in source.split("#[test]").skip(1) {
            let first =
                test.split_once("{\n").map_or("", |(_, body)| body.lines().map(str::trim).find(|l| !l.starts_with("//")).unwrap_or(""));
            assert!(first.ends_with("lab::enter() else { return };"), "begins with {first:?}");
            counted += 1;
        }
    }
    match asked_for() {
        true => eprintln!("tier 5: {counted} tests run in network namespaces"),
        false => eprintln!("tier 5: {counted} tests not run: they need root and GNOMON_NETNS=1"),
    }
}
