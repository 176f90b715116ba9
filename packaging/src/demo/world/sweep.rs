//! Taking a world down, also one that nobody could take down in time.

use super::{PREFIX, ip};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Removes what killed runs left behind: namespaces with our prefix whose process is gone, and the processes in them.
/// The names it removed.
pub fn sweep() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Vec::new() };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let dead: Vec<String> = names.filter(|name| maker(name).is_some_and(|pid| !alive(pid))).collect();
    dead.iter().for_each(|name| remove(name));
    dead
}

/// Which process made a namespace of this name; `None`: not one of ours.
fn maker(namespace: &str) -> Option<u32> {
    let (run, _) = namespace.strip_prefix(PREFIX)?.split_once('-')?;
    let (pid, k) = run.split_once('n')?;
    k.parse::<u32>().ok()?;
    pid.parse().ok()
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Ends what runs in a namespace and deletes it.
pub(super) fn remove(namespace: &str) {
    if let Ok(pids) = ip(&["netns", "pids", namespace]) {
        for pid in pids.split_whitespace().filter_map(|p| p.parse().ok()).filter(|p| *p != std::process::id().cast_signed()) {
            let _gone = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    if let Err(why) = ip(&["netns", "delete", namespace]) {
        tracing::warn!("{why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_namespaces_have_a_maker() {
        assert_eq!(maker("gnm412n0-router"), Some(412));
        for other in ["gnm-router", "gnm412-router", "gz-20", "cni-1234", "gnmxn0-a", "gnm4n-a"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
