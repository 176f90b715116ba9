//! The network the demo and the tests play on: a router with two segments, the collector's host, an agent, a person.
//!
//! ```text
//!   servers  10.97.1.0/24  fd97:1::/64      agents  10.97.2.0/24  fd97:2::/64
//!     hq .2   server .10 ...  ── router .1 ──   agent .5   person .200
//! ```
//! Agents are `10.97.2.0/25` and `fd97:2::/112`; the person sits on the same segment outside of these ranges.

use super::cast::Role;
use super::world::{Error, Host, ProcessId, Segment, World};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// Ranges of agents, as a policy names them.
pub const AGENTS: [&str; 2] = ["10.97.2.0/25", "fd97:2::/112"];
/// How long a process of ours may take to listen. Generous: machines that run this are small and busy.
pub const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// A world with its standing hosts. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Stage {
    pub world: World,
    pub router: Host,
    /// Where collector and gateway run.
    pub hq: Host,
    pub agent: Host,
    pub person: Host,
    servers: Segment,
    state: State,
    gnomon: PathBuf,
}

/// Addresses of the host with this number on the servers' segment.
pub fn v4(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 97, 1, n).into()
}

pub fn v6(n: u8) -> IpAddr {
    // `fd97:1::22` for host 22: read as people write it, not counted.
    let digits = u16::from(n / 100) << 8 | u16::from(n / 10 % 10) << 4 | u16::from(n % 10);
    Ipv6Addr::new(0xfd97, 1, 0, 0, 0, 0, 0, digits).into()
}

/// `http://10.97.1.22:3001/mcp`.
pub fn url(address: IpAddr, port: u16, path: &str) -> String {
    format!("http://{}{path}", SocketAddr::new(address, port))
}

impl Stage {
    /// `gnomon` is the command that plays the cast and the product.
    pub fn build(gnomon: &Path) -> Result<Stage, Error> {
        let state = State::make()?;
        let mut world = World::new()?;
        let router = world.router("router")?;
        let servers = world.segment(&router, "servers", &["10.97.1.1/24", "fd97:1::1/64"])?;
        let agents = world.segment(&router, "agents", &["10.97.2.1/24", "fd97:2::1/64"])?;
        let hq = world.host_on(&servers, "hq", &["10.97.1.2/24", "fd97:1::2/64"])?;
        let agent = world.host_on(&agents, "agent", &["10.97.2.5/24", "fd97:2::5/64"])?;
        let person = world.host_on(&agents, "person", &["10.97.2.200/24", "fd97:2::200/64"])?;
        Ok(Stage { world, router, hq, agent, person, servers, state, gnomon: gnomon.to_owned() })
    }

    /// A host with this number on the servers' segment: [`v4`] and [`v6`] are its addresses.
    pub fn server(&mut self, name: &str, n: u8) -> Result<Host, Error> {
        self.world.host_on(&self.servers, name, &[&format!("{}/24", v4(n)), &format!("{}/64", v6(n))])
    }

    /// A member of the cast on `host`, listening.
    pub fn cast(&mut self, host: &Host, role: Role, name: &str, tools: &[&str]) -> Result<ProcessId, Error> {
        let mut command = self.gnomon(host);
        let role = clap::ValueEnum::to_possible_value(&role).map(|v| v.get_name().to_owned()).unwrap_or_default();
        command.args(["demo-cast", &role, "--name", name]);
        for tool in tools {
            command.args(["--tool", tool]);
        }
        let process = self.spawn(&mut command, name)?;
        self.world.wait_ready(host, SocketAddr::from((Ipv4Addr::LOCALHOST, 3001)), process, READY_TIMEOUT)?;
        Ok(process)
    }

    /// The product's command on `host`.
    pub fn gnomon(&self, host: &Host) -> std::process::Command {
        let mut command = host.command(&self.gnomon);
        // What is set outside means another network.
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GNOMON_DATA", "GNOMON_CONFIG"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts a process whose words go to `<state>/<name>.log`.
    pub fn spawn(&mut self, command: &mut std::process::Command, name: &str) -> Result<ProcessId, Error> {
        let path = self.path(&format!("{name}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let pair = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = pair.map_err(|source| Error::Start { command: path.display().to_string(), source })?;
        self.world.spawn(command.stdin(Stdio::null()).stdout(Stdio::from(out)).stderr(Stdio::from(err)))
    }

    /// A place in the run's own directory, which ends with it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.state.0.join(name)
    }

    /// The last lines of a process's log.
    pub fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(12)).map(|l| rules::printable::printable(l, 300) + "\n").collect()
    }
}

/// A directory that is removed when dropped.
#[derive(Debug)]
struct State(PathBuf);

impl State {
    fn make() -> Result<State, Error> {
        let template = std::env::temp_dir().join("gnomon-world-XXXXXX");
        let made = nix::unistd::mkdtemp(&template).map(State);
        made.map_err(|e| Error::Start { command: format!("mkdtemp {}", template.display()), source: e.into() })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(why) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} stays behind: {why}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_host_read_alike() {
        assert_eq!((v4(22).to_string(), v6(22).to_string()), ("10.97.1.22".into(), "fd97:1::22".into()));
        assert_eq!(v6(200).to_string(), "fd97:1::200");
        assert_eq!(url(v6(22), 3001, "/mcp"), "http://[fd97:1::22]:3001/mcp");
    }
}
