//! Deterministic mutation of real traffic: whatever a stranger sends, the sensor goes on, within its bounds.
//!
//! `FUZZ_SECONDS=600 FUZZ_SEED=7 cargo test --release -p sensor --test fuzz` runs longer and elsewhere; a failure prints its seed
//! and round.

use rules::endpoint::Endpoint;
use sensor::{
    decode::{Link, Transport, decode},
    dissect::{Context, Talk, body, dns, http::Encoding, jsonrpc, mcp::World, quic, sse, tls, websocket},
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
        let peers = Peers { ends, opener, seen: Both { low: true, high: true }, taken: Both::default() };
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
                0 => talk.gap(from, 1 + chance.below(3000), &mut Context { now: at, peers: &peers, world: &mut world }),
                1 => talk.ended(from, &mut Context { now: at, peers: &peers, world: &mut world }),
                _ => {
                    let step = 1 + chance.below(1500);
                    bytes
                        .chunks(step)
                        .for_each(|piece| talk.bytes(from, piece, &mut Context { now: at, peers: &peers, world: &mut world }));
                }
            }
            assert!(world.budget.used() <= 24 << 20);
        }
        talk.closed(&mut Context { now: Moment::new(1_700_000_001, 0), peers: &peers, world: &mut world });
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
        let peers = Peers::of_datagram(Endpoint::new(asker, 53), Endpoint::new(asker, 4000));
        dns::message(&bytes, dns::DNS, asker, &mut Context { now: at, peers: &peers, world: &mut World::default() });
        dns::message(&bytes, dns::MDNS, asker, &mut Context { now: at, peers: &peers, world: &mut World::default() });
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

/// Every entry with its committed seeds, as they are and spoiled. The number of rounds is bounded, not the time.
#[test]
fn spoiled_seeds_through_every_entry() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(3_000);
    for (name, entry) in sensor::fuzz::TARGETS {
        let mut files: Vec<_> = std::fs::read_dir(folder.join(name)).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| entry(seed));
        let mut chance = run(0.0).chance;
        for _ in 0..rounds {
            let mut bytes = seeds[chance.below(seeds.len())].clone();
            chance.spoil(&mut bytes);
            if chance.below(8) == 0 {
                bytes.extend_from_slice(&seeds[chance.below(seeds.len())]);
            }
            entry(&bytes);
        }
    }
}

/// Makes the seeds anew out of the captures: `cargo test -p sensor --test fuzz -- --ignored write_seeds`.
#[test]
#[ignore = "writes to tests/fuzz/seeds"]
fn write_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(folder.join(target)).unwrap();
        std::fs::write(folder.join(target).join(name), bytes).unwrap();
    };
    let number = |link: Link| match link {
        Link::Ethernet => 0u8,
        Link::LinuxCooked => 1,
        Link::LinuxCooked2 => 2,
        Link::Raw => 3,
        Link::Null => 4,
    };
    let record = |kind: u8, bytes: &[u8]| [&[kind][..], &(bytes.len() as u16).to_le_bytes(), bytes].concat();
    let mut files: Vec<_> = std::fs::read_dir(traces).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "pcap" || e == "pcapng")) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let whole = std::fs::read(file).unwrap();
        if whole.len() < 8192 {
            write("capture", name, &whole);
        }
        let mut reader = sensor::capture::file::Reader::new(whole.as_slice()).unwrap();
        let (mut all, mut said, mut pair) = (Vec::new(), vec![1u8], None);
        while let Ok(Some(r)) = reader.next_record() {
            let Some(link) = Link::from_number(i32::from(r.link)) else { continue };
            if all.len() + r.bytes.len() < 12 << 10 {
                all.extend(record(number(link), r.bytes));
            }
            let Ok(packet) = decode(link, r.bytes, r.wire_length) else { continue };
            match packet.transport {
                Transport::Tcp(s) if !s.payload.bytes.is_empty() => {
                    let bytes = s.payload.bytes;
                    let ends = (s.source_port, s.destination_port);
                    let (client, _) = *pair.get_or_insert(ends);
                    if said.len() + bytes.len() < 12 << 10 {
                        said.extend(record(u8::from(s.source_port != client), bytes));
                    }
                    let with = |first: &[u8]| [first, &bytes[..bytes.len().min(2000)]].concat();
                    match bytes {
                        [b'P' | b'G', b'O' | b'E', ..] => write("http1", &format!("{name}-request"), &with(&[0, 0])),
                        [b'H', b'T', b'T', b'P', ..] => {
                            write("http1", &format!("{name}-response"), &with(&[1, 9]));
                            write("probe-http1", name, &with(&[0]));
                        }
                        [0x16, 3, ..] => write("tls", name, &with(&[0])),
                        [b'{', ..] => {
                            write("jsonrpc", name, &with(&[]));
                            write("probe-rpc", name, &with(&[]));
                            write("lines", name, &with(&[0]));
                        }
                        [b'e', b'v', ..] => {
                            write("sse", name, &with(&[5]));
                            write("probe-sse", name, &with(&[5]));
                        }
                        _ => {}
                    }
                    if !write_link(&folder, name) {
                        write("frame", name, &[&[number(link)][..], r.bytes].concat());
                    }
                }
                Transport::Udp(d) if matches!(d.source_port, 53 | dns::MDNS) => {
                    let port = u8::from(d.source_port != 53);
                    write("dns", name, &[&[port][..], d.payload.bytes].concat());
                    write("frame", &format!("{name}-udp"), &[&[number(link)][..], r.bytes].concat());
                }
                _ => {}
            }
        }
        write("frames", name, &all);
        if said.len() > 1 {
            write("stream", name, &said);
        }
    }
    let rpc = br#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"n","version":"1"}}}"#;
    let event = [b"event: message\r\ndata: ", &rpc[..], b"\r\n\r\n"].concat();
    write("sse", "initialize", &[&[9][..], &event].concat());
    write("probe-sse", "initialize", &[&[9][..], &event].concat());
    write("probe-rpc", "initialize", rpc);
    write("websocket", "text", &[&[0, 0x81, 126, 0, rpc.len() as u8][..], rpc].concat());
    write("websocket", "masked", &[&[3, 0x81, 0x85, 1, 2, 3, 4][..], &[b'h' ^ 1, b'e' ^ 2, b'l' ^ 3, b'l' ^ 4, b'o' ^ 1]].concat());
    write("http1", "chunked", b"\x01\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n0\r\nA: b\r\n\r\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &event).unwrap();
    write("body", "gzip", &[&[0, 0][..], &gzip.finish().unwrap()].concat());
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut deflate, &event).unwrap();
    write("body", "deflate", &[&[1, 7][..], &deflate.finish().unwrap()].concat());
    write("body", "brotli", &[&[2, 0][..], &[0x0b, 2, 0x80, b'h', b'e', b'l', b'l', b'o', 3]].concat());
    write("body", "zstd", &[&[3, 0][..], &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0, b'h', b'e', b'l', b'l', b'o']].concat());
    let mut segments = Vec::new();
    for (kind, sequence, acknowledgment, payload) in [
        (24u8, 0u16, 0u16, &b""[..]),
        (20, 0, 1, b""),
        (0, 1, 1, b"POST / HT"),
        (0, 20, 1, b"late"),
        (0, 10, 1, b"TP/1.1\r\n\r\n"),
        (32, 20, 1, b""),
    ] {
        segments.extend(record(kind, &[&sequence.to_le_bytes()[..], &acknowledgment.to_le_bytes(), payload].concat()));
    }
    write("segments", "open-and-close", &segments);
    let batch = br#"{"sensor":"s1","epoch":1,"records":[{"seq":1,"at":"2026-11-20T12:00:00Z","said":{"kind":"coverage","interface":"eth0","frames":9,"lost":{"kernel-drop":1},"heard":["10.0.0.0/24"]}},{"seq":2,"at":"2026-11-20T12:00:00Z","said":{"kind":"evidence","place":{"endpoint":"10.0.0.5:3001","path":"/mcp","host":"a.example"},"witness":"wire","mark":"wire.server.initialize-result","detail":"x","at":"2026-11-20T12:00:00Z","facts":{}}},{"seq":3,"at":"2026-11-20T12:00:00Z","said":{"kind":"gap","from_seq":3,"to_seq":3,"reason":"full"}}]}"#;
    write("wire", "batch", batch);
    write("spool", "torn", &[7, 0, 0, 0, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']);
    write("pack", "small", b"version: \"1\"\nsource: here\nmarks:\n  - id: wire.server.x\n    strength: weak\n    side: server\n    meaning: m\n    source: s\n");
    write("printable", "escapes", "a\u{1b}[31mred\u{202e}\n\u{7f}".as_bytes());
}

/// Whether this capture gave a frame already.
fn write_link(folder: &Path, name: &str) -> bool {
    folder.join("frame").join(name).exists()
}
