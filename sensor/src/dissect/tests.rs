//! Conversations in text, and what is heard in them. Each is told whole, and again cut at every byte: what is heard must be the same.

use super::{
    Context,
    mcp::World,
    talk::Talk,
    tls::tests::{NODE, certificate_for, hello_to, records},
};
use crate::{
    flow::{Both, Conversation, End, Peers},
    moment::Moment,
};
use expect_test::{Expect, expect};
use rules::endpoint::Endpoint;
use std::{collections::BTreeSet, io::Write};

/// What one end says, in turn.
#[derive(Clone)]
struct Turn(End, Vec<u8>);

fn client(bytes: impl AsRef<[u8]>) -> Turn {
    Turn(End::Low, bytes.as_ref().to_vec())
}

fn server(bytes: impl AsRef<[u8]>) -> Turn {
    Turn(End::High, bytes.as_ref().to_vec())
}

fn peers(client_port: u16, opener: Option<End>) -> Peers {
    let ends = Both { low: Endpoint::new([10, 0, 0, 1].into(), client_port), high: Endpoint::new([10, 0, 0, 2].into(), 3001) };
    Peers { ends, opener, seen: Both { low: true, high: true }, taken: Both::default() }
}

/// Listens to connections one after the other; each turn comes in pieces of `step` bytes.
fn listen(connections: &[(&[Turn], Option<End>)], step: usize) -> String {
    let turns = connections.iter().enumerate().flat_map(|(n, (turns, _))| turns.iter().map(move |turn| (n, turn)));
    let openers: Vec<_> = connections.iter().map(|(_, opener)| *opener).collect();
    hear(&openers, turns, step)
}

/// Listens to connections side by side: each turn names its own.
fn hear<'a>(openers: &[Option<End>], turns: impl Iterator<Item = (usize, &'a Turn)>, step: usize) -> String {
    let mut world = World::default();
    let at = Moment::new(1_700_000_000, 0);
    let talk = |(n, opener): (usize, &Option<End>)| (Talk::default(), peers(4000 + u16::try_from(n).unwrap(), *opener));
    let mut talks: Vec<_> = openers.iter().enumerate().map(talk).collect();
    for (n, Turn(from, bytes)) in turns {
        let (talk, peers) = &mut talks[n];
        bytes.chunks(step).for_each(|piece| talk.bytes(*from, piece, &mut Context { now: at, peers, world: &mut world }));
        *peers.taken.at_mut(*from) += u32::try_from(bytes.len()).unwrap();
    }
    for (mut talk, peers) in talks {
        for end in [End::Low, End::High] {
            talk.ended(end, &mut Context { now: at, peers: &peers, world: &mut world });
        }
        talk.closed(&mut Context { now: at, peers: &peers, world: &mut world });
    }
    let line = |e: rules::evidence::Evidence| format!("{} {} {}\n", e.place.path.unwrap_or_else(|| "-".to_owned()), e.signature, e.detail);
    let lines: BTreeSet<String> = world.told().map(line).collect();
    lines.into_iter().collect()
}

fn check(turns: &[Turn], expected: Expect) {
    let connections = [(turns, Some(End::Low))];
    let whole = listen(&connections, usize::MAX);
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(listen(&connections, step), whole, "in steps of {step}");
    }
    expected.assert_eq(&whole);
}

/// An HTTP message with its length.
fn http(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = head.trim().replace('\n', "\r\n");
    [format!("{head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn post(body: &str) -> Turn {
    client(http(
        "POST /mcp HTTP/1.1\nHost: tools.corp.example:3001\nContent-Type: application/json\nAccept: application/json, text/event-stream",
        body,
    ))
}

fn json(body: &str) -> Turn {
    server(http("HTTP/1.1 200 OK\nContent-Type: application/json", body))
}

fn chunked(head: &str, body: &[u8], step: usize) -> Turn {
    let mut out = format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", head.trim().replace('\n', "\r\n")).into_bytes();
    for chunk in body.chunks(step) {
        out.extend(format!("{:x};x=y\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\nTrailer: 1\r\n\r\n");
    server(out)
}

const EVENTS: &str = "HTTP/1.1 200 OK\nContent-Type: text/event-stream";
const INITIALIZE: &str = r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"desk","version":"1"}},"jsonrpc":"2.0","id":0}"#;
const INITIALIZED: &str = r#"{"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"everything","version":"2.0"}},"jsonrpc":"2.0","id":0}"#;

#[test]
fn the_stateless_revision_needs_no_session() {
    let ask = client(http(
        "POST /mcp HTTP/1.1\nHost: 127.0.0.1:8000\ncontent-type: application/json\naccept: application/json, text/event-stream\nmcp-protocol-version: 2026-07-28\nMCP-METHOD: server/discover",
        r#"{"jsonrpc":"2.0","id":"n1","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"p","version":"0"}}}}"#,
    ));
    let answer =
        json(r#"{"result":{"supportedVersions":["2026-07-28"],"capabilities":{},"resultType":"complete"},"jsonrpc":"2.0","id":"n1"}"#);
    check(
        &[ask, answer],
        expect![[r#"
            /mcp wire.client.accept-pair application/json and text/event-stream
            /mcp wire.client.method server/discover
            /mcp wire.client.method-header server/discover
            /mcp wire.client.version-header 2026-07-28
            /mcp wire.server.discover-result an answer to server/discover, 2026-07-28
        "#]],
    );
}

#[test]
fn events_end_in_any_way_and_a_priming_event_says_nothing() {
    let lf = format!("id: b1f9\ndata: \n\n: ping\nevent: message\nid: 0a53\ndata: {INITIALIZED}\n\n");
    let expected = listen(&[(&[post(INITIALIZE), chunked(EVENTS, lf.as_bytes(), 9)], Some(End::Low))], usize::MAX);
    assert!(expected.contains("wire.server.initialize-result"), "{expected}");
    for end in ["\n", "\r\n", "\r"] {
        // The data in two lines, cut where JSON allows a line end.
        let body = lf.replace("\"jsonrpc\"", "\ndata: \"jsonrpc\"").replace('\n', end);
        for step in [1, 7, 4096] {
            let turns = [post(INITIALIZE), chunked(EVENTS, body.as_bytes(), step)];
            for cut in [1, 5, usize::MAX] {
                assert_eq!(listen(&[(&turns, Some(End::Low))], cut), expected, "{end:?} {step} {cut}");
            }
        }
    }
}

#[test]
fn encodings_are_undone() {
    let gzip = |text: &str| {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(text.as_bytes()).unwrap();
        e.finish().unwrap()
    };
    let zlib = |text: &str| {
        let mut e = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(text.as_bytes()).unwrap();
        e.finish().unwrap()
    };
    let raw = |text: &str| {
        let mut e = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(text.as_bytes()).unwrap();
        e.finish().unwrap()
    };
    let hex = |text: &str| -> Vec<u8> { (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect() };
    // Of the same text, by the reference encoders.
    let brotli = hex(
        "1b9000a02c0a6c63b1e271e15e1ba5998d76e5af45f6605ab6488c4bdf94214b4b1d96be16198393ab373ceedbcaf1c8a594907edf05b80de98a8e53104794461ae2613cc30bc56afd04b948004dffe4628d49880e125c8836ec2cb867ff122257f203",
    );
    let zstd = hex(
        "28b52ffd04688503004287171870ab0e94f0a4946596fa78dde9570b04966ee93c80aa27044f5a3fdc518b0d592e4f013d7a029d329d5eba5f5f86414620d14b7be5d1f33ce6f9ba2ed74df79cc1226b471f142008c0a092fa3a64277b8bc78d27777c5d9faf91dbaf01050035d35cb5231696e969ea691528e3a1159d",
    );
    for (name, body) in
        [("gzip", gzip(INITIALIZED)), ("deflate", zlib(INITIALIZED)), ("deflate", raw(INITIALIZED)), ("zstd", zstd), ("br", brotli)]
    {
        let answer = server(http(&format!("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Encoding: {name}"), body));
        for step in [1, usize::MAX] {
            let heard = listen(&[(&[post(INITIALIZE), answer.clone()], Some(End::Low))], step);
            assert!(heard.contains("wire.server.initialize-result"), "{name} {step}: {heard}");
        }
    }
}

#[test]
fn who_goes_on_after_401_shows_nothing_by_that() {
    let ask = |id: u8| {
        let head = "POST /mcp HTTP/1.1\nHost: tools\nMcp-Session-Id: 5f2c9a7d1e\nAccept: application/json, text/event-stream\nContent-Type: application/json";
        client(http(head, format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#)))
    };
    let gate = || server(http("HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer resource_metadata=\"https://tools/x\"", ""));
    let heard = listen(&[(&[ask(1), gate(), ask(2), gate(), ask(3), gate()], Some(End::Low))], usize::MAX);
    assert!(heard.contains("wire.server.auth-challenge") && !heard.contains("wire.client.established"), "{heard}");
    // The instrument: let in, the same shows that it was.
    let listed = |id: u8| {
        json(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"add","inputSchema":{{"type":"object"}}}}]}}}}"#))
    };
    let heard = listen(&[(&[ask(1), listed(1), ask(2), listed(2)], Some(End::Low))], usize::MAX);
    assert!(heard.contains("wire.client.established"), "{heard}");
}

#[test]
fn a_bomb_is_given_up_on() {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..8 {
        e.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let bomb = e.finish().unwrap();
    let answer = server(http("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Encoding: gzip", bomb));
    let heard = listen(&[(&[post(INITIALIZE), answer], Some(End::Low))], usize::MAX);
    assert!(heard.contains("wire.context.truncated") && !heard.contains("wire.server."), "{heard}");
}

/// The HTTP+SSE transport: a stream on one connection, messages on another.
fn first_revision(accepted: &str, answer: &str, step: usize) -> String {
    at_door(["/messages/?session_id=3304abcd"; 2], accepted, answer, step)
}

/// The address that the stream gives, and the one that the message goes to.
fn at_door([offered, taken]: [&str; 2], accepted: &str, answer: &str, step: usize) -> String {
    let turns = [
        (0, client("GET /sse HTTP/1.1\r\nHost: tools\r\nAccept: text/event-stream\r\n\r\n")),
        (0, server(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\r\ndata: {offered}\r\n\r\n"))),
        (1, client(http(&format!("POST {taken} HTTP/1.1\nHost: tools\nContent-Type: application/json"), INITIALIZE))),
        (1, server(http(&format!("HTTP/1.1 {accepted}"), "Accepted"))),
        (0, server(answer)),
    ];
    hear(&[Some(End::Low), Some(End::Low)], turns.iter().map(|(n, turn)| (*n, turn)), step)
}

#[test]
fn answers_of_the_first_revision_arrive_on_another_connection() {
    let answer = format!("event: message\r\ndata: {INITIALIZED}\r\n\r\n");
    let whole = first_revision("202 Accepted", &answer, usize::MAX);
    for step in [1, 3, 64] {
        assert_eq!(first_revision("202 Accepted", &answer, step), whole, "in steps of {step}");
    }
    expect![[r#"
        /sse wire.client.initialize initialize by desk, revision 2025-11-25
        /sse wire.client.message-path a session in the query of a POST
        /sse wire.server.endpoint-event answers on its stream what was asked at the address it gave there
        /sse wire.server.endpoint-offer an event stream that begins with the address for messages
        /sse wire.server.initialize-result an answer to initialize by everything 2.0, 2025-11-25
    "#]]
    .assert_eq(&whole);
}

#[test]
fn a_session_in_the_path_of_the_address_is_one_as_well() {
    let answer = format!("event: message\r\ndata: {INITIALIZED}\r\n\r\n");
    let path = "/mcp/messages/9f31c0de";
    let heard = at_door([path, path], "202 Accepted", &answer, usize::MAX);
    expect![[r#"
        /sse wire.client.initialize initialize by desk, revision 2025-11-25
        /sse wire.client.message-path a POST to the address that a stream gave
        /sse wire.server.endpoint-event answers on its stream what was asked at the address it gave there
        /sse wire.server.initialize-result an answer to initialize by everything 2.0, 2025-11-25
    "#]]
    .assert_eq(&heard);
    assert_eq!(at_door(["http://tools:8080/mcp/messages/9f31c0de", path], "202 Accepted", &answer, 7), heard);
    // Another's address, and one that leads nowhere.
    assert!(!at_door([path, "/mcp/messages/other"], "202 Accepted", &answer, usize::MAX).contains("wire.client.message-path"));
    assert_eq!(at_door([path, path], "404 Not Found", "event: tick\r\ndata: 1\r\n\r\n", usize::MAX), "");
}

#[test]
fn a_stream_that_only_offers_an_address_is_no_server() {
    let offer = "/sse wire.server.endpoint-offer an event stream that begins with the address for messages\n";
    for refused in ["404 Not Found", "200 OK", "202 Accepted"] {
        assert_eq!(first_revision(refused, "event: tick\r\ndata: 1\r\n\r\n", usize::MAX), offer, "{refused}");
    }
}

#[test]
fn a_batch_is_several_messages() {
    let ask = post(r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":"1","method":"prompts/list"}]"#);
    let answer = json(
        r#"[{"jsonrpc":"2.0","id":"1","result":{"prompts":[{"name":"p"}]}},{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"add","inputSchema":{"type":"object"}}]}}]"#,
    );
    check(
        &[ask, answer],
        expect![[r#"
            /mcp wire.client.accept-pair application/json and text/event-stream
            /mcp wire.client.method tools/list
            /mcp wire.server.list-result an answer to prompts/list
            /mcp wire.server.tools-result an answer to tools/list, tools add
        "#]],
    );
}

#[test]
fn ids_of_any_kind_and_keys_in_any_order() {
    for id in ["0", "-7", "\"text\"", "9007199254740993", "18446744073709551615", "123456789012345678901234567890", "1.5", "\"\\u00e9\""] {
        let ask = post(&format!(
            r#"{{"params":{{"name":"add","arguments":{{"secret":"hunter2"}}}},"method":"tools\/call","id":{id},"jsonrpc":"2.0"}}"#
        ));
        let answer = json(&format!(
            "\u{feff} {{\n \"result\": {{\"content\":[{{\"text\":\"hunter2\",\"type\":\"text\"}}]}},\n \"id\": {id}, \"jsonrpc\": \"2.0\"}}\n"
        ));
        let heard = listen(&[(&[ask, answer], Some(End::Low))], 5);
        assert!(heard.contains("wire.server.call-result an answer to tools/call, tools add"), "{id}: {heard}");
        assert!(!heard.contains("hunter2"), "arguments and results are not kept");
    }
}

#[test]
fn an_answer_to_another_question_is_none() {
    let heard = listen(&[(&[post(INITIALIZE), json(&INITIALIZED.replace(r#""id":0"#, r#""id":1"#))], Some(End::Low))], usize::MAX);
    assert_eq!(heard, "");
}

#[test]
fn a_refused_attempt_is_no_server() {
    for (status, body) in [
        ("404 Not Found", "no"),
        ("405 Method Not Allowed", ""),
        ("400 Bad Request", r#"{"error":"bad"}"#),
        ("200 OK", "<html>hello</html>"),
    ] {
        let heard = listen(
            &[(&[post(INITIALIZE), server(http(&format!("HTTP/1.1 {status}\nContent-Type: application/json"), body))], Some(End::Low))],
            usize::MAX,
        );
        assert_eq!(heard, "", "{status}");
    }
}

#[test]
fn sdk_refusals_and_modern_errors_speak_for_themselves() {
    let refuse = |status: &str, body: &str| server(http(&format!("HTTP/1.1 {status}\nContent-Type: application/json"), body));
    let cases = [
        (
            refuse(
                "400 Bad Request",
                r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#,
            ),
            "wire.server.sdk-error",
        ),
        (
            refuse(
                "400 Bad Request",
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#,
            ),
            "wire.server.sdk-error",
        ),
        (
            refuse(
                "400 Bad Request",
                r#"{"error":{"code":-32022,"message":"Unsupported protocol version: 2025-11-25","data":{"supported":["2026-07-28"],"requested":"2025-11-25"}},"jsonrpc":"2.0","id":0}"#,
            ),
            "wire.server.modern-error",
        ),
    ];
    for (answer, signature) in cases {
        let heard = listen(&[(&[post(INITIALIZE), answer], Some(End::Low))], 3);
        assert!(heard.contains(signature), "{signature}: {heard}");
    }
}

#[test]
fn what_an_error_quotes_is_not_kept() {
    let said =
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"Bad Request: Missing session ID, not 4f9c2e7a81d34c0b for bob"}}"#;
    let heard =
        listen(&[(&[post(INITIALIZE), server(http("HTTP/1.1 400 Bad Request\nContent-Type: application/json", said))], Some(End::Low))], 9);
    assert!(heard.contains("error -32600: Bad Request: Missing session ID, not … for bob"), "{heard}");
}

#[test]
fn look_alikes_are_left_alone() {
    let lsp = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"processId":1,"rootUri":"file:///x","capabilities":{}}}"#;
    let lsp_answer =
        r#"{"jsonrpc":"2.0","id":0,"result":{"capabilities":{"hoverProvider":true},"serverInfo":{"name":"pylsp","version":"1"}}}"#;
    let framed = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let call = |method: &str, result: &str| {
        vec![
            post(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#)),
            json(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)),
        ]
    };
    let get = |answer: Turn| vec![client("GET /mcp/example.json HTTP/1.1\r\nHost: docs\r\n\r\n"), answer];
    let cases: Vec<(&str, Vec<Turn>)> = vec![
        ("LSP over TCP", vec![client(framed(lsp)), server(framed(lsp_answer))]),
        ("LSP over HTTP", vec![post(lsp), json(lsp_answer)]),
        (
            "ACP, whose protocolVersion is a number",
            vec![
                post(&lsp.replace("\"processId\":1", "\"protocolVersion\":1")),
                json(r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1,"agentCapabilities":{}}}"#),
            ],
        ),
        ("A2A tasks", call("tasks/get", r#"{"id":"t","status":{"state":"completed"}}"#)),
        ("A2A messages", call("message/send", r#"{"kind":"message","parts":[{"kind":"text","text":"tools/list"}]}"#)),
        ("Ethereum", call("eth_chainId", r#""0x1""#)),
        ("tools/list that is a list", call("tools/list", r#"["hammer"]"#)),
        ("a page of the specification", get(server(http("HTTP/1.1 200 OK\nContent-Type: text/html", format!("<pre>{INITIALIZED}</pre>"))))),
        ("an example as a file", get(json(INITIALIZED))),
        ("an echo of the request", vec![post(INITIALIZE), json(INITIALIZE)]),
        (
            "a plain event stream",
            get(chunked(EVENTS, b"event: tick\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{}}\n\n", 50)),
        ),
        (
            "GraphQL over events",
            vec![
                post(r#"{"query":"subscription { tools }"}"#),
                chunked(EVENTS, b"event: next\ndata: {\"data\":{\"tools\":[{\"name\":\"a\",\"inputSchema\":{}}]}}\n\n", 20),
            ],
        ),
        (
            "a language model that quotes MCP",
            vec![
                post(r#"{"model":"m","stream":true,"messages":[]}"#),
                chunked(
                    EVENTS,
                    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{INITIALIZED:?}}}}}]}}\n\ndata: [DONE]\n\n").as_bytes(),
                    33,
                ),
            ],
        ),
        (
            "a stream that lists tools to nobody's question",
            get(chunked(
                EVENTS,
                b"data: {\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"tools\":[{\"name\":\"a\",\"inputSchema\":{}}]}}\n\n",
                99,
            )),
        ),
    ];
    for (name, turns) in cases {
        for step in [1, usize::MAX] {
            assert_eq!(listen(&[(&turns, Some(End::Low))], step), "", "{name}");
        }
    }
}

#[test]
fn lines_over_tcp() {
    let turns = [
        client(format!("{INITIALIZE}\n")),
        server(format!("{INITIALIZED}\n")),
        client("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"),
    ];
    check(
        &turns,
        expect![[r#"
            - wire.client.established initialized, after initialize was answered
            - wire.client.initialize initialize by desk, revision 2025-11-25
            - wire.client.method notifications/initialized
            - wire.server.initialize-result an answer to initialize by everything 2.0, 2025-11-25
        "#]],
    );
}

fn frame(mask: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first, 126 | if mask { 0x80 } else { 0 }];
    out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    let key = [1, 2, 3, 4];
    if mask {
        out.extend(key);
        out.extend(payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]));
    } else {
        out.extend(payload);
    }
    out
}

#[test]
fn web_sockets_plain_in_parts_and_compressed() {
    let upgrade = client("GET /ws HTTP/1.1\r\nHost: tools\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let agree = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let (a, b) = INITIALIZED.split_at(40);
    let parts = [frame(false, 0x01, a.as_bytes()), frame(false, 0x89, b"ping"), frame(false, 0x80, b.as_bytes())].concat();
    let mut deflated = Vec::with_capacity(4096);
    flate2::Compress::new(flate2::Compression::default(), false)
        .compress_vec(INITIALIZED.as_bytes(), &mut deflated, flate2::FlushCompress::Sync)
        .unwrap();
    deflated.truncate(deflated.len() - 4);
    let plain = [
        upgrade.clone(),
        server([format!("{agree}\r\n").as_bytes(), &frame(false, 0x89, b"hi")].concat()),
        client(frame(true, 0x81, INITIALIZE.as_bytes())),
        server(parts),
    ];
    check(
        &plain,
        expect![[r#"
            /ws wire.client.initialize initialize by desk, revision 2025-11-25
            /ws wire.server.initialize-result an answer to initialize by everything 2.0, 2025-11-25
        "#]],
    );
    let compressed = [
        upgrade,
        server(format!("{agree}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")),
        client(frame(true, 0x81, INITIALIZE.as_bytes())),
        server(frame(false, 0xc1, &deflated)),
    ];
    assert_eq!(listen(&[(&compressed, Some(End::Low))], 3), listen(&[(&plain, Some(End::Low))], 3));
}

#[test]
fn a_web_socket_is_joined_where_a_segment_begins_with_a_message() {
    let answer = listen(&[(&[server(frame(false, 0x81, INITIALIZED.as_bytes()))], None)], usize::MAX);
    assert!(answer.contains("wire.server.initialize-result"), "{answer}");
    let asked = [client(frame(true, 0x81, INITIALIZE.as_bytes())), server(frame(false, 0x81, INITIALIZED.as_bytes()))];
    let heard = listen(&[(&asked, None)], usize::MAX);
    assert!(heard.contains("an answer to initialize by everything"), "{heard}");
    for other in [&b"{\"jsonrpc\""[..], b"\x81\x05hello", b"\x81\x02{}", b"\x82\x0ba\"a\":true}", b"\x81\x7f\xff"] {
        assert_eq!(super::websocket::joins(other), None, "{other:?}");
    }
}

#[test]
fn programs_on_one_host_count_alike_and_answer_for_themselves_only() {
    let list = post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let content = json(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"12"}]}}"#);
    let connections = [(&[post(INITIALIZE), json(INITIALIZED), list][..], Some(End::Low)), (&[content][..], None)];
    let heard = listen(&connections, usize::MAX);
    assert!(heard.contains("wire.server.unasked-result") && !heard.contains("against"), "{heard}");
}

#[test]
fn a_conversation_told_by_one_side_is_a_recording() {
    let listed = r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"a","inputSchema":{}}]}}"#;
    let lines = |lines: &[&str]| server(lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    let whole = [lines(&[INITIALIZE, INITIALIZED, initialized, list, listed])];
    assert_eq!(listen(&[(&whole, Some(End::Low)), (&whole, None)], 7), "");
    let joined = listen(&[(&[lines(&[INITIALIZED, initialized, list, listed])], None)], usize::MAX);
    assert!(joined.contains("wire.server.against-jsonrpc") && !joined.contains("tools-result"), "{joined}");
}

#[test]
fn what_only_comes_back_is_no_answer() {
    let params = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"p","version":"0"}}}"#;
    let ask = post(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{params}}}"#));
    let echo = json(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{params}}}"#));
    assert_eq!(listen(&[(&[ask, echo.clone()], Some(End::Low)), (&[echo], None)], usize::MAX), "");
    // Fetched, not asked; and versions that are dates since before MCP was.
    let fetch = client("GET /examples/initialize.json HTTP/1.1\r\nHost: docs\r\n\r\n");
    assert_eq!(listen(&[(&[fetch, json(INITIALIZED)], Some(End::Low))], usize::MAX), "");
    let dated = INITIALIZED.replace("2025-11-25", "2023-05-01");
    assert_eq!(listen(&[(&[post(INITIALIZE), json(&dated)], Some(End::Low))], usize::MAX), "");
}

#[test]
fn a_head_that_the_capture_cuts_says_what_is_left_of_it() {
    let (mut world, at) = (World::default(), Moment::new(1_700_000_000, 0));
    let (mut talk, peers) = (Talk::default(), peers(4000, Some(End::Low)));
    talk.bytes(
        End::Low,
        b"POST /x HTTP/1.1\r\nHost: tools\r\nmcp-method: tools/list\r\nmcp-pro",
        &mut Context { now: at, peers: &peers, world: &mut world },
    );
    talk.gap(End::Low, 300, &mut Context { now: at, peers: &peers, world: &mut world });
    talk.bytes(
        End::High,
        b"HTTP/1.1 200 OK\r\nMcp-Session-Id: 0123\r\nDate: Th",
        &mut Context { now: at, peers: &peers, world: &mut world },
    );
    talk.gap(End::High, 900, &mut Context { now: at, peers: &peers, world: &mut world });
    talk.bytes(
        End::Low,
        b"DELETE /x HTTP/1.1\r\nHost: tools\r\nmcp-session-id: 0123\r\n\r\n",
        &mut Context { now: at, peers: &peers, world: &mut world },
    );
    talk.closed(&mut Context { now: at, peers: &peers, world: &mut world });
    let signatures: Vec<String> = world.told().map(|e| e.signature).collect();
    assert_eq!(signatures, ["wire.server.session-header", "wire.client.method-header", "wire.client.session-header"]);
}

#[test]
fn pipelined_requests_heads_without_bodies_and_tunnels() {
    let turns = [
        client("CONNECT tools.corp.example:3001 HTTP/1.1\r\nHost: tools.corp.example:3001\r\n\r\n"),
        server("HTTP/1.1 200 Connection established\r\n\r\n"),
        Turn(End::Low, [&b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n"[..], &post(INITIALIZE).1].concat()),
        Turn(
            End::High,
            [
                &b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"[..],
                &json(INITIALIZED).1,
            ]
            .concat(),
        ),
    ];
    let heard = listen(&[(&turns, Some(End::Low))], 11);
    assert!(heard.contains("/mcp wire.server.initialize-result"), "{heard}");
}

#[test]
fn heads_and_lines_that_never_end_fill_no_more_than_their_room() {
    use crate::{
        decode::{Cut, Segment},
        flow::{Bounds, Table},
    };
    let bounds = Bounds { buffered_bytes: 1 << 20, ..Bounds::default() };
    let (mut table, mut world) = (Table::<Talk>::new(bounds), World::default());
    let server = Endpoint::new([10, 0, 0, 2].into(), 80);
    let filler = vec![b'a'; 1400];
    let starts: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nX: ",
        b"{\"jsonrpc\": \"",
        b"\x16\x03\x01\x3f\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff\x01\x00\x00\x00\x00\x01",
    ];
    for n in 0..400u16 {
        let client = Endpoint::new([10, 0, 0, 1].into(), 1024 + n);
        let mut sequence = 1u32;
        for part in 0..30 {
            let bytes = if part == 0 { starts[usize::from(n) % 4] } else { &filler };
            let payload = Cut { bytes, missing: 0 };
            let at = Moment::new(1_700_000_000, 0);
            let segment = Segment {
                urgent: false,
                source_port: client.port,
                destination_port: 80,
                sequence,
                acknowledgment: None,
                syn: false,
                fin: false,
                rst: false,
                payload,
            };
            table.segment(client, server, &segment, at, &mut world);
            sequence += bytes.len() as u32;
            assert!(table.buffered_bytes() <= 1 << 20);
        }
    }
    assert!(table.lost().buffers_full > 0, "the bound was reached");
    assert!(table.len() > 8);
}

#[test]
fn only_one_side_in_the_capture() {
    let answers = [json(INITIALIZED)];
    assert!(listen(&[(&answers, Some(End::Low))], 2).contains("wire.server.unasked-result an answer whose question was not seen"));
    let file = [server(http("HTTP/1.1 200 OK\nContent-Type: application/json\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT", INITIALIZED))];
    assert_eq!(listen(&[(&file, None)], 2), "", "a stored file is no answer");
    let middle = [server("7f\r\nevent: message\r\ndata: {\"method\":\"notifications/tools/list_changed\",\"jsonrpc\":\"2.0\"}\r\n\r\n")];
    assert!(listen(&[(&middle, None)], usize::MAX).contains("wire.server.notification"));
}

#[test]
fn after_a_loss_it_finds_its_way_back() {
    let mut world = World::default();
    let at = Moment::new(1_700_000_000, 0);
    let peers = peers(4000, Some(End::Low));
    let mut talk = Talk::default();
    talk.bytes(End::Low, b"POST /mcp HTTP/1.1\r\nHost: too", &mut Context { now: at, peers: &peers, world: &mut world });
    talk.gap(End::Low, 700, &mut Context { now: at, peers: &peers, world: &mut world });
    talk.bytes(End::High, &json(r#"{"a":1}"#).1[..60], &mut Context { now: at, peers: &peers, world: &mut world });
    talk.gap(End::High, 90, &mut Context { now: at, peers: &peers, world: &mut world });
    talk.bytes(End::Low, &post(INITIALIZE).1, &mut Context { now: at, peers: &peers, world: &mut world });
    talk.bytes(End::High, &json(INITIALIZED).1, &mut Context { now: at, peers: &peers, world: &mut world });
    assert!(world.told().any(|e| e.signature == "wire.server.initialize-result"));
}

/// What the client of a TLS connection and, in TLS 1.2, its server say in the clear.
fn secret(name: &str, ciphers: &[u16], certificate: Option<&[&str]>) -> Vec<Turn> {
    let mut turns = vec![client(records(&hello_to(name, ciphers), 300))];
    if let Some(names) = certificate {
        let server_hello = [&[2, 0, 0, 38, 3, 3][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
        turns.push(server(records(&[server_hello, certificate_for(names)].concat(), 1000)));
    }
    turns.push(client([0x17, 3, 3, 0, 3, 1, 2, 3]));
    turns
}

/// What is heard when only these turns, all of one end, are in the capture.
fn hear_one_side(turns: &[Turn]) -> String {
    let (mut world, at, mut talk) = (World::default(), Moment::new(1_700_000_000, 0), Talk::default());
    let mut peers = peers(4000, Some(End::Low));
    peers.seen = Both { low: turns[0].0 == End::Low, high: turns[0].0 == End::High };
    turns.iter().for_each(|Turn(from, bytes)| talk.bytes(*from, bytes, &mut Context { now: at, peers: &peers, world: &mut world }));
    talk.closed(&mut Context { now: at, peers: &peers, world: &mut world });
    world.told().map(|e| format!("{} {} {}\n", e.place.path.unwrap_or_default(), e.signature, e.detail)).collect()
}

#[test]
fn a_tunnel_is_followed_from_either_side() {
    let connect = client("CONNECT tools.corp.example:3001 HTTP/1.1\r\nHost: tools.corp.example:3001\r\n\r\n");
    let session = client(http(
        "POST /mcp HTTP/1.1\nHost: x\nMcp-Session-Id: 0123456789",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    ));
    let asked = hear_one_side(&[connect.clone(), post(INITIALIZE), session]);
    assert!(asked.contains("/mcp wire.client.established"), "{asked}");
    let given = server(http("HTTP/1.1 200 OK\nContent-Type: application/json\nMcp-Session-Id: 0123456789", INITIALIZED));
    for yes in ["HTTP/1.1 200 Connection established\r\n\r\n", "HTTP/1.0 200 OK\r\nVia: x\r\n\r\n"] {
        let told = hear_one_side(&[server(yes), given.clone()]);
        assert!(told.contains("wire.server.session-header"), "{told}");
    }
    let hello = secret("mcp.corp.example", &NODE, None).remove(0);
    assert!(hear_one_side(&[connect, hello]).contains("wire.context.tls-name"));
    // Without a type, and until the end: a text that somebody serves.
    let text = hear_one_side(&[server("HTTP/1.0 200 OK\r\n\r\n"), server(INITIALIZED)]);
    assert!(!text.contains("initialize-result"), "{text}");
}

#[test]
fn what_a_short_snap_length_leaves_of_a_body_counts_as_far_as_it_goes() {
    let (mut world, at) = (World::default(), Moment::new(1_700_000_000, 0));
    let (mut talk, peers) = (Talk::default(), peers(4000, Some(End::Low)));
    let mut cut = |from: End, bytes: &[u8]| {
        let kept = bytes.len().min(190);
        talk.bytes(from, &bytes[..kept], &mut Context { now: at, peers: &peers, world: &mut world });
        if kept < bytes.len() {
            talk.gap(from, bytes.len() - kept, &mut Context { now: at, peers: &peers, world: &mut world });
        }
    };
    let padding = "x".repeat(300);
    cut(End::Low, format!("POST /mcp HTTP/1.1\r\nHost: tools\r\nX: {padding}\r\n\r\n").as_bytes());
    cut(End::Low, INITIALIZE.replace("\"jsonrpc\"", &format!("\"x\":\"{padding}\",\"jsonrpc\"")).as_bytes());
    let answer = INITIALIZED.replace("\"jsonrpc\"", &format!("\"x\":\"{padding}\",\"jsonrpc\""));
    cut(End::High, format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len()).as_bytes());
    cut(End::High, answer.as_bytes());
    talk.closed(&mut Context { now: at, peers: &peers, world: &mut world });
    let signatures: BTreeSet<String> = world.told().map(|e| e.signature).collect();
    for signature in ["wire.client.initialize", "wire.server.initialize-result"] {
        assert!(signatures.contains(signature), "{signatures:?}");
    }
}

#[test]
fn a_compressed_web_socket_is_joined_too() {
    let mut deflate = flate2::Compress::new(flate2::Compression::default(), false);
    let mut compressed = |text: &str| {
        let mut out = Vec::with_capacity(1 << 16);
        deflate.compress_vec(text.as_bytes(), &mut out, flate2::FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        server(frame(false, 0xc1, &out))
    };
    // Nothing to refer back to, and far more text than bytes.
    let tools = (0..200).map(|n| format!(r#"{{"name":"tool{n}","inputSchema":{{"type":"object"}}}}"#)).collect::<Vec<_>>().join(",");
    let list = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#);
    let first = compressed(&list);
    assert!(listen(&[(&[first], None)], usize::MAX).contains("wire.server.tools-result"));
    // The second refers back to the first, which is missing: what is new in it shows that it is worth to ask.
    let second =
        compressed(&list.replace("tools", "prompts").replace("2.0\",\"id\":1", "2.0\",\"id\":2,\"inputSchema\":\"protocolVersion\""));
    let heard = listen(&[(&[second], None)], usize::MAX);
    assert!(heard.contains("wire.context.truncated") && !heard.contains("wire.server"), "{heard}");
    for other in [&b"\xc1\x05hello"[..], b"\xc1\x00", b"\xc1\x7e\x00", b"\xc1\x85"] {
        assert_eq!(super::websocket::joins(other), None, "{other:?}");
    }
}

#[test]
fn hellos_only_nominate_and_a_program_alone_not_even_that() {
    check(
        &secret("mcp.corp.example", &[0x1301], None),
        expect![[r#"
            - wire.context.tls-name TLS to mcp.corp.example, offering http/1.1, by JA4 t12d0102h1_0f2cb44170f4_000000000000
        "#]],
    );
    // Port 3001 agrees with what MCP clients are built on.
    check(
        &secret("wiki.corp.example", &NODE, None),
        expect![[r#"
        - wire.context.tls-program TLS wiki.corp.example by Node.js, JA4 t12d5202h1_b262b3658495_000000000000; a port MCP servers often use
    "#]],
    );
    check(&secret("wiki.corp.example", &[0x1301], None), expect![[""]]);
    let elsewhere = |name: &str, world: &mut World| {
        let mut talk = Talk::default();
        let mut peers = peers(4000, Some(End::Low));
        peers.ends.high.port = 443;
        let at = Moment::new(1_700_000_000, 0);
        talk.bytes(End::Low, &records(&hello_to(name, &NODE), 4096), &mut Context { now: at, peers: &peers, world });
        world.told().map(|e| e.signature).collect::<Vec<_>>()
    };
    let mut world = World::default();
    assert_eq!(elsewhere("wiki.corp.example", &mut world), [""; 0], "a program alone");
    assert_eq!(elsewhere("agents.corp.example", &mut world), ["wire.context.tls-program"], "and a name");
}

#[test]
fn a_certificate_in_the_clear_nominates_by_its_name() {
    let seen = listen(&[(&secret("", &[0x1301], Some(&["git-mcp.corp.example"])), Some(End::Low))], 1);
    assert!(seen.contains("wire.context.certificate CN=Warehouse") && seen.contains("git-mcp.corp.example, expires 2031-05-01"), "{seen}");
    assert_eq!(listen(&[(&secret("", &[0x1301], Some(&["git.corp.example"])), Some(End::Low))], 1), "");
    // Only the server's side is in the capture.
    let answers = &secret("", &[0x1301], Some(&["git-mcp.corp.example"]))[1..2];
    assert!(listen(&[(answers, None)], usize::MAX).contains("wire.context.certificate"));
}

#[test]
fn name_service_in_secret_is_counted() {
    let mut world = World::default();
    for (name, port) in [("", 853), ("dns.google", 443), ("x.dns.nextdns.io", 443), ("notdns.google", 443)] {
        let mut peers = peers(4000, Some(End::Low));
        peers.ends.high.port = port;
        Talk::default().bytes(
            End::Low,
            &records(&hello_to(name, &NODE), 4096),
            &mut Context { now: Moment::new(1, 0), peers: &peers, world: &mut world },
        );
    }
    assert_eq!(world.lost().iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(), [("dns-over-https", 2), ("dns-over-tls", 1)]);
}

#[test]
fn a_server_does_not_hide_behind_what_is_wrong_with_its_head() {
    let head = "HTTP/1.1 200 \u{1b}[2J\nServer: \u{1b}]0;x\u{7}\nbroken\nContent-Type: application/json";
    let heard = listen(&[(&[post(INITIALIZE), server(http(head, INITIALIZED))], Some(End::Low))], 5);
    assert!(heard.contains("wire.server.initialize-result"), "{heard}");
}

/// A port says nothing of what is spoken there, and servers read on over empty lines.
#[test]
fn mcp_at_the_port_of_dns_and_after_empty_lines() {
    let with = |before: &[u8], turn: Turn| Turn(turn.0, [before, &turn.1].concat());
    let plain = [post(INITIALIZE), json(INITIALIZED)];
    let expected = listen(&[(&plain, Some(End::Low))], usize::MAX);
    assert!(expected.contains("wire.server.initialize-result"), "{expected}");
    for blank in [&b"\r\n"[..], b"\n\n", b"\r\n\r\n\r\n\r\n\r\n"] {
        let turns = plain.clone().map(|turn| with(blank, turn));
        for step in [usize::MAX, 64, 7, 1] {
            assert_eq!(listen(&[(&turns, Some(End::Low))], step), expected, "{blank:?} in steps of {step}");
        }
    }
    let raw = [client(format!("{INITIALIZE}\n")), server(format!("{INITIALIZED}\n"))];
    for (client_port, server_port) in [(4000, 53), (53, 3001)] {
        for turns in [&plain[..], &raw] {
            let mut world = World::default();
            let mut peers = peers(client_port, Some(End::Low));
            peers.ends.high.port = server_port;
            let (mut talk, at) = (Talk::default(), Moment::new(1_700_000_000, 0));
            // Joined in the middle of something.
            talk.bytes(End::High, b"the rest of an answer", &mut Context { now: at, peers: &peers, world: &mut world });
            turns.iter().for_each(|Turn(from, bytes)| talk.bytes(*from, bytes, &mut Context { now: at, peers: &peers, world: &mut world }));
            let signatures: Vec<String> = world.told().map(|e| e.signature).collect();
            assert!(signatures.iter().any(|m| m == "wire.server.initialize-result"), "{client_port} {server_port} {signatures:?}");
        }
    }
}

/// Lines that nobody asks for are shipped; a sink says 202 to everything.
#[test]
fn logs_of_mcp_and_sinks_are_no_servers() {
    let listed = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}"#;
    let shipped = [server(format!("{INITIALIZED}\n")), server(format!("{listed}\n"))];
    let heard = listen(&[(&shipped, None)], usize::MAX);
    assert!(heard.contains("wire.server.against-jsonrpc"), "{heard}");
    let asked = [
        server(format!("{INITIALIZED}\n")),
        client("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n"),
        server(format!("{listed}\n")),
    ];
    assert!(!listen(&[(&asked, None)], usize::MAX).contains("against"));
    let sink = || server("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    let notice = || post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let heard = listen(&[(&[post(INITIALIZE), sink(), notice(), sink()], Some(End::Low))], usize::MAX);
    assert!(!heard.contains("wire.server."), "{heard}");
}

/// Python reads UTF-16, so a server may answer in it.
#[test]
fn an_answer_in_utf16_is_heard_however_it_is_cut() {
    for (signature, unit) in
        [(None, u16::to_be_bytes as fn(u16) -> [u8; 2]), (Some(0xfeff), u16::to_le_bytes), (Some(0xfeff), u16::to_be_bytes)]
    {
        let body: Vec<u8> = signature.into_iter().chain(INITIALIZED.encode_utf16()).flat_map(unit).collect();
        let turns = [post(INITIALIZE), server(http("HTTP/1.1 200 OK\nContent-Type: application/json", body))];
        for step in [usize::MAX, 7, 1] {
            let heard = listen(&[(&turns, Some(End::Low))], step);
            assert!(heard.contains("wire.server.initialize-result"), "{signature:?} in steps of {step}: {heard}");
        }
    }
}
