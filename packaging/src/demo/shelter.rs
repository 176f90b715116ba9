//! A place of the demo's own: new network, mount and process namespaces (and a user namespace for anyone but root), so that
//! the kernel itself takes everything away when the demo ends, however it ends.

use nix::unistd::Uid;
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

/// In the environment of every process of one run, by which they are found again.
const MARK: &str = "GNOMON_DEMO_RUN";
/// A private `/run` for the names of namespaces, and a temporary directory in it that vanishes with it.
const MOVE_IN: &str = r#"mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && export TMPDIR=/run && exec "$0" "$@""#;

/// How to start a process in there.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", MOVE_IN]);
    command
}

/// Why no shelter can be had here; `None`: it can.
pub fn refused() -> Option<String> {
    let try_it = "ip netns add gnm-try && ip netns exec gnm-try nft add table inet try";
    let tried = unshare().args(["sh", "-c", try_it]).stdin(Stdio::null()).output();
    match tried {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or("it gave no reason").to_owned()),
        Err(why) => Some(format!("cannot run unshare: {why}")),
    }
}

/// `gnomon` with these arguments, in a shelter of its own. It ends when its standard input does.
pub fn command(gnomon: &std::path::Path, args: &[String]) -> Command {
    let mut command = unshare();
    command.arg(gnomon).args(args).env(MARK, std::process::id().to_string()).stdin(Stdio::piped());
    command
}

/// Ends this process, and with it everything in the shelter, when whoever started it is gone.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(130);
    });
}

/// What a demo could leave behind on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// `None`: this user may not look.
    ruleset: Option<String>,
    /// Of our own naming: others may come and go on a machine that is used.
    namespaces: BTreeSet<String>,
    processes: BTreeSet<u32>,
}

impl Surroundings {
    pub fn look() -> Surroundings {
        let listed = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
        let signature = format!("{MARK}={}", std::process::id());
        let ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|variable| variable == signature.as_bytes())
        };
        let nft = Command::new("nft").args(["-s", "list", "ruleset"]).stderr(Stdio::null()).output();
        Surroundings {
            ruleset: nft.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).into_owned()),
            namespaces: listed("/run/netns").filter(|name| name.starts_with(super::world::PREFIX)).collect(),
            processes: listed("/proc").filter_map(|name| name.parse().ok()).filter(ours).collect(),
        }
    }

    /// What is there now and was not before, or the other way round.
    pub fn differences(&self, before: &Surroundings) -> Vec<String> {
        let mut found = Vec::new();
        if self.ruleset != before.ruleset {
            found.push("the nftables ruleset changed".to_owned());
        }
        let namespaces = self.namespaces.symmetric_difference(&before.namespaces);
        found.extend(namespaces.map(|name| format!("network namespace {name} is not as before")));
        found.extend(self.processes.iter().map(|pid| format!("process {pid} of the demo still runs")));
        found
    }

    pub fn describe(&self) -> String {
        let rules = match &self.ruleset {
            Some(text) => format!("{} lines of nft ruleset", text.lines().count()),
            None => "nft ruleset not readable for this user".to_owned(),
        };
        format!("{rules}, {} network namespaces of ours, {} processes", self.namespaces.len(), self.processes.len())
    }
}
