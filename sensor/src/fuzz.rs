//! One entry for every parser of strangers' bytes, for whoever has bytes to try: any input may come, nothing may panic, run away or
//! leave memory behind. `tests/fuzz.rs` mutates committed seeds through them, and `make fuzz` lets libFuzzer search.

use crate::{
    capture::file,
    decode::{self, Cut, Link, Packet, Segment, Transport},
    dissect::{
        Context, Talk, body, dns,
        http::Encoding,
        http1::{self, Body, Piece},
        jsonrpc, lines,
        mcp::World,
        quic, sse, tls, websocket,
    },
    flow::{Both, Bounds, Conversation, End, Peers, Table},
    moment::Moment,
    probe,
    reset::{answer, snapshot::PolicySnapshot},
    uplink::record,
    watch::Watch,
};
use rules::{Timestamp, endpoint::Endpoint, observation::Observation, pack::Pack, wire::v1::Batch};
use std::sync::LazyLock;

pub type FuzzTarget = fn(&[u8]);

/// By name; the seeds of each are in `tests/fuzz/seeds/NAME`.
pub const TARGETS: [(&str, FuzzTarget); 22] = [
    ("frame", frame),
    ("frames", frames),
    ("segments", segments),
    ("stream", stream),
    ("http1", http1_reader),
    ("body", body_decoder),
    ("sse", sse_decoder),
    ("jsonrpc", |bytes| drop((jsonrpc::parse(bytes), jsonrpc::prefix(bytes)))),
    ("lines", line_splitter),
    ("websocket", websocket_reader),
    ("dns", dns_message),
    ("tls", tls_handshakes),
    ("quic", quic_datagrams),
    ("capture", capture_file),
    ("probe-http1", probe_http1),
    ("probe-sse", probe_sse),
    ("probe-rpc", probe_rpc),
    ("wire", wire_batch),
    ("spool", spool_records),
    ("pack", |bytes| drop(std::str::from_utf8(bytes).map(Pack::parse))),
    ("overlay", overlay),
    ("printable", |bytes| drop(rules::printable::printable(&String::from_utf8_lossy(bytes), 200))),
];

const LINKS: [Link; 5] = [Link::Ethernet, Link::LinuxCooked, Link::LinuxCooked2, Link::Raw, Link::Null];
const TIGHT: Bounds = Bounds { flows: 16, held_bytes: 16 << 10, buffered_bytes: 16 << 10, idle_seconds: 5 };

fn at(n: usize) -> Moment {
    Moment::new(1_700_000_000, i64::try_from(n).unwrap_or(0).saturating_mul(50_000_000))
}

/// The first byte chooses a size, or none.
fn in_pieces<T>(bytes: &[u8], state: &mut T, mut feed: impl FnMut(&mut T, &[u8])) {
    let Some((size, rest)) = bytes.split_first() else { return };
    if *size == 0 {
        return feed(state, rest);
    }
    rest.chunks(usize::from(*size)).for_each(|piece| feed(state, piece));
}

/// Takes a record off the front: a byte, a length of 16 bits, and so many bytes or what is left.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (record, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((*kind, record))
}

fn link(byte: u8) -> Link {
    LINKS.get(usize::from(byte) % LINKS.len()).copied().unwrap_or(Link::Ethernet)
}

/// `link | frame`
fn frame(bytes: &[u8]) {
    let Some((first, frame)) = bytes.split_first() else { return };
    let cut = usize::from(first >> 4) * 100;
    if let Ok(Packet { source, destination, transport: Transport::Tcp(segment) }) =
        decode::decode(link(first & 0xf), frame, frame.len() + cut)
    {
        resets(Endpoint::new(source, segment.source_port), Endpoint::new(destination, segment.destination_port), &segment);
    }
}

/// As if just this connection were one to reset: what is sent is a reset that is whole, and nobody answers it.
fn resets(source: Endpoint, destination: Endpoint, segment: &Segment<'_>) {
    let now = Timestamp::UNIX_EPOCH;
    let snapshot = PolicySnapshot::to_reset(source, destination);
    let Some(answer) = answer::answer(&snapshot, source, destination, segment, now) else { return };
    for reset in answer.resets {
        let Some(packet) = reset.packet() else { continue };
        let again = decode::decode(Link::Raw, packet.bytes(), packet.bytes().len());
        let Ok(Packet { transport: Transport::Tcp(ours), .. }) = again else { return assert!(again.is_ok(), "{reset:?}") };
        assert!(ours.rst && ours.sequence == reset.sequence);
        assert_eq!(answer::answer(&snapshot, reset.from, reset.to, &ours, now), None);
    }
}

/// Records of frames, through the whole line: fragments, tunnels, reassembly, dissection.
fn frames(mut bytes: &[u8]) {
    let mut watch = Watch::new(TIGHT);
    let mut n = 0;
    while let Some((kind, frame)) = take(&mut bytes) {
        watch.frame(link(kind & 7), frame, frame.len() + usize::from(kind >> 3) * 40, at(n));
        n += 1;
        assert!(watch.evidence().count() < 10_000);
    }
    watch.finish();
    drop(watch.coverage("fuzz"));
}

/// Records of segments: `sequence u16 | acknowledgment u16 | payload`; the kind has the port, the sender and the flags.
fn segments(mut bytes: &[u8]) {
    let (mut table, mut world) = (Table::<Talk>::new(TIGHT), World::default());
    let mut n = 0;
    while let Some((kind, record)) = take(&mut bytes) {
        let Some((numbers, payload)) = record.split_first_chunk::<4>() else { continue };
        let [a, b, c, d] = numbers.map(u32::from);
        let client = Endpoint::new([10, 0, 0, 1].into(), 1000 + u16::from(kind & 3));
        let server = Endpoint::new([10, 0, 0, 2].into(), 80);
        let (source, destination) = if kind & 4 == 0 { (client, server) } else { (server, client) };
        let segment = Segment {
            urgent: false,
            source_port: source.port,
            destination_port: destination.port,
            // About to wrap.
            sequence: (b << 8 | a).wrapping_sub(64),
            acknowledgment: (kind & 8 == 0).then_some((d << 8 | c).wrapping_sub(64)),
            syn: kind & 16 != 0,
            fin: kind & 32 != 0,
            rst: kind & 64 != 0,
            payload: Cut { bytes: payload, missing: if kind & 128 == 0 { 0 } else { 7 } },
        };
        table.segment(source, destination, &segment, at(n), &mut world);
        n += 1;
        assert!(table.held_bytes() <= TIGHT.held_bytes && table.buffered_bytes() <= TIGHT.buffered_bytes && table.len() <= TIGHT.flows);
    }
    table.expire(at(n), &mut world);
    table.finish(at(n), &mut world);
    assert!(table.held_bytes() == 0 && table.buffered_bytes() == 0 && world.budget.used() == 0, "memory is given back");
}

/// What both ends of one connection say, in records, after a byte that says who opened it. The whole of MCP is behind this.
fn stream(bytes: &[u8]) {
    let Some((opener, mut bytes)) = bytes.split_first() else { return };
    let ends = Both { low: Endpoint::new([10, 0, 0, 1].into(), 4000), high: Endpoint::new([10, 0, 0, 2].into(), 3001) };
    let opener = [None, Some(End::Low), Some(End::High)].get(usize::from(opener % 3)).copied().flatten();
    let peers = Peers { ends, opener, seen: Both { low: true, high: true }, taken: Both::default() };
    let (mut talk, mut world) = (Talk::default(), World::default());
    let mut n = 0;
    while let Some((kind, record)) = take(&mut bytes) {
        let from = if kind & 1 == 0 { End::Low } else { End::High };
        let cx = &mut Context { now: at(n), peers: &peers, world: &mut world };
        match kind >> 1 & 7 {
            6 => talk.gap(from, record.len() + 1, cx),
            7 => talk.ended(from, cx),
            // The same in pieces, as networks do it.
            step @ 1..=3 => record.chunks(usize::from(step) * 7).for_each(|p| talk.bytes(from, p, cx)),
            _ => talk.bytes(from, record, cx),
        }
        n += 1;
    }
    talk.closed(&mut Context { now: at(n), peers: &peers, world: &mut world });
    assert!(world.told().count() < 100_000);
    drop(talk);
    assert_eq!(world.budget.used(), 0, "memory of bodies is given back");
}

/// The first bit: whose side; the next three: the framing of every body.
fn http1_reader(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let role = if first & 1 == 0 { http1::Role::Client } else { http1::Role::Server };
    let framing = match first >> 1 & 3 {
        0 => Body::Chunked,
        1 => Body::Length(u64::from(first >> 3) * 9),
        2 => Body::UntilClose,
        _ => Body::None,
    };
    in_pieces(rest, &mut http1::Reader::new(role), |reader, piece| {
        let mut input = piece;
        while let Some(piece) = reader.next(&mut input) {
            if matches!(piece, Piece::Request(_) | Piece::Response(_)) {
                reader.begin(framing);
            }
        }
        assert!(input.is_empty(), "what is not asked for more of is taken");
        assert!(reader.buffered() <= 4 * http1::MAX_HEAD);
    });
}

fn body_decoder(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let encodings = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd, Encoding::Identity];
    let budget = body::Budget::new(4 << 20);
    let mut decoder = body::Decoder::new(encodings.get(usize::from(*first) % 5).copied().unwrap_or(Encoding::Identity), &budget);
    let mut given = 0;
    in_pieces(rest, &mut decoder, |decoder, piece| _ = decoder.feed(piece, |part| given += part.len()));
    _ = decoder.finish(|part| given += part.len());
    assert!(given <= 200 * rest.len().max(64 << 10), "{given} bytes out of {}", rest.len());
    drop(decoder);
    assert_eq!(budget.used(), 0);
}

fn sse_decoder(bytes: &[u8]) {
    in_pieces(bytes, &mut sse::Decoder::default(), |decoder, piece| {
        decoder.feed(piece, |event| assert!(!event.data.is_empty() && event.data.len() <= sse::MAX_EVENT));
    });
}

fn line_splitter(bytes: &[u8]) {
    in_pieces(bytes, &mut lines::Splitter::default(), |splitter, piece| splitter.feed(piece, |line| assert!(!line.contains(&b'\n'))));
}

fn websocket_reader(bytes: &[u8]) {
    _ = websocket::joins(bytes);
    let kind = bytes.first().map_or(0, |b| b & 3);
    let mut reader = if kind == 3 { websocket::Reader::joined() } else { websocket::Reader::new(kind == 1) };
    in_pieces(bytes, &mut reader, |reader, piece| {
        reader.feed(piece, |text| assert!(text.len() <= 1 << 20));
    });
}

fn tls_handshakes(bytes: &[u8]) {
    in_pieces(bytes, &mut tls::Handshakes::default(), |handshakes, piece| {
        _ = handshakes.feed(piece);
        while let Some((_, message)) = handshakes.take() {
            drop((tls::Hello::parse(&message, tls::Carrier::Tcp), tls::certificate(&message)));
        }
        assert!(handshakes.buffered() <= 1 << 20);
    });
    drop((tls::Hello::parse(bytes, tls::Carrier::Quic), tls::certificate(bytes)));
}

fn quic_datagrams(mut bytes: &[u8]) {
    let (client, server) = (Endpoint::new([10, 0, 0, 1].into(), 4000), Endpoint::new([10, 0, 0, 2].into(), 443));
    let mut listener = quic::Listener::default();
    while let Some((_, datagram)) = take(&mut bytes) {
        drop(listener.datagram(client, server, datagram));
    }
}

fn dns_message(bytes: &[u8]) {
    let Some((port, message)) = bytes.split_first() else { return };
    let port = [53, dns::MDNS, 5355].get(usize::from(port % 3)).copied().unwrap_or(53);
    let peers = Peers::of_datagram(Endpoint::new([10, 0, 0, 2].into(), port), Endpoint::new([10, 0, 0, 1].into(), 4000));
    dns::message(message, port, [10, 0, 0, 1].into(), &mut Context { now: at(0), peers: &peers, world: &mut World::default() });
}

fn capture_file(bytes: &[u8]) {
    let Ok(mut reader) = file::Reader::new(bytes) else { return };
    let mut watch = Watch::new(TIGHT);
    while let Ok(Some(record)) = reader.next_record() {
        assert!(record.bytes.len() <= bytes.len());
        if let Some(link) = Link::from_number(i32::from(record.link)) {
            watch.frame(link, record.bytes, record.wire_length, record.at);
        }
    }
    watch.finish();
}

fn probe_http1(bytes: &[u8]) {
    let caps = probe::http1::Caps { head: 4 << 10, body: 8 << 10 };
    let mut reader = probe::http1::Reader::new(caps);
    in_pieces(bytes, &mut reader, |reader, piece| _ = reader.push(piece));
    assert!(reader.body().len() <= caps.body);
}

fn probe_sse(bytes: &[u8]) {
    in_pieces(bytes, &mut probe::sse::Events::new(4 << 10), |events, piece| {
        assert!(events.push(piece).iter().all(|e| e.data.len() <= 16 << 10));
    });
}

fn probe_rpc(bytes: &[u8]) {
    let Some(result) = probe::rpc::parse(bytes).and_then(|answer| answer.result) else { return };
    drop((probe::rpc::initialized(&result), probe::rpc::discovered(&result), probe::rpc::revisions(&result)));
}

/// What a site lays over the shipped pack; what came of it is a pack again, and says where it is broken.
fn overlay(bytes: &[u8]) {
    static SHIPPED: LazyLock<Pack> = LazyLock::new(Pack::shipped);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match SHIPPED.lay(text) {
        Ok(laid) => assert!(laid.iter().count() <= Pack::MAX_MARKS && laid.lay(text).as_ref() == Ok(&laid), "laid twice is laid once"),
        Err(refusal) => assert!(refusal.line > 0 && refusal.column > 0 && !refusal.why.is_empty()),
    }
}

fn wire_batch(bytes: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<Batch>(bytes) else { return };
    for record in batch.records {
        if let Ok(said) = Observation::admit(&batch.sensor, batch.epoch, record, Timestamp::UNIX_EPOCH) {
            let again = serde_json::to_vec(&said).ok().and_then(|text| serde_json::from_slice::<Observation>(&text).ok());
            assert_eq!(again.as_ref(), Some(&said), "what is stored is what is read back");
        }
    }
}

fn spool_records(mut bytes: &[u8]) {
    loop {
        let size = match record::decode(bytes) {
            record::Front::Record { payload, size, .. } => {
                assert!(payload.len() <= size);
                size
            }
            record::Front::Corrupt { size } => size,
            record::Front::Torn | record::Front::End => return,
        };
        assert!(size > 0, "it goes on");
        bytes = bytes.get(size..).unwrap_or_default();
    }
}
