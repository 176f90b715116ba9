//! Heavy TLS connections are left in the kernel after their handshake, and are heard again when they end: a sensor that leaves them beside
//! one that does not, at the same interface.

use crate::lab;
use gnomon::demo::world::Host;
use rules::{
    evidence::Evidence,
    observation::{Coverage, Said},
    period::Period,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned, pki_types::ServerName};
use sensor::capture::{Config, live};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 8443;
/// As much as makes a connection heavy, and then so much that most of it comes after that was noticed.
const FIRST: usize = 2 << 20;
const REST: usize = 48 << 20;

const ASKED: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"agent","version":"1"}}}"#;
const ANSWERED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"hidden","version":"1"}}}"#;

#[derive(Default)]
struct Heard {
    coverage: Coverage,
    evidence: Vec<Evidence>,
}

struct Watcher {
    said: Arc<Mutex<Heard>>,
    stop: CancellationToken,
}

impl Watcher {
    fn begin(host: &Host, shunt: bool, threads: u8) -> Watcher {
        let config = Config {
            interfaces: vec!["eth0".into()],
            report_every: Period(Duration::from_millis(100)),
            threads: threads.try_into().unwrap(),
            shunt,
            ..Config::default()
        };
        let (said, stop) = (Arc::new(Mutex::new(Heard::default())), CancellationToken::new());
        let (note, shutdown) = (said.clone(), stop.clone());
        let work = move || async move {
            let (tell, mut told) = tokio::sync::mpsc::channel(4096);
            let watching = tokio::spawn(live::watch(config, tell, shutdown));
            while let Some((_, word)) = told.recv().await {
                match word {
                    Said::Coverage(coverage) => note.lock().unwrap().coverage = coverage,
                    Said::Evidence(evidence) => note.lock().unwrap().evidence.push(*evidence),
                    _ => {}
                }
            }
            watching.await.unwrap().unwrap();
        };
        host.start(work).unwrap();
        Watcher { said, stop }
    }

    fn coverage(&self) -> Coverage {
        self.said.lock().unwrap().coverage.clone()
    }

    fn until(&self, what: &str, holds: impl Fn(&Heard) -> bool) {
        let by = Instant::now() + SOON;
        while !holds(&self.said.lock().unwrap()) {
            assert!(Instant::now() < by, "not {what} within {SOON:?}: {:?}", self.coverage());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was counted once nothing comes any more.
    fn settled(&self) -> Coverage {
        let mut last = self.coverage();
        loop {
            thread::sleep(Duration::from_millis(400));
            let now = self.coverage();
            if now.frames == last.frames {
                return now;
            }
            last = now;
        }
    }
}

/// The first connection is TLS and only listened to; those after it are asked for MCP, without it.
fn serve(host: &Host, config: Arc<ServerConfig>) {
    let (ready, is_ready) = mpsc::channel();
    let work = move || async move {
        let listener = TcpListener::bind(SocketAddr::new("::".parse().unwrap(), PORT)).unwrap();
        ready.send(()).unwrap();
        let stream = listener.accept().unwrap().0;
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        // Until the client's reset.
        drop(io::copy(&mut stream, &mut io::sink()));
        for mut stream in listener.incoming().flatten() {
            let mut seen = [0; 4096];
            drop(stream.read(&mut seen));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", ANSWERED.len());
            drop(stream.write_all((head + ANSWERED).as_bytes()));
        }
    };
    host.start(work).unwrap();
    is_ready.recv_timeout(SOON).unwrap();
}

/// From the same port each time; its end is a reset, so that it can begin again at once.
fn connect(host: &Host, from: SocketAddr, to: SocketAddr) -> TcpStream {
    let dial = move || {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), SOON)?;
        socket.set_linger(Some(Duration::ZERO))?;
        io::Result::Ok(TcpStream::from(socket))
    };
    host.enter(dial).unwrap().unwrap()
}

#[test]
fn heavy_tls_is_left_in_the_kernel_and_heard_again_when_it_ends() {
    let Some(mut lab) = lab::enter() else { return };
    let router = lab.stage.router.clone();
    let segment = lab.stage.world.segment(&router, "tls", &["10.97.0.1/24", "fd97::1/64"]).unwrap();
    let mut host = |name: &str, n: u8| {
        let addresses = [format!("10.97.0.{n}/24"), format!("fd97::{n}/64")];
        lab.stage.world.host_on(&segment, name, &addresses.each_ref().map(String::as_str)).unwrap()
    };
    for (v6, threads) in [(false, 1), (true, 2)] {
        let (client, server) =
            (host(if v6 { "c6" } else { "c4" }, 5 + u8::from(v6)), host(if v6 { "s6" } else { "s4" }, 20 + u8::from(v6)));
        let at = |n: u8| -> IpAddr { if v6 { format!("fd97::{n}") } else { format!("10.97.0.{n}") }.parse().unwrap() };
        let (from, to) = (SocketAddr::new(at(5 + u8::from(v6)), 40_000), SocketAddr::new(at(20 + u8::from(v6)), PORT));
        let identity = rcgen::generate_simple_self_signed(vec!["server.corp.example".into()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(identity.cert.der().clone()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let serving = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let serving = serving.with_no_client_auth().with_single_cert(vec![identity.cert.der().clone()], key).unwrap();
        let calling = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let calling = calling.with_root_certificates(roots).with_no_client_auth();
        serve(&server, Arc::new(serving));

        let (plain, shunting) = (Watcher::begin(&server, false, 1), Watcher::begin(&server, true, threads));
        for watcher in [&plain, &shunting] {
            watcher.until("watching", |said| !said.coverage.interface.is_empty());
        }
        let name = ServerName::try_from("server.corp.example").unwrap();
        let tcp = connect(&client, from, to);
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(calling), name).unwrap(), tcp);
        tls.write_all(&vec![7; FIRST]).unwrap();
        shunting.until("left in the kernel", |said| said.coverage.shunted == 1);
        // The instrument: until then both have seen the same, but for the last of it.
        let (before, same) = (shunting.settled(), plain.settled());
        assert!(before.frames * 2 > same.frames && same.shunted == 0, "{before:?} {same:?}");
        // Corked: full segments, since small ones pass, however many a busy machine makes of these bytes.
        let socket = |tls: &StreamOwned<_, TcpStream>, corked| socket2::SockRef::from(tls.get_ref()).set_tcp_cork(corked).unwrap();
        socket(&tls, true);
        tls.write_all(&vec![7; REST]).unwrap();
        tls.flush().unwrap();
        socket(&tls, false);
        let (all, few) = (plain.settled(), shunting.settled());
        let (came, passed) = (all.frames - same.frames, few.frames - before.frames);
        assert!(came > 500, "frames of {REST} bytes: {came}");
        assert!(passed * 20 < came, "{passed} of {came} frames passed to a sensor that has no use for them");
        assert!(few.lost.is_empty(), "nothing counts as lost that was left on purpose: {few:?}");

        // The same two ports, in the clear: nothing of it is missed for long.
        drop(tls);
        thread::sleep(Duration::from_millis(300));
        let mut tcp = connect(&client, from, to);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: hidden.corp.example\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            ASKED.len()
        );
        tcp.write_all((head + ASKED).as_bytes()).unwrap();
        assert!(tcp.read(&mut [0; 4096]).unwrap() > 100);
        drop(tcp);
        for watcher in [&plain, &shunting] {
            watcher.until("hearing what comes after it", |said| {
                said.evidence.iter().any(|e| e.place.endpoint.port == PORT && e.signature.starts_with("wire.server."))
            });
            watcher.stop.cancel();
        }
    }
}
