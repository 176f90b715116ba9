//! A small network of namespaces: an agent, a router, a server. Packets are real, and so is the kernel that judges them.
//!
//! ```text
//! agent  10.91.0.2, fd91::2   --  .1 router .1  --  10.92.0.2, fd92::2 (shadow)   server
//!                                                   10.92.0.3, fd92::3 (innocent)
//! ```

use enforcer::{Config, Hook, Mode};
use nix::sched::{CloneFlags, setns};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rules::{
    Timestamp,
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::{FindingId, FindingKind},
    period::Period,
    wire::v1::Signed,
};
use std::{
    fs::File,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub const SHADOW: [&str; 2] = ["10.92.0.2", "fd92::2"];
pub const INNOCENT: [&str; 2] = ["10.92.0.3", "fd92::3"];
pub const PORT: u16 = 3001;

pub struct Lab {
    id: String,
    pub data: tempfile::TempDir,
}

/// `None`, with a line that says so, unless `GNOMON_NETNS=1` says that kernel tests must run; then a lab, or a failed test.
pub fn lab() -> Option<Lab> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if std::env::var("GNOMON_NETNS").as_deref() != Ok("1") {
        eprintln!("not run: needs root, nft and GNOMON_NETNS=1");
        return None;
    }
    let lab =
        Lab { id: format!("gnenf{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)), data: tempfile::tempdir().unwrap() };
    lab.build();
    Some(lab)
}

impl Lab {
    fn build(&self) {
        for role in ["agent", "router", "server"] {
            // Without duplicate address detection addresses are good at once.
            sh(&format!(
                "ip netns add {0}; ip netns exec {0} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0; ip -n {0} link set lo up",
                self.ns(role)
            ));
        }
        let (a, r, s) = (self.ns("agent"), self.ns("router"), self.ns("server"));
        sh(&format!(
            "ip link add eth0 netns {a} type veth peer name left netns {r}
             ip link add eth0 netns {s} type veth peer name right netns {r}
             ip netns exec {r} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip -n {a} addr add 10.91.0.2/24 dev eth0; ip -n {a} addr add fd91::2/64 dev eth0 nodad
             ip -n {r} addr add 10.91.0.1/24 dev left; ip -n {r} addr add fd91::1/64 dev left nodad
             ip -n {r} addr add 10.92.0.1/24 dev right; ip -n {r} addr add fd92::1/64 dev right nodad
             for i in 2 3; do ip -n {s} addr add 10.92.0.$i/24 dev eth0; ip -n {s} addr add fd92::$i/64 dev eth0 nodad; done
             ip -n {a} link set eth0 up; ip -n {s} link set eth0 up; ip -n {r} link set left up; ip -n {r} link set right up
             ip -n {a} route add default via 10.91.0.1; ip -n {a} route add default via fd91::1
             ip -n {s} route add default via 10.92.0.1; ip -n {s} route add default via fd92::1"
        ));
        self.settle();
    }

    /// Links come up when the kernel gets round to it: until each address answers (with a refusal).
    fn settle(&self) {
        let all: Vec<SocketAddr> = SHADOW.iter().chain(&INNOCENT).map(|a| SocketAddr::new(a.parse().unwrap(), 9)).collect();
        let begin = Instant::now();
        self.within("agent", move || {
            let refuses = |to| {
                TcpStream::connect_timeout(to, Duration::from_millis(100)).is_err_and(|why| why.kind() == ErrorKind::ConnectionRefused)
            };
            while !all.iter().all(refuses) {
                assert!(begin.elapsed() < Duration::from_secs(10), "the lab's links do not come up");
            }
        });
    }

    pub fn ns(&self, role: &str) -> String {
        format!("{}-{role}", self.id)
    }

    /// Runs in a namespace, on a thread of its own; sockets made there work anywhere.
    pub fn within<T: Send + 'static>(&self, role: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(role, work).join().unwrap()
    }

    pub fn spawn<T: Send + 'static>(&self, role: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.ns(role));
        std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// A future in a namespace, on one thread, so that `nft` is started there too.
    pub fn run<F: Future>(&self, role: &str, work: impl FnOnce() -> F + Send + 'static) -> F::Output
    where
        F::Output: Send + 'static,
    {
        self.within(role, || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work()))
    }

    pub fn config(&self, role: &str) -> Config {
        let hook = match role {
            "agent" => Hook::Output,
            "server" => Hook::Input,
            _ => Hook::Forward,
        };
        Config {
            data: self.data.path().join(role),
            point: role.to_owned(),
            mode: Mode::Enforce,
            hooks: [hook].into(),
            trusted_keys: vec![public_key()],
            ..Config::default()
        }
    }

    pub fn nft(&self, role: &str, args: &str) -> String {
        sh(&format!("ip netns exec {} /usr/sbin/nft {args}", self.ns(role)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for role in ["agent", "router", "server"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(role)]).status();
        }
    }
}

pub fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

pub fn public_key() -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(key().public_key().as_ref())
}

pub fn sign(set: &DecisionSet) -> Signed {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let payload = serde_json::to_vec(set).unwrap();
    let mut message = format!("{}\0", Signed::DECISIONS).into_bytes();
    message.extend_from_slice(&payload);
    Signed {
        domain: Signed::DECISIONS.to_owned(),
        key_id: enforcer::intake::key_id(key().public_key().as_ref()),
        payload: STANDARD.encode(&payload),
        signature: STANDARD.encode(key().sign(&message)),
    }
}

/// Blocks the shadow server, v4 and v6.
pub fn blocking(generation: u64, lease: u64) -> DecisionSet {
    let mut set = empty(generation, lease);
    set.decisions = SHADOW.iter().map(|a| decision(a, PORT, Action::Block)).collect();
    set
}

pub fn empty(generation: u64, lease: u64) -> DecisionSet {
    let now = Timestamp::now();
    DecisionSet {
        site: "default".into(),
        generation,
        issued_at: now,
        not_after: Period::days(1).after(now),
        agents: vec!["10.91.0.0/24".parse().unwrap(), "fd91::/64".parse().unwrap()],
        protected: vec![],
        protected_endpoints: vec![],
        lease: Period::seconds(lease),
        decisions: vec![],
        rollout: None,
    }
}

pub fn decision(address: &str, port: u16, action: Action) -> Decision {
    let endpoint = Endpoint::new(address.parse::<IpAddr>().unwrap(), port);
    let finding = FindingId::derive(FindingKind::Shadow, &endpoint.to_string());
    Decision { endpoint, finding, action, reason: "unregistered".into(), since: Timestamp::now(), at: vec![] }
}

/// Replaces a file whole, as couriers do.
pub fn put(path: &Path, signed: &Signed) {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(signed).unwrap()).unwrap();
    std::fs::rename(new, path).unwrap();
}
