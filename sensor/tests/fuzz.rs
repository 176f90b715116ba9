//! Deterministic mutation of real traffic: whatever a stranger sends, the sensor goes on, within its bounds.
//!
//! `FUZZ_SECONDS=600 FUZZ_SEED=7 cargo test --release -p sensor --test fuzz` runs longer and elsewhere; a failure prints its seed
//! and round.

use rules::endpoint::Endpoint;
use sensor::{
    decode::{Link, Transport, decode},
    dissect::{Talk, body, dns, http::Encoding, jsonrpc, mcp::World, quic, sse, tls, websocket},
    flow::{Both, Bounds, Conversation, End, Peers},
    moment::Moment,
    watch::Watch,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// xorshift64*: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    /// Flips, overwrites, removes, repeats or cuts a part.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let (a, b) = (self.below(bytes.len()), self.below(bytes.len()));
            let (from, to) = (a.min(b), a.max(b));
            match self.below(7) {
                0 | 1 if !bytes.is_empty() => bytes[a] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[a] = [0, 0xff, b'\n', b'{', b'"', 0x80][self.below(6)],
                3 if to - from < 64 => drop(bytes.drain(from..to)),
                4 if to - from < 256 => {
                    let part = bytes[from..to].to_vec();
                    bytes.splice(from..from, part);
                }
                5 if self.below(4) == 0 => bytes.truncate(a),
                6 => bytes.splice(from..from, (0..self.below(9)).map(|i| i as u8).collect::<Vec<_>>()).for_each(drop),
                _ => {}
            }
        }
    }
}

struct Run {
    chance: Chance,
    end: Instant,
    rounds: u32,
}

fn run(share: f64) -> Run {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let seconds = number("FUZZ_SECONDS").unwrap_or(8) as f64 * share;
    println!("seed {seed}");
    Run { chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), end: Instant::now() + Duration::from_secs_f64(seconds), rounds: 0 }
}

impl Run {
    fn goes_on(&mut self) -> bool {
        self.rounds += 1;
        // At least a few rounds however slow the machine is.
        let on = Instant::now() < self.end || self.rounds <= 20;
        if !on {
            println!("{} rounds", self.rounds);
        }
        on
    }
}

/// Frames of every capture there is: the link, and the bytes.
fn seeds() -> Vec<(Link, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let mut frames = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().filter_map(|f| f.ok().map(|f| f.path())).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "pcap" || e == "pcapng")) {
        let mut capture = pcap::Capture::from_file(file).unwrap();
        let link = Link::from_number(capture.get_datalink().0).unwrap();
        while let Ok(packet) = capture.next_packet() {
            frames.push((link, packet.data.to_vec()));
        }
    }
    assert!(frames.len() > 500);
    frames
}

/// Whole payloads with bytes in them, as the frames carry them.
fn payloads(frames: &[(Link, Vec<u8>)]) -> Vec<Vec<u8>> {
    let payload = |(link, bytes): &(Link, Vec<u8>)| match decode(*link, bytes, bytes.len()).ok()?.transport {
        Transport::Tcp(s) => Some(s.payload.bytes.to_vec()),
        Transport::Udp(d) => Some(d.payload.bytes.to_vec()),
        Transport::Fragment(_) => None,
    };
    frames.iter().filter_map(payload).filter(|p| !p.is_empty()).collect()
}

#[test]
fn spoiled_frames() {
    let frames = seeds();
    let mut run = run(0.4);
    let links = [Link::Ethernet, Link::LinuxCooked, Link::LinuxCooked2, Link::Raw, Link::Null];
    let bounds = Bounds { flows: 64, held_bytes: 256 << 10, buffered_bytes: 256 << 10, idle_seconds: 5 };
    while run.goes_on() {
        let chance = &mut run.chance;
        let mut watch = Watch::new(bounds);
        let start = chance.below(frames.len());
        for n in 0..200 {
            let (link, bytes) = &frames[(start + n) % frames.len()];
            let mut bytes = bytes.clone();
            let link = if chance.below(50) == 0 { links[chance.below(5)] } else { *link };
            match chance.below(10) {
                0 => continue,
                1..=4 => {}
                // Past the headers as often as in them.
                5..=7 if bytes.len() > 66 => {
                    let mut tail = bytes.split_off(66);
                    chance.spoil(&mut tail);
                    bytes.extend(tail);
                }
                _ => chance.spoil(&mut bytes),
            }
            let wire = bytes.len() + if chance.below(8) == 0 { chance.below(2000) } else { 0 };
            let at = Moment::new(1_700_000_000 + chance.below(3) as i64, n as i64 * 1_000_000);
            watch.frame(link, &bytes, wire, at);
            assert!(watch.evidence().count() < 1000);
        }
        watch.finish();
    }
}

#[test]
fn spoiled_streams() {
    let payloads = payloads(&seeds());
    let mut run = run(0.35);
    let ends = Both { low: Endpoint::new([10, 0, 0, 1].into(), 4000), high: Endpoint::new([10, 0, 0, 2].into(), 3001) };
    while run.goes_on() {
        let chance = &mut run.chance;
        let opener = [None, Some(End::Low), Some(End::High)][chance.below(3)];
        let peers = Peers { ends, opener, seen: Both { low: true, high: true } };
        let (mut talk, mut world) = (Talk::default(), World::default());
        let start = chance.below(payloads.len());
        for n in 0..40 {
            let mut bytes = payloads[(start + n) % payloads.len()].clone();
            if chance.below(3) == 0 {
                chance.spoil(&mut bytes);
            }
            let from = if chance.below(2) == 0 { End::Low } else { End::High };
            let at = Moment::new(1_700_000_000, n as i64);
            match chance.below(20) {
                0 => talk.gap(&peers, from, 1 + chance.below(3000), at, &mut world),
                1 => talk.ended(&peers, from, at, &mut world),
                _ => {
                    let step = 1 + chance.below(1500);
                    bytes.chunks(step).for_each(|piece| talk.bytes(&peers, from, piece, at, &mut world));
                }
            }
            assert!(world.budget.used() <= 24 << 20);
        }
        talk.closed(&peers, Moment::new(1_700_000_001, 0), &mut world);
        drop(talk);
        assert_eq!(world.budget.used(), 0, "memory of bodies is given back");
    }
}

#[test]
fn spoiled_messages() {
    let payloads = payloads(&seeds());
    let mut run = run(0.25);
    let budget = body::Budget::new(1 << 20);
    let encodings = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd, Encoding::Identity];
    while run.goes_on() {
        let chance = &mut run.chance;
        let mut bytes = payloads[chance.below(payloads.len())].clone();
        chance.spoil(&mut bytes);
        let at = Moment::new(1_700_000_000, 0);
        let asker = [10, 0, 0, 1].into();
        dns::message(&bytes, dns::DNS, asker, at, &mut World::default());
        dns::message(&bytes, dns::MDNS, asker, at, &mut World::default());
        jsonrpc::parse(&bytes);
        let _ = tls::Handshakes::default().feed(&bytes);
        tls::Hello::parse(&bytes, tls::Carrier::Tcp);
        tls::certificate(&bytes);
        let ends = [rules::endpoint::Endpoint::new(asker, 4000), rules::endpoint::Endpoint::new(asker, 443)];
        quic::Listener::default().datagram(ends[0], ends[1], &bytes);
        sse::Decoder::default().feed(&bytes, |event| assert!(!event.data.is_empty()));
        websocket::Reader::new(chance.below(2) == 0).feed(&bytes, |text| assert!(text.len() <= 1 << 20));
        let mut decoder = body::Decoder::new(encodings[chance.below(5)], &budget);
        let mut given = 0;
        let _ = decoder.feed(&bytes, |part| given += part.len());
        let _ = decoder.finish(|part| given += part.len());
        assert!(given <= 64 << 20);
    }
}
