//! The reactive reset on a hub: a sensor beside the path, an agent, a person, a server, and what a reset does and does not touch.

use crate::lab::{self, Lab};
use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon::demo::world::Host;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rules::{
    Timestamp,
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::{FindingId, FindingKind},
    observation::{Coverage, Resets, Said},
    period::Period,
    wire::v1::{Ack, Signed, key_id},
};
use sensor::{Config, Delivery, Uplink};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);
/// Long enough for several resets, had any been sent.
const A_WHILE: Duration = Duration::from_millis(300);
const BLOCKED: u16 = 3001;
const OTHER: u16 = 3002;
const PROTECTED: u16 = 3003;
const FAST: u16 = 3004;

/// A bridge that learns nothing, and so shows every frame at every port.
struct Hub {
    agent: Host,
    person: Host,
    server: Host,
    watcher: Host,
}

fn hub(lab: &mut Lab) -> Hub {
    let router = lab.stage.router.clone();
    let segment = lab.stage.world.segment(&router, "hub", &["10.98.0.1/24", "fd98::1/64"]).unwrap();
    router.run("ip", &["link", "set", "hub", "type", "bridge", "ageing_time", "0"]).unwrap();
    let mut host =
        |name: &str, n: u8| lab.stage.world.host_on(&segment, name, &[&format!("10.98.0.{n}/24"), &format!("fd98::{n}/64")]).unwrap();
    let hub = Hub { agent: host("hagent", 5), person: host("hperson", 200), server: host("hserver", 20), watcher: host("hwatch", 9) };
    // A host without a settled link-local address asks for no neighbour, and the resets it sends wait for one.
    let by = Instant::now() + SOON;
    while !hub.watcher.run("ip", &["-6", "addr", "show", "dev", "eth0", "tentative"]).unwrap().trim().is_empty() {
        assert!(Instant::now() < by, "no link-local address");
        thread::sleep(Duration::from_millis(50));
    }
    hub
}

fn server(v6: bool, port: u16) -> SocketAddr {
    let address: IpAddr = if v6 { "fd98::20".parse().unwrap() } else { "10.98.0.20".parse().unwrap() };
    SocketAddr::new(address, port)
}

/// How the server's end of each connection ended, and with whom.
type Ends = mpsc::Receiver<(SocketAddr, ErrorKind)>;

/// Echoes every byte after `think`; a clean end is told as `UnexpectedEof`.
fn echo(host: &Host, port: u16, think: Duration) -> Ends {
    let (tell, told) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let serve = move || async move {
        let listener = TcpListener::bind(SocketAddr::new("::".parse().unwrap(), port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || {
                let peer = stream.peer_addr().map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
                let why = talk_back(stream, think).unwrap_err().kind();
                // Nobody listens once the test is over.
                drop(peer.map(|peer| tell.send((peer, why))));
            });
        }
    };
    host.start(serve).unwrap();
    is_ready.recv_timeout(SOON).unwrap();
    told
}

fn talk_back(mut stream: TcpStream, think: Duration) -> io::Result<()> {
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        thread::sleep(think);
        stream.write_all(&byte)?;
    }
}

fn connect(host: &Host, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = host.enter(move || TcpStream::connect_timeout(&to, SOON)).unwrap()?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One byte there and back.
fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

/// Talks until it is told off.
fn until_cut(stream: &mut TcpStream, watcher: &Watcher) -> ErrorKind {
    let by = Instant::now() + SOON;
    while Instant::now() < by {
        if let Err(why) = exchange(stream) {
            return why.kind();
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody cut {:?} within {SOON:?}: {:?}", stream.local_addr(), watcher.resets());
}

/// A sensor in a host's network that resets, and what it last said of `eth0`.
struct Watcher {
    sets: PathBuf,
    seen: Arc<Mutex<Coverage>>,
    stop: CancellationToken,
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

impl Watcher {
    fn begin(lab: &Lab, host: &Host, rate: u32) -> Watcher {
        let sets = lab.stage.path("sensor.set.json");
        let mut config = Config { name: "watcher".into(), ..Config::default() };
        config.host.enabled = false;
        config.capture.interfaces = vec!["eth0".into()];
        config.capture.report_every = Period(Duration::from_millis(100));
        config.uplink.spool = Some(lab.stage.path(&format!("watcher.{rate}.spool")));
        config.reset.enabled = true;
        config.reset.sets = Some(sets.clone());
        config.reset.trusted_keys = vec![STANDARD.encode(key().public_key())];
        config.reset.rate = rate;
        config.reset.memory = Some(lab.stage.path("watcher.generation"));
        let (seen, stop) = (Arc::new(Mutex::new(Coverage::default())), CancellationToken::new());
        let (note, shutdown) = (seen.clone(), stop.clone());
        let work = move || async move {
            let (send, mut deliveries) = tokio::sync::mpsc::channel::<Delivery>(16);
            let collect = tokio::spawn(async move {
                while let Some(Delivery { batch, done }) = deliveries.recv().await {
                    let upto = batch.records.last().map_or(0, |r| r.seq);
                    for record in batch.records {
                        if let Said::Coverage(coverage) = record.said
                            && coverage.interface == "eth0"
                        {
                            *note.lock().unwrap() = coverage;
                        }
                    }
                    drop(done.send(Ok(Ack { epoch: batch.epoch, seq: upto })));
                }
            });
            sensor::run(config, Uplink::InProcess(send), shutdown).await.unwrap();
            collect.await.unwrap();
        };
        host.start(work).unwrap();
        Watcher { sets, seen, stop }
    }

    fn resets(&self) -> Resets {
        self.seen.lock().unwrap().resets.expect("the sensor says that it resets")
    }

    /// Frames seen by now, as told a moment later.
    fn frames(&self) -> u64 {
        thread::sleep(A_WHILE);
        self.seen.lock().unwrap().frames
    }

    fn put(&self, generation: u64, valid: Duration) {
        let now = Timestamp::now();
        let decision = |at: SocketAddr| {
            let endpoint = Endpoint::new(at.ip(), at.port());
            let finding = FindingId::derive(FindingKind::Shadow, &endpoint.to_string());
            Decision { endpoint, finding, action: Action::Block, reason: "unregistered".into(), since: now, at: vec![] }
        };
        let places = [BLOCKED, FAST, PROTECTED].into_iter().flat_map(|port| [server(false, port), server(true, port)]);
        let set = DecisionSet {
            site: "default".into(),
            generation,
            issued_at: now,
            not_after: Period(valid).after(now),
            agents: vec!["10.98.0.0/28".parse().unwrap(), "fd98::5/128".parse().unwrap()],
            protected: vec![],
            protected_endpoints: [false, true].map(|v6| Endpoint::new(server(v6, PROTECTED).ip(), PROTECTED)).to_vec(),
            lease: Period::seconds(900),
            decisions: places.map(decision).collect(),
            rollout: None,
        };
        let payload = serde_json::to_vec(&set).unwrap();
        self.write(
            &serde_json::to_string(&Signed {
                domain: Signed::DECISIONS.into(),
                key_id: key_id(key().public_key().as_ref()),
                signature: STANDARD.encode(key().sign(&[Signed::DECISIONS.as_bytes(), &[0], &payload].concat())),
                payload: STANDARD.encode(payload),
            })
            .unwrap(),
        );
    }

    fn write(&self, text: &str) {
        let fresh = self.sets.with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, &self.sets).unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until a new connection is cut: the set in the file is in force.
fn in_force(hub: &Hub) {
    let by = Instant::now() + SOON;
    let flows = || connect(&hub.agent, server(false, BLOCKED)).and_then(|mut s| exchange(&mut s)).is_ok();
    while flows() {
        assert!(Instant::now() < by, "the set never came into force");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Nothing is reset: what is said flows, and goes on flowing.
fn flows(hub: &Hub, why: &str) {
    // The file is looked at twice a second.
    thread::sleep(Duration::from_millis(1200));
    for _ in 0..3 {
        let mut stream = connect(&hub.agent, server(false, BLOCKED)).unwrap_or_else(|e| panic!("{why}: {e}"));
        for _ in 0..5 {
            exchange(&mut stream).unwrap_or_else(|e| panic!("{why}: {e}"));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_sensor_beside_the_path_resets_both_ends_and_nobody_else() {
    let Some(mut lab) = lab::enter() else { return };
    let hub = hub(&mut lab);
    let think = Duration::from_millis(5);
    let ends = echo(&hub.server, BLOCKED, think);
    let (_other, _protected) = (echo(&hub.server, OTHER, think), echo(&hub.server, PROTECTED, think));
    let watcher = Watcher::begin(&lab, &hub.watcher, 1000);

    // Positive control: connections flow, and the sensor beside them sees each frame.
    let by = Instant::now() + SOON;
    while watcher.seen.lock().unwrap().resets.is_none() {
        assert!(Instant::now() < by, "the sensor does not watch");
        thread::sleep(Duration::from_millis(20));
    }
    let before = watcher.frames();
    let open = |host: &Host, v6: bool, port: u16| {
        let mut stream = connect(host, server(v6, port)).unwrap();
        exchange(&mut stream).unwrap();
        stream
    };
    let mut doomed = [false, true].map(|v6| open(&hub.agent, v6, BLOCKED));
    let mut spared = Vec::new();
    for v6 in [false, true] {
        spared.push(("another server", open(&hub.agent, v6, OTHER)));
        spared.push(("a protected endpoint", open(&hub.agent, v6, PROTECTED)));
        spared.push(("a person", open(&hub.person, v6, BLOCKED)));
    }
    let seen = watcher.frames() - before;
    assert!(seen >= 8 * 5, "of eight connections the sensor saw {seen} frames");
    assert_eq!(watcher.resets(), Resets::default(), "without a set nothing is sent");

    watcher.put(1, Duration::from_secs(3600));
    for stream in &mut doomed {
        let end = stream.local_addr().unwrap();
        assert_eq!(until_cut(stream, &watcher), ErrorKind::ConnectionReset, "{end}");
        let (peer, why) = ends.recv_timeout(SOON).unwrap_or_else(|_| panic!("the server's end of {end} stays open"));
        assert_eq!((peer, why), (end, ErrorKind::ConnectionReset));
    }
    let refused = connect(&hub.agent, server(false, BLOCKED)).and_then(|mut s| exchange(&mut s)).unwrap_err().kind();
    assert!([ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset].contains(&refused), "{refused}");
    thread::sleep(A_WHILE);
    let sent = watcher.resets();
    assert!(sent.sent >= 6 && sent.refused == 0, "{sent:?}");
    for (who, stream) in &mut spared {
        for _ in 0..5 {
            exchange(stream).unwrap_or_else(|why| panic!("{who}: {why}"));
        }
    }
    drop(open(&hub.person, false, BLOCKED));
    drop(open(&hub.agent, true, PROTECTED));
    thread::sleep(A_WHILE);
    assert_eq!(watcher.resets(), sent, "what nobody decided on is answered by nothing, not even suppressed");

    // What cannot be believed any more is not acted on, and the instrument is shown to work in between.
    watcher.put(2, Duration::from_secs(3));
    in_force(&hub);
    thread::sleep(Duration::from_secs(3));
    flows(&hub, "after the set has expired");
    watcher.put(3, Duration::from_secs(3600));
    in_force(&hub);
    watcher.put(2, Duration::from_secs(3600));
    flows(&hub, "with an older generation in the file");
    watcher.put(3, Duration::from_secs(3600));
    in_force(&hub);
    watcher.write("{\"domain\":");
    flows(&hub, "with a file that is no signed set");
    watcher.put(4, Duration::from_secs(3600));
    in_force(&hub);
    std::fs::remove_file(&watcher.sets).unwrap();
    flows(&hub, "without a file");
}

/// One connection after the other for a while: connect, one byte there and back. How many were answered, and how many not.
fn race(host: &Host, port: u16, lasting: Duration) -> (u32, u32) {
    let (end, mut done, mut cut) = (Instant::now() + lasting, 0, 0);
    host.enter(|| {
        while Instant::now() < end {
            match TcpStream::connect_timeout(&server(false, port), SOON).and_then(|mut s| exchange(&mut s)) {
                Ok(()) => done += 1,
                Err(_) => cut += 1,
            }
        }
    })
    .unwrap();
    (done, cut)
}

#[test]
fn resets_are_bounded_and_lose_races_which_is_counted() {
    let Some(mut lab) = lab::enter() else { return };
    let hub = hub(&mut lab);
    let (_slow, _fast) = (echo(&hub.server, BLOCKED, Duration::from_millis(5)), echo(&hub.server, FAST, Duration::ZERO));
    let watcher = Watcher::begin(&lab, &hub.watcher, 1_000_000);
    watcher.put(1, Duration::from_secs(3600));
    in_force(&hub);
    let (done, cut) = race(&hub.agent, BLOCKED, Duration::from_secs(2));
    eprintln!("server that thinks 5 ms: {done} connections completed, {cut} were cut");
    assert!(cut > 20, "only {cut} were cut");
    // A busy machine may hold the sensor up for longer than the server thinks.
    assert!(done * 10 < cut, "{done} of {} completed", done + cut);

    // Nothing is promised about this one.
    let (done, cut) = race(&hub.agent, FAST, Duration::from_secs(2));
    eprintln!("server that does not think: {done} connections completed, {cut} were cut");

    // With room for one answer a second, most is suppressed, and counted.
    drop(watcher);
    thread::sleep(A_WHILE);
    let watcher = Watcher::begin(&lab, &hub.watcher, 1);
    watcher.put(2, Duration::from_secs(3600));
    in_force(&hub);
    let (done, cut) = race(&hub.agent, BLOCKED, Duration::from_secs(2));
    thread::sleep(A_WHILE);
    let resets = watcher.resets();
    eprintln!("one answer a second: {done} completed, {cut} were cut; {resets:?}");
    assert!(done > 20 && cut <= 5, "{done} completed, {cut} were cut");
    assert!(resets.rate_bound > 20 && resets.sent <= 2 * 10, "{resets:?}");
}
