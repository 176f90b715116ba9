//! The same real servers behind what Ptacek and Newsham, tunnels and bad taps do to packets: each is still found, and what could be
//! read two ways is counted.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, TcpHeader};
use rules::{
    confidence::Confidence,
    endpoint::{Endpoint, Place},
    observation::Coverage,
    pack::Pack,
    server::Server,
};
use sensor::{
    decode::{Link, Transport, decode},
    flow::Bounds,
    moment::Moment,
    watch::Watch,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

/// One TCP segment, ready to be tampered with.
#[derive(Clone)]
struct Segment {
    ends: [Ipv4Addr; 2],
    header: TcpHeader,
    payload: Vec<u8>,
    at: Moment,
}

/// Servers to find, by capture: HTTP+SSE, sessions, stateless, HTTP/2, batch.
const TRACES: [(&str, &str); 5] = [
    ("pos-everything-sse.pcap", "10.77.2.40:3001"),
    ("pos-py1-fallback.pcap", "10.77.4.40:8080"),
    ("pos-py2-modern.pcap", "10.77.3.40:8000"),
    ("pos-h2c-hypercorn.pcap", "10.77.12.40:8082"),
    ("pos-batch-2025-03-26.pcap", "10.77.19.40:3000"),
];

fn segments(file: &str) -> Vec<Segment> {
    let mut capture = pcap::Capture::from_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces").join(file)).unwrap();
    let mut out = Vec::new();
    while let Ok(packet) = capture.next_packet() {
        let at = Moment::new(packet.header.ts.tv_sec, packet.header.ts.tv_usec * 1000);
        let Ok(p) = decode(Link::Ethernet, packet.data, packet.data.len()) else { continue };
        let (IpAddr::V4(a), IpAddr::V4(b), Transport::Tcp(s)) = (p.source, p.destination, p.transport) else { continue };
        let mut header = TcpHeader::new(s.source_port, s.destination_port, s.sequence, 64_000);
        (header.ack, header.acknowledgment_number) = (s.acknowledgment.is_some(), s.acknowledgment.unwrap_or(0));
        (header.syn, header.fin, header.rst) = (s.syn, s.fin, s.rst);
        out.push(Segment { ends: [a, b], header, payload: s.payload.bytes.to_vec(), at });
    }
    out
}

impl Segment {
    /// From the IP header on.
    fn packet(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv4(self.ends[0].octets(), self.ends[1].octets(), 64).tcp_header(self.header.clone());
        builder.write(&mut out, &self.payload).unwrap();
        out
    }

    /// The part of the payload from `from` to `to`, as a segment of its own.
    fn part(&self, from: usize, to: usize) -> Segment {
        let mut part = self.clone();
        part.payload = self.payload[from..to].to_vec();
        part.header.sequence_number = self.header.sequence_number.wrapping_add(u32::try_from(from).unwrap());
        part.header.fin = self.header.fin && to == self.payload.len();
        part
    }

    fn tiny(&self, size: usize) -> Vec<Segment> {
        if self.payload.len() <= size {
            return vec![self.clone()];
        }
        (0..self.payload.len()).step_by(size).map(|from| self.part(from, (from + size).min(self.payload.len()))).collect()
    }
}

/// Packets as they are captured: IP, and when.
type Packets = Vec<(Vec<u8>, Moment)>;

fn plain(segments: &[Segment]) -> Packets {
    segments.iter().map(|s| (s.packet(), s.at)).collect()
}

fn fragments(packet: &[u8]) -> Vec<Vec<u8>> {
    let (header, payload) = Ipv4Header::from_slice(packet).unwrap();
    let count = payload.len().div_ceil(32);
    let one = |(n, piece): (usize, &[u8])| {
        let mut h = header.clone();
        h.total_len = 20 + u16::try_from(piece.len()).unwrap();
        h.fragment_offset = IpFragOffset::try_new(u16::try_from(n * 4).unwrap()).unwrap();
        h.more_fragments = n + 1 < count;
        let mut out = Vec::new();
        h.write(&mut out).unwrap();
        out.extend(piece);
        out
    };
    // Last piece first.
    payload.chunks(32).enumerate().map(one).rev().collect()
}

fn wrapped(protocol: u8, prefix: &[u8], inner: &[u8]) -> Vec<u8> {
    let payload = [prefix, inner].concat();
    let mut out = Vec::new();
    let length = u16::try_from(payload.len()).unwrap();
    Ipv4Header::new(length, 64, IpNumber(protocol), [192, 0, 2, 1], [192, 0, 2, 2]).unwrap().write(&mut out).unwrap();
    out.extend(payload);
    out
}

fn found(packets: &Packets) -> (BTreeMap<Endpoint, Confidence>, Coverage) {
    let pack = Pack::shipped();
    let mut watch = Watch::new(Bounds::default());
    let mut servers: BTreeMap<Place, Server> = BTreeMap::new();
    for (packet, at) in packets {
        watch.frame(Link::Raw, packet, packet.len(), *at);
    }
    watch.finish();
    for e in watch.evidence() {
        servers.entry(e.place.clone()).or_insert_with(|| Server::new("lab", e.place.clone(), e.at)).absorb("tap", &e, &pack);
    }
    let mut best = BTreeMap::new();
    for (place, server) in servers {
        let confidence = server.judgement(&pack).confidence;
        let known = best.entry(place.endpoint).or_insert(confidence);
        *known = confidence.max(*known);
    }
    (best, watch.coverage("tap"))
}

/// Checks that each server is found though its segments were tampered with; gives what was counted.
fn check(name: &str, tamper: impl Fn(&[Segment]) -> Packets) -> Vec<Coverage> {
    TRACES
        .iter()
        .map(|(file, server)| {
            let (best, coverage) = found(&tamper(&segments(file)));
            let confidence = best.get(&server.parse().unwrap());
            assert_eq!(confidence, Some(&Confidence::Confirmed), "{name}: {file} {:?}", coverage.lost);
            coverage
        })
        .collect()
}

#[test]
fn tiny_segments_in_and_out_of_order() {
    check("one byte each", |s| plain(&s.iter().flat_map(|s| s.tiny(1)).collect::<Vec<_>>()));
    check("seven bytes, last first", |s| plain(&s.iter().flat_map(|s| s.tiny(7).into_iter().rev()).collect::<Vec<_>>()));
}

#[test]
fn sequence_numbers_that_wrap() {
    check("wrap", |s| {
        let mut start: BTreeMap<([Ipv4Addr; 2], u16), u32> = BTreeMap::new();
        let key = |ends: [Ipv4Addr; 2], header: &TcpHeader| (ends, header.source_port ^ header.destination_port);
        for s in s {
            start.entry(key(s.ends, &s.header)).or_insert(s.header.sequence_number);
        }
        let mut s = s.to_vec();
        for s in &mut s {
            // Every direction begins forty bytes before the wrap.
            let shift = |first: Option<&u32>| first.map_or(0, |first| (u32::MAX - 40).wrapping_sub(*first));
            let (own, other) = (start.get(&key(s.ends, &s.header)), start.get(&key([s.ends[1], s.ends[0]], &s.header)));
            s.header.sequence_number = s.header.sequence_number.wrapping_add(shift(own));
            s.header.acknowledgment_number = s.header.acknowledgment_number.wrapping_add(shift(other));
        }
        plain(&s)
    });
}

#[test]
fn later_copies_that_say_something_else_are_counted_and_not_believed() {
    let coverage = check("inconsistent copies", |s| {
        let mut out = Vec::new();
        for s in s {
            let pieces = s.tiny(20);
            // The second piece first, then a lie about it, then the rest: the lie comes while the truth is still held.
            if let [first, second, rest @ ..] = pieces.as_slice() {
                let mut lie = second.clone();
                lie.payload.iter_mut().for_each(|b| *b ^= 0x20);
                out.extend([second.clone(), lie, first.clone()]);
                out.extend(rest.iter().cloned());
            } else {
                out.extend(pieces);
            }
        }
        plain(&out)
    });
    assert!(coverage.iter().all(|c| c.lost.get("ambiguous").is_some_and(|n| *n > 0)));
}

#[test]
fn forged_resets_and_strays_do_not_end_it() {
    check("forgeries", |s| {
        let forged = |s: &Segment, shift: u32| {
            let mut f = s.clone();
            f.header.sequence_number = s.header.sequence_number.wrapping_add(shift);
            f.payload = b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec();
            f
        };
        let reset = |s: &Segment| {
            let mut f = forged(s, 1 << 29);
            (f.header.rst, f.payload) = (true, Vec::new());
            f
        };
        // After the handshake: before it nobody can tell which is the forgery.
        let forge = |s: &Segment| if s.header.syn { vec![s.clone()] } else { vec![reset(s), forged(s, 1 << 28), s.clone()] };
        plain(&s.iter().flat_map(forge).collect::<Vec<_>>())
    });
}

/// Puts something else in the place of each packet, which is given with its number.
fn each(segments: &[Segment], f: impl Fn(&[u8], usize) -> Vec<Vec<u8>>) -> Packets {
    let numbered = segments.iter().enumerate();
    numbered.flat_map(|(n, s)| f(&s.packet(), n).into_iter().map(|p| (p, s.at)).collect::<Vec<_>>()).collect()
}

#[test]
fn fragments_and_tunnels() {
    check("fragments, last first", |s| {
        each(s, |packet, n| {
            let mut packet = packet.to_vec();
            // Identification (RFC 791): its own for each datagram.
            packet[4..6].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            fragments(&packet)
        })
    });
    check("GRE", |s| each(s, |packet, _| vec![wrapped(47, &[0, 0, 8, 0], packet)]));
    check("IP in IP in IP", |s| each(s, |packet, _| vec![wrapped(4, &[], &wrapped(4, &[], packet))]));
}

#[test]
fn taps_that_repeat_shuffle_and_lose() {
    check("every packet three times", |s| plain(&s.iter().flat_map(|s| [s.clone(), s.clone(), s.clone()]).collect::<Vec<_>>()));
    check("shuffled within eight", |s| {
        let mut out = plain(s);
        out.chunks_mut(8).for_each(<[_]>::reverse);
        out
    });
    check("joined late", |s| plain(&s[s.len() / 4..]));
    check("every fifteenth lost", |s| {
        plain(&s.iter().enumerate().filter(|(n, _)| n % 15 != 7).map(|(_, s)| s.clone()).collect::<Vec<_>>())
    });
}
