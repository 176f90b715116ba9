//! What the process gives up at its start, since it may change the firewall: every capability but CAP_NET_ADMIN, new privileges, the
//! files that are not its own (Landlock), the network and what else of the kernel it never needs (seccomp).
//!
//! `nft` runs as a child and is under the same bounds. Only for a process that does nothing else: in `gnomon up` a collector and a
//! sensor live in the same process and need what is given up here. Every layer is tried; one that the kernel lacks is named.

mod files;
mod syscalls;

use crate::config::Config;
use caps::{CapSet, Capability, CapsHashSet};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, path::Path};

const FILE: &str = "confinement.json";

/// The bounds of one process, as they were set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub pid: u32,
    pub in_force: Vec<String>,
    /// What the kernel or the start refused, and why.
    pub lacking: Vec<String>,
}

/// Confines the calling thread and every thread and child it makes from now on, for good. To be called before there are others. Never
/// fails: what is lacking is in the answer, which is also kept in the data directory for `status`.
pub fn confine(config: &Config) -> Confinement {
    let mut done = Confinement { pid: std::process::id(), in_force: Vec::new(), lacking: Vec::new() };
    // Landlock needs the directory to be there.
    let made = crate::state::Store::open(&config.data).map(drop).map_err(|why| why.to_string());
    done.note("capabilities", give_up_capabilities().map_err(|why| why.to_string()));
    let no_more = nix::sys::prctl::set_no_new_privs().map(|()| "no new privileges".to_owned());
    done.note("no new privileges", no_more.map_err(|why| why.to_string()));
    done.note("Landlock", made.and_then(|()| files::restrict(config)));
    done.note("seccomp", syscalls::restrict());
    if let Ok(text) = serde_json::to_vec(&done) {
        // Only for `status`: without it the bounds hold all the same.
        let _ = fs::write(config.data.join(FILE), text);
    }
    done
}

/// Landlock and seccomp, each: what this kernel offers, or why not. Confines nothing.
pub fn offered() -> [(&'static str, Result<String, String>); 2] {
    [("landlock", files::offered()), ("seccomp", syscalls::offered())]
}

impl Confinement {
    fn note(&mut self, layer: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(what) => self.in_force.push(what),
            Err(why) => self.lacking.push(format!("{layer} ({why})")),
        }
    }

    /// Of the enforcer that uses this data directory, while it runs.
    pub fn of_running(data: &Path) -> Option<Confinement> {
        let known: Confinement = serde_json::from_slice(&fs::read(data.join(FILE)).ok()?).ok()?;
        Path::new(&format!("/proc/{}", known.pid)).exists().then_some(known)
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "confined by {}", if self.in_force.is_empty() { "nothing".to_owned() } else { self.in_force.join(", ") })?;
        if self.lacking.is_empty() { Ok(()) } else { write!(f, "; not by {}", self.lacking.join(", ")) }
    }
}

/// What is held of CAP_NET_ADMIN stays, also across the `exec` of nft; the rest goes.
fn give_up_capabilities() -> Result<String, caps::errors::CapsError> {
    for other in caps::all().into_iter().filter(|c| *c != Capability::CAP_NET_ADMIN) {
        // Needs CAP_SETPCAP, which a unit of ours does not give: it has emptied the set itself. Without new privileges, what a child
        // could gain from here is cut to what is permitted anyhow.
        let _ = caps::drop(None, CapSet::Bounding, other);
    }
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = held.into_iter().filter(|c| *c == Capability::CAP_NET_ADMIN).collect();
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted, CapSet::Ambient] {
        caps::set(None, set, &kept)?;
    }
    Ok(if kept.is_empty() { "no capability".to_owned() } else { "CAP_NET_ADMIN alone".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_holds_and_what_does_not() {
        let mut c = Confinement { pid: 1, in_force: vec![], lacking: vec![] };
        c.note("Landlock", Err("not in this kernel".to_owned()));
        assert_eq!(c.to_string(), "confined by nothing; not by Landlock (not in this kernel)");
        c.note("seccomp", Ok("seccomp".to_owned()));
        assert_eq!(c.to_string(), "confined by seccomp; not by Landlock (not in this kernel)");
    }

    #[test]
    fn the_bounds_of_a_process_that_ended_are_not_told() {
        let data = tempfile::tempdir().unwrap();
        let mut known = Confinement { pid: std::process::id(), in_force: vec!["seccomp".to_owned()], lacking: vec![] };
        let put = |c: &Confinement| fs::write(data.path().join(FILE), serde_json::to_vec(c).unwrap()).unwrap();
        put(&known);
        assert_eq!(Confinement::of_running(data.path()), Some(known.clone()));
        // Beyond what the kernel gives out.
        known.pid = 1 << 30;
        put(&known);
        assert_eq!(Confinement::of_running(data.path()), None);
    }
}
