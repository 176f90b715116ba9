//! `cargo bench -p sensor`: how many frames one core takes from memory to evidence.
//!
//! Every pass starts with an empty sensor, so that connections are set up and torn down as in life. Three loads: the captures
//! of `tests/traces`, many small requests on kept connections, and bulk data in full-size segments.

use etherparse::PacketBuilder;
use sensor::{decode::Link, flow::Bounds, moment::Moment, watch::Watch};
use std::{
    path::Path,
    time::{Duration, Instant},
};

struct Frame {
    link: Link,
    bytes: Vec<u8>,
    at: Moment,
}

fn main() {
    // `cargo test` runs benches too, without this argument: then one pass is enough.
    let measure = std::env::args().any(|a| a == "--bench");
    live_connections(if measure { 50_000 } else { 100 });
    report("captures", &traces(), "frames", None, measure);
    let (requests, count) = small_requests(200, 100);
    report("small requests", &requests, "requests", Some(count), measure);
    report("bulk 1460 bytes", &bulk(20, 2000), "frames", None, measure);
}

fn report(name: &str, frames: &[Frame], what: &str, count: Option<usize>, measure: bool) {
    let bytes: usize = frames.iter().map(|f| f.bytes.len()).sum();
    let (mut passes, mut found) = (0u32, 0);
    let (start, cpu) = (Instant::now(), on_cpu());
    while passes == 0 || (measure && start.elapsed() < Duration::from_secs(3)) {
        let mut watch = Watch::new(Bounds::default());
        for frame in frames {
            watch.frame(frame.link, &frame.bytes, frame.bytes.len(), frame.at);
            found += watch.evidence().count();
        }
        watch.finish();
        found += watch.evidence().count();
        passes += 1;
    }
    let seconds = (on_cpu() - cpu).as_secs_f64();
    let rate = |n: usize| n as f64 * f64::from(passes) / seconds;
    let per_frame = 1e9 / rate(frames.len());
    println!(
        "{name:16} {:>9.0} {what}/s  {:>9.0} frames/s  {per_frame:>6.0} ns/frame  {:>6.2} Gbit/s  evidence {found}",
        rate(count.unwrap_or(frames.len())),
        rate(frames.len()),
        rate(bytes) * 8.0 / 1e9
    );
}

/// Time this thread spent on a processor: the machine may have other work.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds first"))
}

/// Resident memory with so many connections alive, each after one exchange of HTTP.
fn live_connections(count: usize) {
    let (frames, _) = small_requests(1, 1);
    let before = resident();
    let mut watch = Watch::new(Bounds::default());
    for n in 0..count {
        for frame in &frames {
            let mut bytes = frame.bytes.clone();
            // The client's address, whichever end it is.
            let client = if bytes[29] == 1 { 26 } else { 30 };
            bytes[client + 1..client + 3].copy_from_slice(&(n as u16).to_be_bytes());
            watch.frame(frame.link, &bytes, bytes.len(), frame.at);
        }
    }
    println!("{count} live connections: {} MiB", (resident() - before) >> 20);
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages second") * 4096
}

fn traces() -> Vec<Frame> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let mut frames = Vec::new();
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|f| f.path()) {
        let Ok(mut capture) = pcap::Capture::from_file(&file) else { continue };
        let Some(link) = Link::from_number(capture.get_datalink().0) else { continue };
        while let Ok(packet) = capture.next_packet() {
            let at = Moment::new(packet.header.ts.tv_sec, packet.header.ts.tv_usec * 1000);
            frames.push(Frame { link, bytes: packet.data.to_vec(), at });
        }
    }
    frames
}

/// One connection's segments, with sequence numbers kept.
struct Connection {
    port: u16,
    sent: [u32; 2],
    frames: Vec<Frame>,
}

impl Connection {
    fn open(n: usize) -> Connection {
        Connection { port: 1024 + n as u16, sent: [1, 1], frames: Vec::new() }
    }

    fn segment(&mut self, by_server: bool, payload: &[u8]) {
        let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (own, other) = if by_server { (1, 0) } else { (0, 1) };
        let ends = if by_server { (server, client, 8080, self.port) } else { (client, server, self.port, 8080) };
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(ends.0, ends.1, 64);
        let builder = builder.tcp(ends.2, ends.3, self.sent[own], 64_000).ack(self.sent[other]);
        builder.write(&mut bytes, payload).expect("a frame that fits");
        self.sent[own] += payload.len() as u32;
        self.frames.push(Frame { link: Link::Ethernet, bytes, at: Moment::new(1_700_000_000, 0) });
    }
}

/// Connections and requests on each; both kinds of segments and their acknowledgements are counted as frames.
fn small_requests(connections: usize, each: usize) -> (Vec<Frame>, usize) {
    let body = br#"{"id":7,"state":"ready","items":[1,2,3]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [answer.as_bytes(), body].concat();
    let ask = b"GET /api/v1/jobs/7 HTTP/1.1\r\nHost: jobs.corp.example\r\nUser-Agent: python-httpx/0.28\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n";
    let mut all = Vec::new();
    for n in 0..connections {
        let mut c = Connection::open(n);
        for _ in 0..each {
            c.segment(false, ask);
            c.segment(true, &answer);
        }
        all.extend(c.frames);
    }
    (all, connections * each)
}

fn bulk(connections: usize, each: usize) -> Vec<Frame> {
    let payload: Vec<u8> = (0..1460u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut all = Vec::new();
    for n in 0..connections {
        let mut c = Connection::open(n);
        (0..each).for_each(|_| c.segment(true, &payload));
        all.extend(c.frames);
    }
    all
}
