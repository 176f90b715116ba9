//! Programs and libraries.

use super::{Finding, Role};
use std::process::Command;

pub(super) fn libpcap(role: Role) -> Finding {
    let name = "libpcap";
    // The command is linked to it, so it is there, or this line would not run; what may differ is which.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    match maps.lines().filter_map(|l| l.split_whitespace().last()).find(|p| p.contains("libpcap")) {
        Some(path) => Finding::ok(name, path),
        None if matches!(role, Role::Up | Role::Sensor | Role::Demo) => Finding::ok(name, "built in"),
        None => Finding::ok(name, "not used by this role"),
    }
}

pub(super) fn nft(role: Role) -> Finding {
    let name = "nft";
    let needed = matches!(role, Role::Enforcer);
    match version("nft", "--version") {
        // JSON that reads back with element timeouts came with 1.0.2.
        Some(v) if numbers(&v) >= vec![1, 0, 2] => Finding::ok(name, v),
        Some(v) => Finding::lacking(name, needed, format!("{v} is too old: blocks cannot be read back"), "install nftables 1.0.2 or newer"),
        None => Finding::lacking(name, needed, "not found: nothing can be blocked", "apt-get install nftables"),
    }
}

pub(super) fn ip(role: Role) -> Finding {
    let name = "ip";
    match version("ip", "-V") {
        Some(v) => Finding::ok(name, v),
        None => Finding::lacking(name, role == Role::Demo, "not found: no demo and no namespace tests", "apt-get install iproute2"),
    }
}

/// The first line a program prints about itself. `sbin` is looked into too: users seldom have it in their path.
fn version(program: &str, flag: &str) -> Option<String> {
    let places = [program.to_owned(), format!("/usr/sbin/{program}"), format!("/sbin/{program}")];
    let output = places.iter().find_map(|p| Command::new(p).arg(flag).output().ok().filter(|o| o.status.success()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|l| rules::printable::printable(l.trim(), 80))
}

/// `nftables v1.0.6 (Lester Gooch #5)` is 1, 0, 6.
fn numbers(version: &str) -> Vec<u32> {
    let word = version.split_whitespace().find(|w| w.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()));
    word.unwrap_or_default().trim_start_matches('v').split('.').map_while(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(numbers("nftables v1.0.6 (Lester Gooch #5)"), [1, 0, 6]);
        assert!(numbers("nftables v1.1.0") > numbers("nftables v1.0.9"));
        assert!(numbers("no idea").is_empty());
    }
}
