//! The clock, the data directory, ports, and a collector elsewhere.

use super::{Finding, Role};
use crate::data;
use nix::{sys::statvfs::statvfs, unistd::AccessFlags};
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs},
    path::Path,
    time::Duration,
};

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const LOW_DISK: u64 = 256 << 20;

pub(super) fn clock() -> Finding {
    let now = rules::Timestamp::now();
    let text = now.strftime("%Y-%m-%d %H:%M UTC").to_string();
    // Deadlines and certificates rest on it. A machine without a battery wakes up in 1970.
    if now.as_second() < 1_760_000_000 {
        return Finding::lacking("clock", true, format!("{text} cannot be right"), "set the clock, then run an NTP client");
    }
    Finding::ok("clock", text)
}

pub(super) fn data_dir(role: Role, path: &Path) -> Vec<Finding> {
    let name = "data directory";
    if role == Role::Demo {
        return Vec::new();
    }
    let shown = path.display();
    let todo = "choose one you may write to: --data DIR, or GNOMON_DATA";
    // The nearest ancestor that exists decides: doctor makes nothing.
    let Some(there) = path.ancestors().find(|p| p.exists()) else {
        return vec![Finding::lacking(name, true, format!("{shown}: no such path"), todo)];
    };
    if !there.is_dir() {
        return vec![Finding::lacking(name, true, format!("{} is not a directory", there.display()), todo)];
    }
    if nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return vec![Finding::lacking(name, true, format!("{shown}: not writable for this user"), todo)];
    }
    let state = match data::holder(path) {
        Some(pid) => format!("{shown}, in use by process {pid}"),
        None if there == path => format!("{shown}, free to use"),
        None => format!("{shown}, will be made"),
    };
    let mut all = vec![Finding::ok(name, state)];
    if let Ok(disk) = statvfs(there) {
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let text = format!("{} MiB free", free >> 20);
        all.push(match free {
            0..LOW_DISK => Finding::lacking("disk", false, text, "make room: a full disk stops acknowledgements"),
            _ => Finding::ok("disk", text),
        });
    }
    all
}

/// The ports that `gnomon up` takes. Held by the Gnomon of the same data directory they are no trouble.
pub(super) fn ports(role: Role, data: &Path) -> Vec<Finding> {
    let wanted: &[(&'static str, u16)] = match role {
        Role::Up => &[("port 7411 (collector)", 7411), ("port 7413 (gateway)", 7413)],
        Role::Collector => &[("port 7411 (collector)", 7411), ("port 7412 (intake)", 7412)],
        Role::Gateway => &[("port 7413 (gateway)", 7413)],
        Role::Demo | Role::Sensor | Role::Enforcer => &[],
    };
    let ours = data::holder(data).is_some();
    let check = |&(name, port): &(&'static str, u16)| match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::ok(name, "free"),
        Err(why) if why.kind() == ErrorKind::AddrInUse && ours => Finding::ok(name, "in use by the running Gnomon"),
        Err(why) if why.kind() == ErrorKind::AddrInUse => Finding::lacking(
            name,
            true,
            "in use by another program",
            format!("`ss -ltnp sport = :{port}` names it; or choose another port"),
        ),
        Err(why) => Finding::lacking(name, true, format!("cannot be used: {why}"), "choose another port"),
    };
    wanted.iter().map(check).collect()
}

pub(super) fn collector(url: &url::Url) -> Finding {
    let name = "collector";
    let Some((host, port)) = url.host_str().zip(url.port_or_known_default()) else {
        return Finding::lacking(name, true, format!("{url} has no host and port"), "write it as https://HOST:7412");
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match (bare, port).to_socket_addrs() {
        Ok(found) => found.take(4).collect::<Vec<_>>(),
        Err(why) => return Finding::lacking(name, true, format!("{host} does not resolve: {why}"), "check the name, and DNS"),
    };
    let reached = addresses.iter().find(|a| TcpStream::connect_timeout(a, DIAL_TIMEOUT).is_ok());
    match reached {
        Some(address) => Finding::ok(name, format!("{url} accepts connections at {address}")),
        None => {
            Finding::lacking(name, true, format!("{url} does not accept connections"), "check that it runs, and the firewalls in between")
        }
    }
}
