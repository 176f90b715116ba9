//! Traffic to measure with, made here or taken from `tests/traces`.

use etherparse::PacketBuilder;
use sensor::{decode::Link, moment::Moment};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

pub(crate) struct Frame {
    pub(crate) link: Link,
    pub(crate) bytes: Vec<u8>,
    pub(crate) at: Moment,
}

pub(crate) fn traces() -> Vec<Frame> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let mut frames = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|f| f.path()).collect();
    files.sort();
    for file in files {
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
    client: [u8; 4],
    port: u16,
    sent: [u32; 2],
    frames: Vec<Frame>,
}

impl Connection {
    fn open(n: usize) -> Connection {
        let client = [10, 1 + (n >> 14) as u8, (n >> 8) as u8, n as u8];
        Connection { client, port: 1024 + (n % 60_000) as u16, sent: [1, 1], frames: Vec::new() }
    }

    fn segment(&mut self, by_server: bool, payload: &[u8]) {
        let (client, server) = (self.client, [10, 0, 0, 2]);
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

const ASK: &[u8] = b"GET /api/v1/jobs/7 HTTP/1.1\r\nHost: jobs.corp.example\r\nUser-Agent: python-httpx/0.28\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n";

fn answer() -> Vec<u8> {
    let body = br#"{"id":7,"state":"ready","items":[1,2,3]}"#;
    let head = format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Connections and requests on each; both kinds of segments and their acknowledgements are counted as frames.
pub(crate) fn small_requests(connections: usize, each: usize) -> (Vec<Frame>, usize) {
    let answer = answer();
    let mut all = Vec::new();
    for n in 0..connections {
        let mut c = Connection::open(n);
        for _ in 0..each {
            c.segment(false, ASK);
            c.segment(true, &answer);
        }
        all.extend(c.frames);
    }
    (all, connections * each)
}

/// Bytes that resemble nothing.
fn noise() -> Vec<u8> {
    (0..1460u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn bulk(connections: usize, each: usize) -> Vec<Frame> {
    let payload = noise();
    let mut all = Vec::new();
    for n in 0..connections {
        let mut c = Connection::open(n);
        (0..each).for_each(|_| c.segment(true, &payload));
        all.extend(c.frames);
    }
    all
}

/// Connections with one exchange each, none of which ends.
pub(crate) fn open_connections(count: usize) -> Vec<Frame> {
    let answer = answer();
    let open = |n| {
        let mut c = Connection::open(n);
        c.segment(false, ASK);
        c.segment(true, &answer);
        c.frames
    };
    (0..count).flat_map(open).collect()
}

/// What a network carries, so many times over with other addresses each time: small requests, a download and an encrypted
/// connection, and one time in eight the captures of `tests/traces`, frame by frame in turn. A tenth of the frames is then MCP or
/// resembles it, which is far more than life has.
pub(crate) fn mixed(copies: u8) -> Vec<Frame> {
    let captured: Vec<Frame> = traces().into_iter().filter(|f| f.link == Link::Ethernet && f.bytes.get(12..14) == Some(&[8, 0])).collect();
    let payload = noise();
    let mut all = Vec::new();
    for copy in 0..copies {
        let n = 50_000 + 4 * usize::from(copy);
        let moved =
            captured.iter().filter(|_| copy % 8 == 0).map(|f| Frame { link: f.link, bytes: moved(&f.bytes, copy), at: f.at }).collect();
        let mut requests = Connection::open(n);
        for _ in 0..300 {
            requests.segment(false, ASK);
            requests.segment(true, &answer());
        }
        let mut download = Connection::open(n + 1);
        download.segment(false, ASK);
        download.segment(true, b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1460000\r\n\r\n");
        for _ in 0..500 {
            download.segment(true, &payload);
            download.segment(true, &payload);
            download.segment(false, b"");
        }
        let mut encrypted = Connection::open(n + 2);
        let record = [&[0x17, 3, 3, 0x40, 0][..], &payload].concat();
        for _ in 0..400 {
            encrypted.segment(true, record.get(..1460).unwrap_or(&record));
            encrypted.segment(true, &payload);
            encrypted.segment(false, b"");
        }
        let lanes: [Vec<Frame>; 4] = [moved, requests.frames, download.frames, encrypted.frames];
        all.extend(in_turn(lanes));
    }
    for (n, frame) in all.iter_mut().enumerate() {
        frame.at = Moment::new(1_700_000_000 + n as i64 / 100_000, (n as i64 % 100_000) * 10_000);
    }
    all
}

fn in_turn(lanes: [Vec<Frame>; 4]) -> Vec<Frame> {
    let mut lanes = lanes.map(Vec::into_iter);
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(lanes.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

/// The same frame between other addresses: the second byte of both is changed, and the checksum of the header with it.
fn moved(frame: &[u8], by: u8) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let Some(header) = bytes.get_mut(14..34) else { return bytes };
    header[13] ^= by;
    header[17] ^= by;
    header[10..12].fill(0);
    let sum: u32 = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    bytes
}

/// A capture file of Ethernet frames, with microseconds.
pub(crate) fn write_pcap(path: &Path, frames: &[Frame]) {
    let mut file = BufWriter::new(File::create(path).expect("a place to write"));
    let header: Vec<u8> = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1u32].iter().flat_map(|n| n.to_le_bytes()).collect();
    file.write_all(&header).expect("room to write");
    for (n, frame) in frames.iter().enumerate() {
        let (seconds, micros) = (1_700_000_000 + n as u32 / 100_000, (n as u32 % 100_000) * 10);
        let length = frame.bytes.len() as u32;
        let record: Vec<u8> = [seconds, micros, length, length].iter().flat_map(|n| n.to_le_bytes()).collect();
        file.write_all(&record).and_then(|()| file.write_all(&frame.bytes)).expect("room to write");
    }
    file.flush().expect("room to write");
}
