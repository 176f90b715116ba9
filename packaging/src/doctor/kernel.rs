//! What the kernel can do, and what it lets this process do.

use super::{Finding, Role};
use caps::{CapSet, Capability};
use nix::unistd::Uid;
use std::{fs, path::Path};

/// One line per capability that some role wants.
pub(super) fn capabilities(role: Role) -> Vec<Finding> {
    let wanted = [
        ("CAP_NET_RAW", Capability::CAP_NET_RAW, role == Role::Sensor, "the wire is not watched"),
        ("CAP_NET_ADMIN", Capability::CAP_NET_ADMIN, role == Role::Enforcer, "nothing can be blocked"),
        ("CAP_SYS_PTRACE", Capability::CAP_SYS_PTRACE, false, "listeners of other users have no process name"),
    ];
    let held = |c| caps::has_cap(None, CapSet::Effective, c).unwrap_or(false);
    let line = |(name, capability, needed, without): (&'static str, Capability, bool, &str)| {
        if held(capability) {
            Finding::ok(name, "held")
        } else {
            let todo = format!("run as root, or: setcap {}+ep $(command -v gnomon)", name.to_lowercase());
            Finding::lacking(name, needed, format!("not held: {without}"), todo)
        }
    };
    wanted.into_iter().map(line).collect()
}

pub(super) fn release() -> Finding {
    Finding::ok("kernel", read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown (no /proc)".to_owned()))
}

pub(super) fn nf_tables(role: Role) -> Finding {
    let name = "nf_tables";
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    if modules.lines().any(|l| l.starts_with("nf_tables ")) || Path::new("/sys/module/nf_tables").exists() {
        return Finding::ok(name, "in the kernel");
    }
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    if module_listed(&release, "nf_tables.ko").unwrap_or(false) {
        return Finding::ok(name, "a module, loaded when first used");
    }
    // Built without modules, the kernel does not say what it holds: only a try would show it, and a try changes things.
    match fs::read_to_string(format!("/lib/modules/{release}/modules.builtin")) {
        Ok(text) if text.contains("nf_tables.ko") => Finding::ok(name, "built in"),
        Ok(_) => Finding::lacking(
            name,
            role == Role::Enforcer,
            "not in this kernel: nothing can be blocked",
            "use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET",
        ),
        Err(_) => Finding::ok(name, "not listed (a kernel without modules); `nft list tables` as root tells"),
    }
}

fn module_listed(release: &str, file: &str) -> Option<bool> {
    fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).ok().map(|text| text.contains(file))
}

/// What bounds the process that may change the firewall. It runs without, and says so.
pub(super) fn confinement(role: Role) -> Vec<Finding> {
    let line = |(name, offered): (&'static str, Result<String, String>)| match offered {
        Ok(found) => Finding::ok(name, found),
        Err(why) => Finding::lacking(
            name,
            false,
            format!("{why}: `gnomon enforcer` is bounded by what is left"),
            "use a kernel with CONFIG_SECCOMP_FILTER, CONFIG_SECURITY_LANDLOCK and lsm=landlock,…",
        ),
    };
    if role == Role::Enforcer { enforcer::confine::offered().into_iter().map(line).collect() } else { Vec::new() }
}

pub(super) fn user_namespaces(role: Role) -> Finding {
    let name = "user namespaces";
    let zero = |path: &str| read(path).is_some_and(|v| v == "0");
    let one = |path: &str| read(path).is_some_and(|v| v == "1");
    let needed = role == Role::Demo && !Uid::effective().is_root();
    let off = |found: &str, todo: &str| Finding::lacking(name, needed, found, todo);
    if zero("/proc/sys/user/max_user_namespaces") {
        off("none allowed: the demo needs root", "sysctl user.max_user_namespaces=10000")
    } else if zero("/proc/sys/kernel/unprivileged_userns_clone") {
        off("for root only: the demo needs root", "sysctl kernel.unprivileged_userns_clone=1")
    } else if one("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") {
        off("restricted by AppArmor: the demo needs root", "sysctl kernel.apparmor_restrict_unprivileged_userns=0")
    } else if !Path::new("/proc/self/ns/user").exists() {
        off("not in this kernel: the demo needs root", "use a kernel with CONFIG_USER_NS")
    } else {
        Finding::ok(name, "allowed for everyone")
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
