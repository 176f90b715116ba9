//! Addresses and servers are not one to one: an address is given to another server, and a front has several sites behind one address. The
//! whole line decides, from a probe's question to the packet.

use crate::lab::{self, Lab, words};
use gnomon::demo::{
    agent::{self, Target, Trouble},
    cast::Role,
    product::{Product, until},
    stage::{url, v4},
    world::Host,
};
use rules::{admission::Escalation, finding::FindingKind, policy::Mode, wire::v1::FindingReport};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(40);
/// Of thirty days of grace: nine seconds. The probe asks every five.
const DAY: Duration = Duration::from_millis(300);

fn shadow(product: &Product, n: u8) -> Result<FindingReport, String> {
    let all = product.findings()?;
    let mine = all.into_iter().find(|f| f.kind == FindingKind::Shadow && f.address == Some(v4(n)));
    mine.ok_or_else(|| format!("no shadow finding about {}", v4(n)))
}

/// Every role on the router, which asks these servers and enforces.
fn up(lab: &mut Lab, numbers: &[u8], ports: &[u16]) -> Product {
    let toml = lab.settings(1, DAY, numbers, ports).toml();
    let product = Product::prepare(&lab.stage, &lab.stage.router.clone(), "product", &toml).unwrap();
    product.up(&mut lab.stage).unwrap_or_else(|why| panic!("{why}\n{}", words(&lab.stage, &["up"])));
    product
}

/// Waits for a shadow finding that `is_it`.
fn finding(lab: &Lab, product: &Product, n: u8, is_it: impl Fn(&FindingReport) -> bool) -> FindingReport {
    let found = until(SOON, || shadow(product, n).and_then(|f| if is_it(&f) { Ok(f) } else { Err(format!("{n}: {}", f.status)) }));
    found.unwrap_or_else(|why| panic!("{why}\n{}", words(&lab.stage, &["up"])))
}

fn refused(lab: &Lab, target: &Target) {
    let cut = until(SOON, || match agent::call(&lab.stage.agent, target, "read").unwrap() {
        Err(Trouble::Refused) => Ok(()),
        other => Err(format!("{}: {other:?}", target.url)),
    });
    cut.unwrap_or_else(|why| panic!("{why}\n{}", words(&lab.stage, &["up"])));
}

#[test]
fn fault_31_an_address_given_to_another_server_is_free_again_and_its_clock_begins_anew() {
    let Some(mut lab) = lab::enter() else { return };
    let old = lab.stage.server("notes", 21).unwrap();
    lab.stage.cast(&old, Role::Sessions, "notes", &["read"]).unwrap();
    let letterbox = lab.letterbox();
    let product = up(&mut lab, &[21], &[3001]);
    let target = Target::new(&url(v4(21), 3001, "/mcp"), Role::Sessions);
    let call = |lab: &Lab| agent::call(&lab.stage.agent, &target, "read").unwrap();
    assert!(call(&lab).unwrap().contains("notes: read"));
    product.set_policy(|p| p.mode = Mode::Hard).unwrap();
    refused(&lab, &target);
    let blocked = finding(&lab, &product, 21, |f| f.escalation == Escalation::Blocked);

    // Another host with another network card, and another server on it, which nobody was told of.
    old.run("ip", &["link", "set", "eth0", "down"]).unwrap();
    let new = lab.stage.server("wiki", 21).unwrap();
    lab.stage.cast(&new, Role::Sessions, "wiki", &["read"]).unwrap();
    lab.stage.router.run("ip", &["neigh", "flush", "all"]).unwrap();
    let told = letterbox.letters().len();
    let open = until(SOON, || call(&lab).map_err(|trouble| format!("{trouble:?}")));
    assert!(open.unwrap_or_else(|why| panic!("{why}\n{}", words(&lab.stage, &["up"]))).contains("wiki: read"));
    let anew = finding(&lab, &product, 21, |f| f.notified_at.is_some_and(|at| Some(at) > blocked.notified_at));
    assert!(anew.escalation < Escalation::Due && anew.deadline > blocked.deadline, "{anew:?}");
    assert!(letterbox.letters().len() >= told + 2, "that it was released, and a notice: {:#?}", letterbox.letters());
    call(&lab).expect("whoever came after has all the time that everybody has");
    // It is still not registered, and its own time ends as well.
    refused(&lab, &target);
    let again = finding(&lab, &product, 21, |f| f.escalation == Escalation::Blocked);
    assert!(again.blocked_at >= anew.deadline, "{again:?}");
}

const WIKI: &str = "<html><title>Wiki</title>what the whole house reads</html>";

/// A front on port 8080: the server by the address, `other` by any name.
fn front(host: &Host, other: fn(&mut TcpStream) -> io::Result<()>) {
    let (ready, is_ready) = mpsc::channel();
    let serve = move || async move {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
        ready.send(()).unwrap();
        for mut stream in listener.incoming().flatten() {
            // A caller that goes away ends its own thread.
            std::thread::spawn(move || pass(&mut stream, other));
        }
    };
    host.start(serve).unwrap();
    is_ready.recv_timeout(SOON).unwrap();
}

fn pass(stream: &mut TcpStream, other: fn(&mut TcpStream) -> io::Result<()>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if !text.contains("\r\nhost: 10.97.1.") {
        return other(stream);
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, 3001))?;
    server.write_all(&head)?;
    let (mut up, mut down) = (stream.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || io::copy(&mut up, &mut server));
    io::copy(&mut down, stream).map(drop)
}

fn wiki(stream: &mut TcpStream) -> io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{WIKI}", WIKI.len())
}

fn nothing(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// What an agent gets at a front under a name.
fn page(lab: &Lab, n: u8) -> io::Result<String> {
    let at = SocketAddr::new(v4(n), 8080);
    let ask = move || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: wiki.corp.example\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    lab.stage.agent.enter(ask).unwrap()
}

#[test]
fn fault_32_a_front_with_another_site_behind_it_is_not_blocked_for_the_one_server() {
    let Some(mut lab) = lab::enter() else { return };
    for (n, name, other) in [(22, "shared", wiki as fn(&mut TcpStream) -> io::Result<()>), (23, "alone", nothing)] {
        let host = lab.stage.server(name, n).unwrap();
        lab.stage.cast(&host, Role::Sessions, name, &["read"]).unwrap();
        front(&host, other);
    }
    let _letterbox = lab.letterbox();
    let product = up(&mut lab, &[22, 23], &[8080]);
    let target = |n: u8| Target::new(&url(v4(n), 8080, "/mcp"), Role::Sessions);
    let call = |lab: &Lab, n: u8| agent::call(&lab.stage.agent, &target(n), "read").unwrap();
    for n in [22, 23] {
        call(&lab, n).unwrap();
    }
    assert!(page(&lab, 22).unwrap().contains(WIKI) && page(&lab, 23).unwrap().contains("404"));
    product.set_policy(|p| p.mode = Mode::Hard).unwrap();
    // The same front with nothing else behind it: cut, the other names too.
    refused(&lab, &target(23));
    assert_eq!(page(&lab, 23).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    // Told as often, as late, and not cut: neither the house's wiki nor, so long, the server beside it.
    let due = finding(&lab, &product, 22, |f| f.escalation == Escalation::Due);
    assert!(due.status.contains("other names or paths") && due.shared_with == ["another site, by its name"], "{due:?}");
    assert!(page(&lab, 22).unwrap().contains(WIKI));
    call(&lab, 22).unwrap();
    let plan: serde_json::Value = product.get(&["enforce", "plan"]).unwrap();
    let blocked: Vec<_> = plan["entries"].as_array().unwrap().iter().filter_map(|e| e.pointer("/endpoint/address")).collect();
    assert_eq!(blocked, ["10.97.1.23"]);
}
