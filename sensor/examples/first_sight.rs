//! How long from the first packet of a server nobody knew to the word of a sensor about it. `packaging/bench` runs it.
//!
//! `first_sight serve ADDRESS PORT COUNT` answers as MCP servers on so many ports. `first_sight watch ADDRESS PORT COUNT COMMAND...`
//! starts the command, opens a connection to one server after the other, and waits for a line of the command about each: it prints
//! the times from the first packet to that line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}}"#;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address, port, count] => serve(address.parse()?, port.parse()?, count.parse()?),
        ["watch", address, port, count, command @ ..] => watch(address.parse()?, port.parse()?, count.parse()?, command),
        _ => Err("usage: first_sight serve ADDRESS PORT COUNT | watch ADDRESS PORT COUNT COMMAND...".into()),
    }
}

fn serve(address: IpAddr, port: u16, count: u16) -> Outcome<()> {
    let mut doors = Vec::new();
    for n in 0..count {
        let listener = TcpListener::bind(SocketAddr::new(address, port + n))?;
        doors.push(thread::Builder::new().stack_size(64 << 10).spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut seen = [0; 4096];
                let _ = stream.read(&mut seen);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", ANSWER.len());
                let _ = stream.write_all((head + ANSWER).as_bytes());
            }
        })?);
    }
    println!("ready");
    doors.into_iter().for_each(|d| drop(d.join()));
    Ok(())
}

fn watch(address: IpAddr, port: u16, count: u16, command: &[&str]) -> Outcome<()> {
    let (program, rest) = command.split_first().ok_or("no command")?;
    let mut child = Command::new(program).args(rest).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(tell.send((Instant::now(), line)))));
    // Its first line says that it begins; the sockets are open a moment later.
    lines.recv_timeout(Duration::from_secs(10))?;
    thread::sleep(Duration::from_secs(1));
    let mut times = Vec::new();
    for n in 0..count {
        let server = SocketAddr::new(address, port + n);
        let begun = Instant::now();
        ask(server)?;
        let about = format!("{server}/");
        loop {
            let (at, line) = lines.recv_timeout(Duration::from_secs(5)).map_err(|_| format!("not a word about {server}"))?;
            if line.starts_with(&about) && (line.contains("confirmed") || line.contains("probable")) {
                times.push(at - begun);
                break;
            }
        }
        // Not in step with anything that is done so often.
        thread::sleep(Duration::from_millis(7 + u64::from(n) * 13 % 41));
    }
    child.kill()?;
    child.wait()?;
    times.sort();
    let at =
        |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    println!("{} new servers: p50 {:.1?}, p99 {:.1?}, longest {:.1?}", times.len(), at(0.5), at(0.99), at(1.0));
    Ok(())
}

fn ask(server: SocketAddr) -> Outcome<()> {
    let mut stream = TcpStream::connect(server)?;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {server}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        BODY.len()
    );
    stream.write_all((head + BODY).as_bytes())?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
