//! A seccomp filter: no socket but of netlink's netfilter and route families and of this host's own, and none of the system calls by
//! which a process leaves its place.
//!
//! A list of what is refused, not of what is allowed. nft and the C library of every distribution run under it, and one that begins
//! to use a new call must not silently end enforcement. The unit has the list of what is allowed (`@system-service`), which systemd
//! keeps in step with libraries.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Everything that connects or listens, looks into other processes, loads code into the kernel, or changes the world's shape or time.
const REFUSED: [libc::c_long; 48] = [
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Its own calls are not seen by the filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// On x86-64 the same calls have a second number, with this bit, where the kernel has the x32 ABI; and a few another one.
const X32: i64 = 0x4000_0000;
const ONLY_X32: [i64; 4] = [X32 | 521, X32 | 528, X32 | 539, X32 | 540];

/// Of the calling thread, and of those it makes.
pub(super) fn restrict() -> Result<String, String> {
    for program in [without_clone3(), program()] {
        let program = program.map_err(|why| why.to_string())?;
        seccompiler::apply_filter(&program).map_err(|why| why.to_string())?;
    }
    Ok("seccomp".to_owned())
}

/// Its flags are in memory, where a filter does not look. As on a kernel that does not have it, the C library takes `clone` then.
fn without_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let calls = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    SeccompFilter::new(calls, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32), arch)?.try_into()
}

/// What begins in namespaces of its own could do there what it may not here.
fn namespaces() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let all = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    all.into_iter()
        .map(|flag| {
            let flag = u64::from(flag.cast_unsigned());
            SeccompRule::new(vec![SeccompCondition::new(0, Dword, Op::MaskedEq(flag), flag)?])
        })
        .collect()
}

pub(super) fn offered() -> Result<String, String> {
    TargetArch::try_from(std::env::consts::ARCH).map_err(|_| format!("no filter for {}", std::env::consts::ARCH))?;
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let known = actions.split_whitespace().any(|a| a == "errno");
    known.then(|| "filters in the kernel".to_owned()).ok_or_else(|| "not in this kernel".to_owned())
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    calls.insert(libc::SYS_socket, sockets()?);
    calls.insert(libc::SYS_clone, namespaces()?);
    if arch == TargetArch::x86_64 {
        let second: Vec<_> = calls.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        calls.extend(second.into_iter().chain(ONLY_X32.map(|call| (call, Vec::new()))));
    }
    SeccompFilter::new(calls, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch)?.try_into()
}

/// Refused: any family but the two, and of netlink any protocol but the two.
fn sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let argument = |index, op, value: libc::c_int| SeccompCondition::new(index, Dword, op, value as u64);
    let family = SeccompRule::new(vec![argument(0, Op::Ne, libc::AF_UNIX)?, argument(0, Op::Ne, libc::AF_NETLINK)?])?;
    let protocol = SeccompRule::new(vec![
        argument(0, Op::Eq, libc::AF_NETLINK)?,
        argument(2, Op::Ne, libc::NETLINK_NETFILTER)?,
        argument(2, Op::Ne, libc::NETLINK_ROUTE)?,
    ])?;
    Ok(vec![family, protocol])
}
