//! A world of network namespaces: hosts, bridges, addresses, processes; all of it gone when the value is dropped.
//!
//! Namespaces are named `gnm<pid>n<k>-<name>` after the process that made them, so that [`sweep`] can tell the leftovers of a
//! killed run from a run that is under way. Nothing is ever put into the namespace the world was made from.

mod host;
mod sweep;

pub use host::Host;
pub use sweep::sweep;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::{
    io,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Names of our namespaces begin with it.
pub const PREFIX: &str = "gnm";
static WORLDS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run `{command}`: {source}; iproute2 must be installed")]
    Start { command: String, source: io::Error },
    #[error("`{command}` failed: {said}")]
    Failed { command: String, said: String },
    #[error("cannot enter network namespace {name}: {source}")]
    Enter { name: String, source: io::Error },
    #[error("nothing accepted connections at {at} in {name} within {} s", within.as_secs())]
    NotReady { at: SocketAddr, name: String, within: Duration },
    #[error("`{command}` ended before it was ready: {status}")]
    Ended { command: String, status: String },
}

/// Everything made by one run. Dropping it ends its processes and removes its namespaces.
#[derive(Debug)]
pub struct World {
    prefix: String,
    hosts: Vec<Host>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    what: String,
}

/// A process of the world, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(pub u32);

impl World {
    pub fn new() -> Result<World, Error> {
        sweep();
        let k = WORLDS.fetch_add(1, Ordering::Relaxed);
        let world = World { prefix: format!("{PREFIX}{}n{k}-", std::process::id()), hosts: Vec::new(), running: Vec::new() };
        Ok(world)
    }

    /// A new namespace with its loopback up. `name` is at most eight characters: it also names its interfaces.
    pub fn host(&mut self, name: &str) -> Result<Host, Error> {
        let host = Host { namespace: format!("{}{name}", self.prefix), name: name.to_owned() };
        ip(&["netns", "add", &host.namespace])?;
        self.hosts.push(host.clone());
        host.ip_lines("link set lo up\n")?;
        Ok(host)
    }

    /// A namespace that forwards between the bridges it gets.
    pub fn router(&mut self, name: &str) -> Result<Host, Error> {
        let host = self.host(name)?;
        let on = "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
        run(host.command("sh").args(["-c", on]))?;
        Ok(host)
    }

    /// A segment: a bridge in the router, with the router's own addresses on it (`10.0.0.1/24`, `fd00::1/64`).
    pub fn segment(&self, router: &Host, name: &str, addresses: &[&str]) -> Result<Segment, Error> {
        let mut lines = format!("link add {name} type bridge forward_delay 0 mcast_snooping 0\nlink set {name} up\n");
        add_addresses(&mut lines, name, addresses);
        router.ip_lines(&lines)?;
        let gateways = addresses.iter().filter_map(|a| a.split('/').next()).map(str::to_owned).collect();
        Ok(Segment { router: router.clone(), bridge: name.to_owned(), gateways })
    }

    /// A new host on a segment, with `eth0`, its addresses, and default routes to the router.
    pub fn host_on(&mut self, segment: &Segment, name: &str, addresses: &[&str]) -> Result<Host, Error> {
        let host = self.host(name)?;
        let port = format!("p-{name}");
        let peer = &segment.router.namespace;
        host.ip_lines(&format!("link add eth0 type veth peer name {port} netns {peer}\n"))?;
        segment.router.ip_lines(&format!("link set {port} master {} up\n", segment.bridge))?;
        let mut lines = "link set eth0 up\n".to_owned();
        add_addresses(&mut lines, "eth0", addresses);
        let has = |v6: bool| addresses.iter().any(|a| a.contains(':') == v6);
        for gateway in segment.gateways.iter().filter(|g| has(g.contains(':'))) {
            lines.push_str(&format!("route add default via {gateway} dev eth0\n"));
        }
        host.ip_lines(&lines)?;
        Ok(host)
    }

    /// Starts a process on a host. It lives until [`World::end`], [`World::kill`] or the end of the world, in a process group of
    /// its own so that a Ctrl-C at the terminal reaches only us.
    pub fn spawn(&mut self, command: &mut Command) -> Result<ProcessId, Error> {
        use std::os::unix::process::CommandExt;
        let what = words(command);
        let child = command.process_group(0).spawn().map_err(|source| Error::Start { command: what.clone(), source })?;
        let id = ProcessId(child.id());
        self.running.push(Running { child, what });
        Ok(id)
    }

    /// Waits until something accepts connections at `at` on `host`. Fails at once when `process` has ended.
    pub fn wait_ready(&mut self, host: &Host, at: SocketAddr, process: ProcessId, within: Duration) -> Result<(), Error> {
        let by = Instant::now() + within;
        while Instant::now() < by {
            if host.enter(move || std::net::TcpStream::connect_timeout(&at, Duration::from_millis(250)).is_ok())? {
                return Ok(());
            }
            if let Some((command, status)) = self.ended(process) {
                return Err(Error::Ended { command, status });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::NotReady { at, name: host.name.clone(), within })
    }

    /// How a process ended, if it has.
    pub fn ended(&mut self, process: ProcessId) -> Option<(String, String)> {
        let running = self.running.iter_mut().find(|r| r.child.id() == process.0)?;
        let status = running.child.try_wait().ok()??;
        Some((running.what.clone(), status.to_string()))
    }

    /// SIGKILL, as a crash would have it.
    pub fn kill(&mut self, process: ProcessId) {
        if let Some(i) = self.running.iter().position(|r| r.child.id() == process.0) {
            let mut running = self.running.swap_remove(i);
            running.signal(Signal::SIGKILL);
            running.reap(Duration::from_secs(5));
        }
    }

    /// SIGTERM, and SIGKILL if that is not heeded within five seconds. How it ended; `None` when it had to be killed.
    pub fn end(&mut self, process: ProcessId) -> Option<std::process::ExitStatus> {
        let i = self.running.iter().position(|r| r.child.id() == process.0)?;
        let mut running = self.running.swap_remove(i);
        running.signal(Signal::SIGTERM);
        let status = running.reap(Duration::from_secs(5));
        if status.is_none() {
            running.signal(Signal::SIGKILL);
            running.reap(Duration::from_secs(5));
        }
        status
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for running in &self.running {
            running.signal(Signal::SIGTERM);
        }
        let by = Instant::now() + Duration::from_secs(3);
        for running in &mut self.running {
            if running.reap(by.saturating_duration_since(Instant::now())).is_none() {
                running.signal(Signal::SIGKILL);
                running.reap(Duration::from_secs(2));
            }
        }
        for host in &self.hosts {
            sweep::remove(&host.namespace);
        }
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _gone = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    fn reap(&mut self, within: Duration) -> Option<std::process::ExitStatus> {
        let by = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < by => thread::sleep(Duration::from_millis(10)),
                _ => return None,
            }
        }
    }
}

/// A bridge of a router: where hosts are plugged in.
#[derive(Clone, Debug)]
pub struct Segment {
    router: Host,
    pub bridge: String,
    gateways: Vec<String>,
}

fn add_addresses(lines: &mut String, interface: &str, addresses: &[&str]) {
    for address in addresses {
        // Duplicate address detection would make every IPv6 address useless for its first second.
        let nodad = if address.contains(':') { " nodad" } else { "" };
        lines.push_str(&format!("addr add {address} dev {interface}{nodad}\n"));
    }
}

fn ip(args: &[&str]) -> Result<String, Error> {
    run(Command::new("ip").args(args))
}

/// Runs to the end; what it printed, or what it complained of.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let what = words(command);
    let done = command.stdin(Stdio::null()).output().map_err(|source| Error::Start { command: what.clone(), source })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(Error::Failed { command: what, said: format!("{}: {}{}", done.status, text(&done.stderr), text(&done.stdout)) })
}

fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn text(bytes: &[u8]) -> String {
    let tail = bytes.get(bytes.len().saturating_sub(2000)..).unwrap_or_default();
    String::from_utf8_lossy(tail).trim().to_owned()
}
