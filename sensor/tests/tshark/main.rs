//! A second opinion: what tshark puts together of the real captures, byte by byte and message by message, is what we do. It was written
//! by others from the same standards, so a mistake that both make has to be made twice. Bodies are compared as they are once framing and
//! content encoding are off.
//!
//! `TRACES=DIR cargo test -p sensor --test tshark -- --nocapture` compares other captures (`pcap`, `pcapng`).

mod ours;
mod theirs;

use ours::hear;
use rules::endpoint::Endpoint;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Captures in whose messages the two differ by intent. Their bytes are compared all the same.
const MESSAGES_DIFFER: [(&str, &str); 2] = [
    ("pos-h2c-hypercorn.pcap", "HTTP/2: not what the reader of HTTP/1 is for"),
    ("pos-snaplen96.pcap", "heads are cut: tshark reads them as far as they go, and bodies from where it is told they end"),
];

/// Bytes we say are missing and tshark has, by intent.
const BYTES_MISSING: [(&str, usize, &str); 1] = [(
    "pos-reordered.pcap",
    157,
    "shuffled, with the times of the places they came to: one segment is 261 ms late, and patience with what its receiver has ends at 200 ms",
)];

/// Of one direction of two ends.
type Way = (Endpoint, Endpoint);
/// Bytes in order; `None` where one is missing and known to be.
type Stream = Vec<Option<u8>>;
/// Messages by their sender, their receiver, and a word on them: `Post /mcp`, `200`; and how often.
type Messages = BTreeMap<(Way, String), usize>;
/// What was in the messages of each direction; those without a body have none here.
type Bodies = BTreeMap<Way, Vec<Vec<u8>>>;

fn captures() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let folder = std::env::var_os("TRACES").map_or(shipped, PathBuf::from);
    let files = std::fs::read_dir(folder).unwrap().filter_map(|f| f.ok().map(|f| f.path()));
    let mut captures: Vec<PathBuf> = files.filter(|p| p.extension().is_some_and(|e| e == "pcap" || e == "pcapng")).collect();
    captures.sort();
    captures
}

fn name(capture: &Path) -> &str {
    capture.file_name().and_then(|n| n.to_str()).unwrap()
}

/// tshark tells of a message once its body is whole, and sometimes of one that never is; we tell of a head. So what it tells is at least
/// what we saw whole, and at most that and the unfinished: no more than one at the end of each direction.
fn objections(theirs: &theirs::Heard, ours: &ours::Heard, (messages, excused): (bool, usize)) -> Vec<String> {
    let mut out = Vec::new();
    let mut missing = 0;
    for way in theirs.streams.keys().chain(ours.streams.keys().filter(|way| !theirs.streams.contains_key(way))) {
        let (a, b) = (theirs.streams.get(way).map_or(&[][..], |s| s), ours.streams.get(way).map_or(&[][..], |s| s));
        // Where tshark has no byte either, the capture has none.
        missing += a.iter().zip(b).filter(|(a, b)| a.is_some() && b.is_none()).count();
        let alike = a.iter().zip(b).take_while(|(a, b)| b.is_none() || a == b).count();
        if a.len() != b.len() || alike < a.len() {
            out.push(format!("{} > {}: tshark has {} bytes, we have {}, the first {alike} alike", way.0, way.1, a.len(), b.len()));
        }
    }
    if missing != excused {
        out.push(format!("{missing} bytes that tshark has are missing here, not {excused}"));
    }
    let known: Vec<_> = theirs.messages.keys().chain(ours.begun.keys().filter(|k| !theirs.messages.contains_key(k))).collect();
    for key in known.into_iter().filter(|_| messages) {
        let count = |of: &Messages| of.get(key).copied().unwrap_or(0);
        let (whole, told, begun) = (count(&ours.whole), count(&theirs.messages), count(&ours.begun));
        if !(whole..=begun).contains(&told) {
            let ((from, to), what) = key;
            out.push(format!("{from} > {to} `{what}`: tshark tells of {told}, we saw {begun} of which {whole} whole"));
        }
    }
    if messages {
        bodies(theirs, ours, &mut out);
    }
    out
}

/// Each whole body of ours is one of theirs, and what they have beside is one that we know not to be whole.
fn bodies(theirs: &theirs::Heard, ours: &ours::Heard, out: &mut Vec<String>) {
    for way in theirs.bodies.keys().chain(ours.bodies.keys().filter(|way| !theirs.bodies.contains_key(way))) {
        let of = |of: &Bodies| of.get(way).cloned().unwrap_or_default();
        let (mut told, unfinished) = (of(&theirs.bodies), of(&ours.unfinished));
        for body in of(&ours.bodies) {
            match told.iter().position(|theirs| *theirs == body) {
                Some(at) => _ = told.swap_remove(at),
                None => out.push(format!("{} > {}: tshark has no body of {} bytes: {}", way.0, way.1, body.len(), shown(&body))),
            }
        }
        for body in told.iter().filter(|body| !unfinished.contains(body)) {
            out.push(format!("{} > {}: only tshark has a body of {} bytes: {}", way.0, way.1, body.len(), shown(body)));
        }
    }
}

fn shown(body: &[u8]) -> String {
    rules::printable::printable_bytes(body, 60)
}

#[test]
fn tshark_puts_the_same_together() {
    if theirs::missing() {
        return;
    }
    let (mut wrong, mut bytes, mut told, mut begun, mut read) = (Vec::new(), 0, 0, 0, 0);
    for capture in captures() {
        let different = MESSAGES_DIFFER.iter().find(|(file, _)| *file == name(&capture));
        let excused = BYTES_MISSING.iter().find(|(file, ..)| *file == name(&capture)).map_or(0, |(_, bytes, _)| *bytes);
        let (theirs, ours) = (theirs::hear(&capture), hear(&capture, |_| true));
        wrong.extend(objections(&theirs, &ours, (different.is_none(), excused)).into_iter().map(|o| format!("{}: {o}", name(&capture))));
        bytes += ours.streams.values().flatten().flatten().count();
        if different.is_none() {
            told += theirs.messages.values().sum::<usize>();
            begun += ours.begun.values().sum::<usize>();
            read += ours.bodies.values().map(Vec::len).sum::<usize>();
        }
    }
    println!("{bytes} bytes compared; {told} messages told by tshark, {begun} by us; {read} whole bodies");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(bytes > 100_000 && told > 300 && read > 150, "only {bytes} bytes, {told} messages and {read} bodies were compared");
}

/// The instrument itself: one segment we did not hear is noticed, whichever it is.
#[test]
fn a_segment_less_is_noticed() {
    if theirs::missing() {
        return;
    }
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces/pos-batch-2025-03-26.pcap");
    let theirs = theirs::hear(&capture);
    for lost in 0..20 {
        assert!(!objections(&theirs, &hear(&capture, |n| n != lost), (true, 0)).is_empty(), "without segment {lost}");
    }
}

#[test]
fn a_byte_of_a_body_that_differs_is_noticed() {
    if theirs::missing() {
        return;
    }
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces/pos-gzip-caddy.pcap");
    let (theirs, count) = (theirs::hear(&capture), hear(&capture, |_| true).bodies.values().map(Vec::len).sum::<usize>());
    assert!(count > 5);
    for changed in 0..count {
        let mut ours = hear(&capture, |_| true);
        assert_eq!(objections(&theirs, &ours, (true, 0)), Vec::<String>::new());
        let body = ours.bodies.values_mut().flatten().nth(changed).unwrap();
        *body.last_mut().unwrap() ^= 1;
        assert!(!objections(&theirs, &ours, (true, 0)).is_empty(), "body {changed}");
    }
}
