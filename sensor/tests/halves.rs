//! One side of real captures alone, as a tap on one fibre or an asymmetric route sees them: what is no MCP server stays a candidate, and what is
//! one is found by whichever half is left, unless that half does not say.
//!
//! `TRACES=/path/to/captures cargo test -p sensor --test halves -- --nocapture` reads another folder with a manifest and shows the table.

mod tamper;
mod truth;

use etherparse::TcpHeader;
use rules::{
    confidence::Confidence,
    endpoint::{Endpoint, Place},
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
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use truth::{Truth, folder, traces};

/// What is not in a half: the capture has the other one only.
const SILENT: [(&str, Half); 3] =
    [("pos-midstream-sse.pcap", Half::Questions), ("pos-oneway.pcap", Half::Answers), ("pos-ws-oneway.pcap", Half::Answers)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Questions,
    Answers,
}

/// Every server that one half of a capture tells of, or both, where of each frame so many bytes were kept.
fn servers(file: &Path, half: Option<Half>, snap_length: usize) -> BTreeMap<Place, Server> {
    let pack = Pack::shipped();
    let mut capture = pcap::Capture::from_file(file).unwrap();
    let link = Link::from_number(capture.get_datalink().0).unwrap();
    let mut frames = Vec::new();
    while let Ok(packet) = capture.next_packet() {
        let at = Moment::new(packet.header.ts.tv_sec, packet.header.ts.tv_usec * 1000);
        frames.push((packet.data.to_vec(), packet.header.len as usize, at));
    }
    let ends = |bytes: &[u8], length| {
        let packet = decode(link, bytes, length).ok()?;
        let Transport::Tcp(segment) = packet.transport else { return None };
        let [source, destination] =
            [(packet.source, segment.source_port), (packet.destination, segment.destination_port)].map(|(a, p)| Endpoint::new(a, p));
        Some((source, destination, segment.syn && segment.acknowledgment.is_none()))
    };
    // Who is called is the server; where no call is in the capture, the lower port.
    let called: BTreeSet<(Endpoint, Endpoint)> = frames
        .iter()
        .filter_map(|(bytes, length, _)| ends(bytes, *length))
        .filter(|(_, _, calls)| *calls)
        .map(|(a, b, _)| (a, b))
        .collect();
    let asks = |from: Endpoint, to: Endpoint| called.contains(&(from, to)) || (!called.contains(&(to, from)) && to.port < from.port);
    let mut watch = Watch::new(Bounds::default());
    for (bytes, length, at) in &frames {
        let kept = ends(bytes, *length).is_none_or(|(from, to, _)| half.is_none_or(|half| asks(from, to) == (half == Half::Questions)));
        if kept {
            watch.frame(link, &bytes[..snap_length.min(bytes.len())], *length, *at);
        }
    }
    watch.finish();
    let mut servers: BTreeMap<Place, Server> = BTreeMap::new();
    for e in watch.evidence() {
        servers.entry(e.place.clone()).or_insert_with(|| Server::new("lab", e.place.clone(), e.at)).absorb("tap", &e, &pack);
    }
    servers
}

#[test]
fn one_side_of_a_look_alike_is_no_server_and_one_side_of_a_server_is_found() {
    let pack = Pack::shipped();
    let shown = std::env::var_os("TRACES").is_some();
    let mut wrong = Vec::new();
    let mut found: BTreeMap<(Half, Option<Confidence>), Vec<String>> = BTreeMap::new();
    for trace in traces() {
        for half in [Half::Questions, Half::Answers] {
            let servers = servers(&folder().join(&trace.file), Some(half), usize::MAX);
            let mut best: BTreeMap<Endpoint, Confidence> = BTreeMap::new();
            for (place, server) in &servers {
                let confidence = server.judgement(&pack).confidence;
                let known = best.entry(place.endpoint).or_insert(confidence);
                *known = (*known).max(confidence);
            }
            let mcp = |t: &&Truth| t.label == "mcp";
            let real: BTreeSet<Endpoint> = trace.endpoints.iter().filter(mcp).map(|t| Endpoint::new(t.ip, t.port)).collect();
            for t in trace.endpoints.iter().filter(mcp).filter(|t| !t.tls && t.expect != "candidate") {
                let endpoint = Endpoint::new(t.ip, t.port);
                let confidence = best.get(&endpoint).copied();
                found.entry((half, confidence)).or_default().push(format!("{} {endpoint}", trace.file));
                let silent = SILENT.contains(&(trace.file.as_str(), half));
                if silent != (confidence < Some(Confidence::Probable)) {
                    wrong.push(format!("{}, {half:?} alone: {endpoint} is an MCP server, but is {confidence:?}", trace.file));
                }
            }
            for (endpoint, confidence) in best.iter().filter(|(e, c)| !real.contains(e) && **c > Confidence::Candidate) {
                wrong.push(format!("{}, {half:?} alone: {endpoint} is no MCP server, but is {confidence:?}", trace.file));
            }
            for (place, server) in servers.iter().filter(|_| shown) {
                println!("{} {half:?} {place} {:?}", trace.file, best.get(&place.endpoint));
                server.testimonies.iter().for_each(|t| println!("      {} x{} `{}`", t.signature, t.count, t.detail));
            }
        }
    }
    for ((half, confidence), files) in &found {
        println!("== {half:?} {confidence:?}: {}\n   {}", files.len(), files.join("\n   "));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is left of frames names no look-alike a server, and at 256 bytes still nearly every server.
#[test]
fn frames_that_were_cut_count_as_far_as_they_go() {
    let pack = Pack::shipped();
    for (snap_length, wanted) in [(96, 0), (128, 0), (192, 40), (256, 75)] {
        let (mut wrong, mut found, mut real) = (Vec::new(), 0, 0);
        for trace in traces() {
            let servers = servers(&folder().join(&trace.file), None, snap_length);
            let sure: BTreeSet<Endpoint> = servers
                .iter()
                .filter(|(_, server)| server.judgement(&pack).confidence > Confidence::Candidate)
                .map(|(place, _)| place.endpoint)
                .collect();
            let open = |t: &&Truth| t.label == "mcp" && !t.tls && t.expect != "candidate";
            let truth: BTreeSet<Endpoint> = trace.endpoints.iter().filter(open).map(|t| Endpoint::new(t.ip, t.port)).collect();
            real += truth.len();
            found += truth.intersection(&sure).count();
            wrong.extend(sure.difference(&truth).map(|e| format!("{}: {e}", trace.file)));
        }
        println!("snap length {snap_length}: {found} of {real}");
        assert!(wrong.is_empty(), "snap length {snap_length}: {wrong:?}");
        assert!(found * 100 >= real * wanted, "snap length {snap_length}: {found} of {real}");
    }
}

/// One connection: who speaks (the client or not), and what.
type Turns = Vec<(bool, Vec<u8>)>;

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 8000);

/// What is known of a server after connections one after the other, of which the turns of `heard` are in the capture.
fn known(connections: &[Turns], heard: &dyn Fn(bool) -> bool) -> Confidence {
    let mut segments = Vec::new();
    let mut seconds = 1_700_000_000;
    for (n, turns) in connections.iter().enumerate() {
        let port = 40_000 + u16::try_from(n).unwrap();
        let mut next = [1_000u32, 9_000];
        let mut send = |by_client: bool, syn: bool, fin: bool, payload: &[u8]| {
            let ends = [[10, 0, 0, 1].into(), SERVER.0.into()];
            let (from, to) = if by_client { (0, 1) } else { (1, 0) };
            let ports = [port, SERVER.1];
            let mut header = TcpHeader::new(ports[from], ports[to], next[from], 64_000);
            (header.syn, header.fin, header.ack) = (syn, fin, !(syn && by_client));
            header.acknowledgment_number = next[to];
            seconds += 1;
            let length = u32::try_from(payload.len()).unwrap() + u32::from(syn || fin);
            next[from] += length;
            let at = Moment::new(seconds, 0);
            if heard(by_client) {
                segments.push(tamper::Segment { ends: [ends[from], ends[to]], header, payload: payload.to_vec(), at });
            }
        };
        send(true, true, false, b"");
        send(false, true, false, b"");
        send(true, false, false, b"");
        turns.iter().for_each(|(by_client, bytes)| send(*by_client, false, false, bytes));
        send(true, false, true, b"");
        send(false, false, true, b"");
    }
    let servers = tamper::servers(&tamper::plain(&segments)).0;
    servers.values().map(tamper::confidence).max().unwrap_or(Confidence::Candidate)
}

const POST: &str =
    "POST /mcp HTTP/1.1\r\nHost: app.corp.example\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream";

fn post(extra: &str, body: &str) -> (bool, Vec<u8>) {
    let extra = if extra.is_empty() { String::new() } else { format!("\r\n{extra}") };
    (true, format!("{POST}{extra}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn get(path: &str) -> (bool, Vec<u8>) {
    (true, format!("GET {path} HTTP/1.1\r\nHost: docs.corp.example\r\nAccept: */*\r\n\r\n").into_bytes())
}

/// As a browser does: at length.
fn browse(path: &str) -> (bool, Vec<u8>) {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) ".repeat(6);
    (true, format!("GET {path} HTTP/1.1\r\nHost: docs.corp.example\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n").into_bytes())
}

fn answer(head: &str, body: &str) -> (bool, Vec<u8>) {
    (false, format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn json(body: &str) -> (bool, Vec<u8>) {
    answer("200 OK\r\nContent-Type: application/json", body)
}

/// What an SDK's client says, in turn.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"desk","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sum","arguments":{"a":1}}}"#;
const META: &str =
    r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"p","version":"0"}}"#;
/// And a server.
const WELCOME: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"everything","version":"2.0"}}}"#;
const LISTED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"sum","description":"Adds","inputSchema":{"type":"object"}}]}}"#;
const CALLED: &str = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"3"}]}}"#;

fn modern(method: &str, id: u8) -> (bool, Vec<u8>) {
    let head = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}");
    post(&head, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{META}}}}}"#))
}

fn unknown(id: u8) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#)
}

/// Each question with the answer to it, on one connection.
fn alternate(pairs: impl IntoIterator<Item = ((bool, Vec<u8>), (bool, Vec<u8>))>) -> Turns {
    pairs.into_iter().flat_map(|(question, answer)| [question, answer]).collect()
}

fn lines(turns: &[(bool, &str)]) -> Turns {
    turns.iter().map(|(by_client, line)| (*by_client, format!("{line}\n").into_bytes())).collect()
}

fn look_alikes() -> Vec<(&'static str, Vec<Turns>)> {
    let none = || answer("404 Not Found\r\nContent-Type: text/html", "<html>nothing here</html>");
    let version = "MCP-Protocol-Version: 2025-11-25";
    let lsp = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"processId":1,"clientInfo":{"name":"vim"},"capabilities":{}}}"#;
    let lsp_welcome =
        r#"{"jsonrpc":"2.0","id":0,"result":{"capabilities":{"hoverProvider":true},"serverInfo":{"name":"pylsp","version":"1"}}}"#;
    let framed = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let rpc = |method: &str, params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let error = |code: i32, words: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"{words}","data":{{"supported":["2026-07-28"]}}}}}}"#)
    };
    vec![
        (
            "a client that is refused",
            vec![alternate([(post("", INITIALIZE), none())]), alternate([(modern("server/discover", 1), none())])],
        ),
        (
            "a client that does not look at answers",
            vec![alternate([
                (post("", INITIALIZE), none()),
                (post("", INITIALIZED), none()),
                (post("", LIST), none()),
                (post("", CALL), none()),
            ])],
        ),
        (
            "a client that does not look at answers, with a revision",
            vec![alternate([
                (post(version, INITIALIZE), none()),
                (post(version, INITIALIZED), none()),
                (post(version, LIST), none()),
                (post(version, CALL), none()),
            ])],
        ),
        (
            "a client with a session of its own making",
            vec![alternate([
                (post("Mcp-Session-Id: 0123456789", INITIALIZE), none()),
                (post("Mcp-Session-Id: 0123456789", INITIALIZED), none()),
                (post("Mcp-Session-Id: 0123456789", LIST), none()),
            ])],
        ),
        ("a client with a session of yesterday", vec![alternate([(post("Mcp-Session-Id: 0123456789", LIST), none())])]),
        (
            "a client that falls back, and is refused again",
            vec![alternate([
                (modern("server/discover", 1), json(&unknown(1))),
                (post("", INITIALIZE), json(&unknown(0))),
                (get("/sse"), none()),
            ])],
        ),
        (
            "a client that discovers at every path",
            (0..4).map(|n| alternate([(modern("server/discover", n), none()), (modern("server/discover", n), none())])).collect(),
        ),
        (
            "JSON-RPC with a list of tools of its own",
            vec![alternate([
                (post("", LIST), json(r#"{"jsonrpc":"2.0","id":1,"result":["hammer"]}"#)),
                (post("", CALL), json(r#"{"jsonrpc":"2.0","id":2,"result":"bang"}"#)),
            ])],
        ),
        (
            "JSON-RPC with a session in the query",
            vec![
                [&b"POST /rpc?session=0123456789 HTTP/1.1\r\nHost: x\r\nContent-Length: 46\r\n\r\n"[..], LIST.as_bytes()].concat(),
                [&b"POST /rpc?session=0123456789 HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n"[..], CALL.as_bytes()].concat(),
            ]
            .into_iter()
            .map(|question| alternate([((true, question), json(r#"{"jsonrpc":"2.0","id":1,"result":["hammer"]}"#))]))
            .collect(),
        ),
        (
            "an Ethereum node",
            vec![alternate([
                (post("", &rpc("eth_chainId", "[]")), json(r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#)),
                (post("", LIST), json(&unknown(1))),
            ])],
        ),
        (
            "LSP over TCP",
            vec![vec![(true, framed(lsp)), (false, framed(lsp_welcome)), (true, framed(r#"{"jsonrpc":"2.0","method":"initialized"}"#))]],
        ),
        (
            "language server in lines",
            vec![lines(&[
                (true, lsp),
                (false, lsp_welcome),
                (true, r#"{"jsonrpc":"2.0","method":"initialized","params":{}}"#),
                (true, r#"{"jsonrpc":"2.0","id":3,"method":"completion/complete","params":{}}"#),
                (true, r#"{"jsonrpc":"2.0","id":4,"method":"logging/setLevel","params":{}}"#),
            ])],
        ),
        (
            "lines of MCP to a server that knows none of it",
            vec![lines(&[
                (true, INITIALIZE),
                (false, &unknown(0)),
                (true, INITIALIZED),
                (true, LIST),
                (false, &unknown(1)),
                (true, CALL),
                (false, &unknown(2)),
            ])],
        ),
        (
            "lines of MCP into a port that does not answer",
            vec![lines(&[(true, INITIALIZE), (true, INITIALIZED), (true, LIST), (true, CALL)])],
        ),
        (
            "bare bodies of a documentation site",
            vec![alternate([(get("/a"), json(WELCOME)), (get("/b"), json(LISTED)), (get("/c"), json(&WELCOME.replace(":0", ":1")))])],
        ),
        (
            "examples of a whole conversation",
            vec![alternate([(get("/a"), json(WELCOME)), (get("/b"), json(LISTED)), (get("/c"), json(CALLED))])],
        ),
        (
            "bare bodies of a documentation site, with its pages",
            vec![alternate([
                (browse("/"), answer("200 OK\r\nContent-Type: text/html", "<html>MCP</html>")),
                (browse("/a"), json(WELCOME)),
                (browse("/b"), json(LISTED)),
                (browse("/c"), json(CALLED)),
            ])],
        ),
        (
            "bodies to keep",
            [
                "Cache-Control: public, max-age=600",
                "Age: 7",
                "Content-Disposition: inline; filename=a.json",
                "ETag: W/\"1\"",
                "Accept-Ranges: bytes",
            ]
            .iter()
            .map(|kept| {
                let keep = |body| answer(&format!("200 OK\r\nContent-Type: application/json\r\n{kept}"), body);
                alternate([(browse("/a"), keep(WELCOME)), (browse("/b"), keep(LISTED)), (browse("/c"), keep(CALLED))])
            })
            .collect(),
        ),
        (
            "examples of errors",
            vec![alternate([
                (get("/a"), json(&error(-32022, "Unsupported protocol version"))),
                (get("/b"), json(&error(-32600, "Bad Request: Missing session ID"))),
                (get("/c"), json(WELCOME)),
            ])],
        ),
        (
            "a language model that is told of MCP",
            vec![alternate([(
                post("", &format!(r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":{INITIALIZE:?}}}]}}"#)),
                answer(
                    "200 OK\r\nContent-Type: text/event-stream",
                    &format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{WELCOME:?}}}}}]}}\n\ndata: [DONE]\n\n"),
                ),
            )])],
        ),
        (
            "an event stream",
            vec![alternate([(
                get("/events"),
                answer(
                    "200 OK\r\nContent-Type: text/event-stream",
                    "event: tick\ndata: {\"tools\":[{\"name\":\"a\",\"inputSchema\":{}}]}\n\n",
                ),
            )])],
        ),
        (
            "GraphQL",
            vec![alternate([(
                post("", r#"{"query":"{ tools { name inputSchema } }"}"#),
                json(r#"{"data":{"tools":[{"name":"a","inputSchema":{}}]}}"#),
            )])],
        ),
    ]
}

#[test]
fn neither_side_of_what_resembles_mcp_is_more_than_a_candidate() {
    let mut wrong = Vec::new();
    for (name, connections) in look_alikes() {
        for (side, heard) in
            [("both", &(|_| true) as &dyn Fn(bool) -> bool), ("questions", &|client| client), ("answers", &|client: bool| !client)]
        {
            let found = known(&connections, heard);
            if found > Confidence::Candidate {
                wrong.push(format!("{name}, {side}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn either_side_of_a_server_is_enough() {
    let version = "MCP-Protocol-Version: 2025-11-25";
    let session = "Mcp-Session-Id: 0123456789abcdef";
    let given = answer(&format!("200 OK\r\nContent-Type: application/json\r\n{session}"), WELCOME);
    let accepted = || answer("202 Accepted", "");
    let discovered = r#"{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2026-07-28"],"capabilities":{},"resultType":"complete"}}"#;
    let servers: Vec<(&str, Turns)> = vec![
        ("with a session", alternate([(post("", INITIALIZE), given), (post(session, INITIALIZED), accepted())])),
        (
            "without a session",
            alternate([
                (post("", INITIALIZE), json(WELCOME)),
                (post(version, INITIALIZED), accepted()),
                (post(version, LIST), json(LISTED)),
            ]),
        ),
        (
            "of the stateless revision",
            alternate([
                (modern("server/discover", 0), json(discovered)),
                (modern("tools/list", 1), json(LISTED)),
                (modern("tools/call", 2), json(CALLED)),
            ]),
        ),
        ("in lines", lines(&[(true, INITIALIZE), (false, WELCOME), (true, INITIALIZED), (true, LIST), (false, LISTED)])),
    ];
    for (name, turns) in servers {
        let turns = [turns];
        assert_eq!(known(&turns, &|_| true), Confidence::Confirmed, "{name}");
        assert!(known(&turns, &|client| client) >= Confidence::Probable, "{name}, questions alone");
        assert!(known(&turns, &|client| !client) >= Confidence::Probable, "{name}, answers alone");
    }
}
