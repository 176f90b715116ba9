//! Real conversations taken apart into segments, to be put on the wire in other ways, and what a sensor makes of them.

// Each test file uses what it needs.
#![allow(dead_code)]

use etherparse::{PacketBuilder, TcpHeader};
use rules::{confidence::Confidence, endpoint::Place, observation::Coverage, pack::Pack, server::Server};
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
pub(crate) struct Segment {
    pub(crate) ends: [Ipv4Addr; 2],
    pub(crate) header: TcpHeader,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Moment,
}

/// Servers to find, by capture: HTTP+SSE, sessions, stateless, HTTP/2, batch.
pub(crate) const TRACES: [(&str, &str); 5] = [
    ("pos-everything-sse.pcap", "10.77.2.40:3001"),
    ("pos-py1-fallback.pcap", "10.77.4.40:8080"),
    ("pos-py2-modern.pcap", "10.77.3.40:8000"),
    ("pos-h2c-hypercorn.pcap", "10.77.12.40:8082"),
    ("pos-batch-2025-03-26.pcap", "10.77.19.40:3000"),
];

pub(crate) fn segments(file: &str) -> Vec<Segment> {
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
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv4(self.ends[0].octets(), self.ends[1].octets(), 64).tcp_header(self.header.clone());
        builder.write(&mut out, &self.payload).unwrap();
        out
    }

    /// The part of the payload from `from` to `to`, as a segment of its own.
    pub(crate) fn part(&self, from: usize, to: usize) -> Segment {
        let mut part = self.clone();
        part.payload = self.payload[from..to].to_vec();
        part.header.sequence_number = self.header.sequence_number.wrapping_add(u32::try_from(from).unwrap());
        part.header.fin = self.header.fin && to == self.payload.len();
        part
    }

    pub(crate) fn tiny(&self, size: usize) -> Vec<Segment> {
        if self.payload.len() <= size {
            return vec![self.clone()];
        }
        (0..self.payload.len()).step_by(size).map(|from| self.part(from, (from + size).min(self.payload.len()))).collect()
    }
}

/// Packets as they are captured: IP, and when.
pub(crate) type Packets = Vec<(Vec<u8>, Moment)>;

pub(crate) fn plain(segments: &[Segment]) -> Packets {
    segments.iter().map(|s| (s.packet(), s.at)).collect()
}

/// Every server that packets tell of.
pub(crate) fn servers(packets: &Packets) -> (BTreeMap<Place, Server>, Coverage) {
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
    (servers, watch.coverage("tap"))
}

pub(crate) fn confidence(server: &Server) -> Confidence {
    server.judgement(&Pack::shipped()).confidence
}
