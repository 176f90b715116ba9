//! Secrets planted wherever a conversation can carry them: none of them is in anything the sensor says.

mod tamper;

use etherparse::TcpHeader;
use sensor::{decode::Link, flow::Bounds, moment::Moment, watch::Watch};
use std::{collections::BTreeSet, net::Ipv4Addr};
use tamper::Segment;

/// What must not come out: one word, so that a part of it is found too.
const PLANTED: &str = "hunter2";

fn talk(turns: &[(bool, String)]) -> String {
    let ends = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
    let mut next = [101u32, 901];
    let mut watch = Watch::new(Bounds::default());
    let mut send = |by_server: bool, syn: bool, payload: &[u8], next: &mut [u32; 2]| {
        let (own, other) = if by_server { (1, 0) } else { (0, 1) };
        let ports = [4000, 3001];
        let mut header = TcpHeader::new(ports[own], ports[other], next[own], 64_000);
        (header.syn, header.ack, header.acknowledgment_number) = (syn, !syn, next[other]);
        if syn {
            header.sequence_number -= 1;
        }
        let at = Moment::new(1_700_000_000, 0);
        let packet = Segment { ends: [ends[own], ends[other]], header, payload: payload.to_vec(), at }.packet();
        watch.frame(Link::Raw, &packet, packet.len(), at);
        next[own] += u32::try_from(payload.len()).unwrap();
    };
    send(false, true, b"", &mut next);
    for (by_server, text) in turns {
        send(*by_server, false, text.as_bytes(), &mut next);
    }
    watch.finish();
    let evidence: Vec<_> = watch.evidence().collect();
    let coverage = watch.coverage("tap");
    format!("{} {coverage:?}", serde_json::to_string(&evidence).unwrap())
}

fn ask(headers: &str, body: &str) -> (bool, String) {
    let length = body.len();
    let head = format!("POST /mcp?token={PLANTED}-query#{PLANTED} HTTP/1.1\r\nHost: {PLANTED}:{PLANTED}@tools.corp.example:3001");
    (
        false,
        format!(
            "{head}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn answer(headers: &str, body: &str) -> (bool, String) {
    (true, format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
}

fn conversation(auth: &str) -> Vec<(bool, String)> {
    let secret = |name: &str| format!("{name}: {PLANTED}\r\n");
    let headers =
        [auth, &secret("Cookie"), &secret("X-Session"), &secret("Referer"), &secret("Mcp-Session-Id"), &secret("Last-Event-ID")].concat();
    let initialize = r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"experimental":{"hunter2":{}}},"clientInfo":{"name":"desk","version":"1"},"_meta":{"key":"hunter2"}},"jsonrpc":"2.0","id":"hunter2"}"#;
    let result = r#"{"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"files","version":"2"},"instructions":"say hunter2"},"jsonrpc":"2.0","id":"hunter2"}"#;
    let list = r#"{"result":{"tools":[{"name":"login","description":"use hunter2","inputSchema":{"type":"object","properties":{"password":{"default":"hunter2"}}}}],"nextCursor":"hunter2"},"jsonrpc":"2.0","id":2}"#;
    let call = r#"{"method":"tools/call","params":{"name":"login","arguments":{"password":"hunter2"},"_meta":{"progressToken":"hunter2"}},"jsonrpc":"2.0","id":3}"#;
    let called = r#"{"result":{"content":[{"type":"text","text":"logged in with hunter2"}],"structuredContent":{"token":"hunter2"}},"jsonrpc":"2.0","id":3}"#;
    let read = r#"{"method":"resources/read","params":{"uri":"file:///home/hunter2"},"jsonrpc":"2.0","id":4}"#;
    let refused = r#"{"error":{"code":-32602,"message":"hunter2 is wrong","data":{"token":"hunter2"}},"jsonrpc":"2.0","id":4}"#;
    let set = "Mcp-Session-Id: hunter2\r\nSet-Cookie: s=hunter2\r\n";
    vec![
        ask(&headers, initialize),
        answer(set, result),
        ask(&headers, r#"{"method":"tools/list","jsonrpc":"2.0","id":2}"#),
        answer("", list),
        ask(&headers, call),
        answer("", called),
        ask(&headers, read),
        answer("", refused),
    ]
}

#[test]
fn nothing_planted_comes_out() {
    let mut kinds = BTreeSet::new();
    for auth in [
        format!("Authorization: Bearer {PLANTED}\r\n"),
        format!("Authorization: Basic {PLANTED}\r\n"),
        format!("Authorization: {PLANTED}\r\n"),
        format!("X-Api-Key: {PLANTED}\r\nProxy-Authorization: {PLANTED}\r\n"),
        String::new(),
    ] {
        let said = talk(&conversation(&auth));
        assert!(said.contains("wire.server.initialize-result") && said.contains("login"), "the instrument: {said}");
        assert!(!said.to_lowercase().contains(PLANTED), "{said}");
        kinds.extend(["bearer", "basic", "api-key"].into_iter().filter(|kind| said.contains(&format!("\"auth\":\"{kind}\""))));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["api-key", "basic", "bearer"], "the scheme is kept, and no more");
}

#[test]
fn nor_what_a_stream_gives_as_its_session() {
    let event = "event: endpoint\r\ndata: /messages/?session_id=hunter2\r\n\r\n";
    let stream = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{event}");
    let open = "GET /sse?key=hunter2 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer hunter2\r\n\r\n".to_owned();
    let said = talk(&[(false, open), (true, stream)]);
    assert!(said.contains("wire.server.endpoint-"), "the instrument: {said}");
    assert!(!said.contains(PLANTED), "{said}");
}
