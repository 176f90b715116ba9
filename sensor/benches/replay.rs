//! `cargo bench -p sensor`: how many frames one core takes from memory to evidence.
//!
//! Every pass starts with an empty sensor, so that connections are set up and torn down as in life. Four loads: the captures
//! of `tests/traces`, many small requests on kept connections, bulk data in full-size segments, and a mix of all.
//!
//! `cargo bench -p sensor --bench replay -- --write DIR` writes captures for other programs to read instead.

mod traffic;

use sensor::{flow::Bounds, watch::Watch};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use traffic::{Frame, bulk, small_requests, traces};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(folder) = arguments.iter().position(|a| a == "--write").and_then(|at| arguments.get(at + 1)) {
        return write(Path::new(folder));
    }
    // `cargo test` runs benches too, without this argument: then one pass is enough.
    let measure = std::env::args().any(|a| a == "--bench");
    live_connections(if measure { 50_000 } else { 100 });
    report("captures", &traces(), "frames", None, measure);
    let (requests, count) = small_requests(200, 100);
    report("small requests", &requests, "requests", Some(count), measure);
    report("bulk 1460 bytes", &bulk(20, 2000), "frames", None, measure);
    report("mixed", &traffic::mixed(8), "frames", None, measure);
}

/// `mixed.pcap`, `requests.pcap` and `flows.pcap`: traffic of all kinds, small requests, connections that stay open.
fn write(folder: &Path) {
    traffic::write_pcap(&folder.join("mixed.pcap"), &traffic::mixed(240));
    let (requests, count) = small_requests(1000, 300);
    traffic::write_pcap(&folder.join("requests.pcap"), &requests);
    traffic::write_pcap(&folder.join("flows.pcap"), &traffic::open_connections(50_000));
    println!("requests {count}");
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
    let frames = traffic::open_connections(count);
    let before = resident();
    let mut watch = Watch::new(Bounds::default());
    for frame in &frames {
        watch.frame(frame.link, &frame.bytes, frame.bytes.len(), frame.at);
    }
    println!("{count} live connections: {} MiB", (resident() - before) >> 20);
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages second") * 4096
}
