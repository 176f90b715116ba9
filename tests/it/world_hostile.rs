//! Strangers at their worst, and accidents: each a clear error or a counted refusal, never a crash.

use crate::lab;
use gnomon::demo::{
    product::{Product, until},
    stage::{Stage, v4},
};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Output},
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(30);

/// Exit code 2, and on standard error the failure, the place where it happened, and the fix.
fn refused(done: &Output, what: &str) {
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{what}: {}\n{err}", done.status);
    for part in ["error:", "where:", "fix:"] {
        assert!(err.contains(part), "{what}: no `{part}` in {err}");
    }
    assert!(!err.contains("panicked"), "{what}: {err}");
}

/// Serves every connection with `answer`, on its own thread, for as long as the process lives.
fn serve(stage: &Stage, host: &gnomon::demo::world::Host, port: u16, answer: fn(std::net::TcpStream)) {
    let _ = stage;
    let (ready, is_ready) = std::sync::mpsc::channel();
    let start = move || async move {
        let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    };
    host.start(start).unwrap();
    is_ready.recv_timeout(SOON).unwrap();
}

/// Reads what came first, so that the answer is one.
fn ask_first(stream: &mut std::net::TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = stream.read(&mut [0; 4096]);
}

fn banner(mut stream: std::net::TcpStream) {
    ask_first(&mut stream);
    let body = "\u{1b}]0;owned\u{7}\u{1b}[2J<script>alert(1)</script>{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"serverInfo\":{\"name\":\"\u{1b}[31m<b>x</b>\"}}}";
    let head = format!(
        "HTTP/1.1 200 \u{1b}[2JOK\r\nServer: \u{1b}]0;owned\u{7}<img src=x>\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
}

/// One gigabyte of a header that never ends.
fn endless_header(mut stream: std::net::TcpStream) {
    ask_first(&mut stream);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Filler: ");
    let block = vec![b'a'; 1 << 20];
    for _ in 0..1024 {
        if stream.write_all(&block).is_err() {
            return;
        }
    }
}

/// An honest server whose name is an attack.
fn escapes(mut stream: std::net::TcpStream) {
    ask_first(&mut stream);
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"\u001b]0;owned\u0007\u001b[2J<script>alert(1)</script>","version":"1"}}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: abcdef0123\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
}

#[test]
fn hostile_banners_are_bounded_and_printed_harmless() {
    let Some(mut lab) = lab::enter() else { return };
    let host = lab.stage.server("hostile", 66).unwrap();
    for (port, answer) in [(3000, banner as fn(std::net::TcpStream)), (3001, endless_header), (8000, escapes)] {
        serve(&lab.stage, &host, port, answer);
    }
    let begun = Instant::now();
    for json in [true, false] {
        let mut command = lab.stage.gnomon(&lab.stage.hq);
        if json {
            command.arg("--json");
        }
        let done = command.args(["scan", &v4(66).to_string(), "--ports", "3000,3001,8000"]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(matches!(done.status.code(), Some(0 | 1)), "{}\n{out}\n{err}", done.status);
        for text in [&out, &err] {
            let raw = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\r');
            assert_eq!(raw, None, "a control character got through: {text:?}");
        }
        if json {
            for line in out.lines() {
                serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|why| panic!("{why}: {line}"));
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(120), "a hostile server held the probe for {:?}", begun.elapsed());
}

#[test]
fn a_corrupt_spool_is_counted_and_the_sensor_goes_on() {
    let Some(mut lab) = lab::enter() else { return };
    let notes = lab.stage.server("notes", 21).unwrap();
    lab.stage.cast(&notes, gnomon::demo::cast::Role::Sessions, "notes", &["read"]).unwrap();
    let _letterbox = lab.letterbox();
    let (hq, router) = (lab.stage.hq.clone(), lab.stage.router.clone());
    let toml = lab.settings(2, Duration::from_secs(20), &[21], &[3001]).toml();
    let product = Product::prepare(&lab.stage, &hq, "collector", &toml).unwrap();
    let config = product.config.to_str().unwrap().to_owned();
    let collector = product.start(&mut lab.stage, "collector").unwrap();
    let sensor = lab.join(&product, &router, "sensor", "sensor", &["--config", &config]);
    until(SOON, || product.servers().and_then(|s| if s.is_empty() { Err("nothing yet".into()) } else { Ok(()) })).unwrap();
    // With nobody to take it, what is seen stays in the spool; then the spool rots.
    lab.stage.world.kill(collector);
    let target = gnomon::demo::agent::Target::new("http://10.97.1.21:3001/mcp", gnomon::demo::cast::Role::Sessions);
    gnomon::demo::agent::call(&lab.stage.agent, &target, "read").unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    lab.stage.world.kill(sensor);
    let mut rotten = 0;
    for file in files_under(&lab.stage.path("sensor").join("spool")) {
        let mut bytes = std::fs::read(&file).unwrap();
        for byte in bytes.iter_mut().skip(7).step_by(13) {
            *byte ^= 0x5a;
        }
        rotten += usize::from(!bytes.is_empty());
        std::fs::write(&file, bytes).unwrap();
    }
    assert!(rotten > 0, "no spool to spoil in {}", lab.stage.path("sensor").display());
    product.start(&mut lab.stage, "collector").unwrap();
    let sensor = lab.role(&router, "sensor", "sensor", &["--config", &config]);
    let before = heard(&product).unwrap();
    gnomon::demo::agent::call(&lab.stage.agent, &target, "read").unwrap().unwrap();
    let heard =
        until(SOON, || heard(&product).and_then(|now| if now > before { Ok(()) } else { Err(format!("not heard since {before:?}")) }));
    heard.unwrap_or_else(|why| panic!("{why}\n{}", lab::words(&lab.stage, &["sensor", "collector"])));
    assert_eq!(lab.stage.world.ended(sensor), None, "{}", lab.stage.log("sensor"));
}

/// When the collector last heard of the sensor.
fn heard(product: &Product) -> Result<Option<String>, String> {
    let sensors: Vec<serde_json::Value> = product.get(&["sensors"])?;
    let sensor = sensors.iter().find(|s| s.get("name").and_then(|n| n.as_str()) == Some("sensor")).ok_or("unknown")?;
    Ok(sensor.get("heard_at").and_then(|at| at.as_str()).map(str::to_owned))
}

fn files_under(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files_under(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn accidents_are_clear_errors() {
    let Some(mut lab) = lab::enter() else { return };
    let hq = lab.stage.hq.clone();
    let write = |name: &str, bytes: &[u8]| {
        let path = lab.stage.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // Malformed captures: of no kind, cut short, and with lengths that lie.
    let mut lying = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    lying.extend([1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3]);
    let captures = [
        write("not.pcap", b"GET / HTTP/1.1\r\n\r\n"),
        write("short.pcap", &lying[..20]),
        write("lying.pcap", &lying),
        write("empty.pcap", b""),
    ];
    let wrong = write("wrong.toml", b"[collector]\njudge_evry = \"5s\"\n");
    let run = |args: &[&str]| -> Output {
        let data = lab.stage.path("data");
        let mut command: Command = lab.stage.gnomon(&hq);
        command.arg("--data").arg(data).args(args).output().unwrap()
    };
    for capture in &captures {
        let done = run(&["watch", "--pcap", capture]);
        let err = String::from_utf8_lossy(&done.stderr);
        // A capture that was cut short is read as far as it goes, and that is said.
        let counted = done.status.code() == Some(0) && err.contains("truncated");
        if !counted {
            refused(&done, capture);
        }
    }
    let unknown = run(&["up", "--config", &wrong]);
    refused(&unknown, "an unknown key");
    let err = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(err.contains("judge_evry") && err.contains("judge_every"), "{err}");

    let taken = hq.enter(|| std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 7411)))).unwrap().unwrap();
    let busy = run(&["up"]);
    refused(&busy, "a busy port");
    let err = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(err.contains("7411"), "{err}");
    drop(taken);
    // Nothing of all that hinders a good start.
    let toml = lab.settings(2, Duration::from_secs(20), &[], &[3001]).toml();
    let product = Product::prepare(&lab.stage, &hq, "data", &toml).unwrap();
    product.start(&mut lab.stage, "collector").unwrap_or_else(|why| panic!("{why}\n{}", lab::words(&lab.stage, &["collector"])));
}
