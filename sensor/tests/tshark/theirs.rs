//! What tshark makes of a capture.

use crate::{Bodies, Messages, Stream, Way};
use rules::endpoint::Endpoint;
use sensor::dissect::http::Verb;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) streams: BTreeMap<Way, Stream>,
    pub(crate) messages: Messages,
    pub(crate) bodies: Bodies,
}

/// Of several values in one frame (messages, or addresses outside and inside of a tunnel) none is a tab or this.
const AND: char = '\u{1e}';
const FIELDS: [&str; 14] = [
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tcp.seq",
    "tcp.flags.syn",
    "tcp.len",
    "tcp.payload",
    "http.request.method",
    "http.request.uri",
    "http.response.code",
];

/// Says so where it is.
pub(crate) fn missing() -> bool {
    let there = Command::new("tshark").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !there {
        eprintln!("skipped: the second opinion on TCP and HTTP/1 needs tshark (Debian: tshark)");
    }
    !there
}

/// Runs it for `wanted`, and gives what it prints.
fn tshark(capture: &Path, wanted: &[&str]) -> String {
    // Nobody's preferences but these.
    let settings = tempfile::tempdir().unwrap();
    let mut tshark = Command::new("tshark");
    tshark.env("WIRESHARK_CONFIG_DIR", settings.path()).args(["-n", "-2", "-r"]).arg(capture).stderr(Stdio::null());
    // By what is said, not by the port: HTTP is on any.
    tshark.args([
        "-o",
        "tcp.reassemble_out_of_order:TRUE",
        "-o",
        "tcp.try_heuristic_first:TRUE",
        "-o",
        "tcp.relative_sequence_numbers:TRUE",
    ]);
    let output = tshark.args(wanted).output().unwrap();
    assert!(output.status.success(), "{tshark:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn hear(capture: &Path) -> Heard {
    let aggregator = format!("aggregator={AND}");
    let mut wanted = vec!["-T", "fields", "-E", "separator=/t", "-E", &aggregator];
    wanted.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
    let told = tshark(capture, &wanted);
    let mut bytes = Streams::default();
    let mut heard = Heard::default();
    for line in told.lines() {
        let fields: [&str; FIELDS.len()] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let [stream, source4, source6, source_port, destination4, destination6, destination_port, sequence, syn, length, payload, ..] =
            fields;
        let Some(stream) = innermost(stream) else { continue };
        let source = endpoint(source4, source6, source_port);
        let way = (source, endpoint(destination4, destination6, destination_port));
        bytes.add(
            (stream.parse().unwrap(), way),
            sequence.parse().unwrap(),
            syn == "1" || syn == "True",
            (length.parse().unwrap(), payload),
        );
        let [.., methods, targets, statuses] = fields;
        let requests = all(methods).zip(all(targets)).map(|(method, target)| format!("{:?} {target}", Verb::parse(method.as_bytes())));
        for message in requests.chain(all(statuses).map(str::to_owned)) {
            *heard.messages.entry((way, message)).or_default() += 1;
        }
    }
    heard.streams = bytes.put_together();
    heard.bodies = bodies(capture);
    heard
}

/// In hexadecimal: as text, tshark shows only what can be shown.
fn bodies(capture: &Path) -> Bodies {
    let told = tshark(capture, &["-Y", "http", "-T", "jsonraw", "--no-duplicate-keys", "-J", "ip ipv6 tcp http"]);
    let frames: Vec<Value> = serde_json::from_str(&told).unwrap();
    let mut bodies = Bodies::new();
    for layers in frames.iter().map(|frame| &frame["_source"]["layers"]) {
        let of = |layer: &str, field: &str| raw(innermost_of(&layers[layer])?.get(format!("{layer}.{field}_raw"))?).pop();
        let address = |field: &str| match (of("ip", field), of("ipv6", field)) {
            (Some(v4), _) => IpAddr::from(<[u8; 4]>::try_from(v4).unwrap()),
            (None, v6) => IpAddr::from(<[u8; 16]>::try_from(v6.unwrap()).unwrap()),
        };
        let port = |field: &str| u16::from_be_bytes(of("tcp", field).unwrap().try_into().unwrap());
        let way = (Endpoint::new(address("src"), port("srcport")), Endpoint::new(address("dst"), port("dstport")));
        for message in each(&layers["http"]) {
            for body in message.get("http.file_data_raw").into_iter().flat_map(raw).filter(|body| !body.is_empty()) {
                bodies.entry(way).or_default().push(body);
            }
        }
    }
    bodies
}

/// One, or several in a frame.
fn each(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn innermost_of(layer: &Value) -> Option<&Value> {
    each(layer).last()
}

/// `["6869", position, length, …]`, or a list of such.
fn raw(value: &Value) -> Vec<Vec<u8>> {
    let several = value.get(0).is_some_and(Value::is_array);
    let fields = if several { each(value) } else { std::slice::from_ref(value) };
    let bytes = |digits: &str| (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    fields.iter().filter_map(|field| field.get(0)?.as_str()).map(bytes).collect()
}

fn all(field: &str) -> impl Iterator<Item = &str> {
    field.split(AND).filter(|value| !value.is_empty())
}

fn innermost(field: &str) -> Option<&str> {
    all(field).last()
}

/// No capture has one version of IP in a tunnel of the other.
fn endpoint(v4: &str, v6: &str, port: &str) -> Endpoint {
    Endpoint::new(innermost(v4).or(innermost(v6)).unwrap().parse().unwrap(), port.parse().unwrap())
}

/// Every byte at its number, the first copy of it: exact whatever was sent again, in part, or out of order, which neither the counts of
/// `conv,tcp` (each copy, with headers) nor tshark's opinion of what is a retransmission are.
#[derive(Default)]
struct Streams {
    bytes: BTreeMap<(u32, Way), BTreeMap<i32, Option<u8>>>,
}

impl Streams {
    fn add(&mut self, stream: (u32, Way), sequence: u32, syn: bool, (length, payload): (usize, &str)) {
        let known = self.bytes.entry(stream).or_default();
        // Before the first byte seen, numbers are negative.
        let first = sequence.cast_signed() + i32::from(syn);
        let digits: Vec<u8> = payload.bytes().filter(|b| *b != b':').collect();
        // The snap length cuts: fewer digits than there were bytes.
        for at in 0..length {
            let byte = digits.get(2 * at..2 * at + 2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap());
            let place = known.entry(first + i32::try_from(at).unwrap()).or_insert(byte);
            *place = place.or(byte);
        }
    }

    /// Connections of the same two ends one after the other.
    fn put_together(self) -> BTreeMap<Way, Stream> {
        let mut out: BTreeMap<Way, Stream> = BTreeMap::new();
        for ((_, way), bytes) in self.bytes {
            let (Some(first), Some(last)) = (bytes.keys().next(), bytes.keys().next_back()) else { continue };
            out.entry(way).or_default().extend((*first..=*last).map(|at| bytes.get(&at).copied().flatten()));
        }
        out
    }
}
