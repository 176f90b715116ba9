//! Traffic that is not MCP, made up at random from all that resembles it, both sides of it or one: nothing may be more than a candidate.
//!
//! `QUIET=1000000 cargo test --release -p sensor --test quiet` goes through a million transactions; `QUIET_SEED` elsewhere.

use rules::{
    confidence::Confidence,
    endpoint::{Endpoint, Place},
    pack::Pack,
    server::Server,
};
use sensor::{
    dissect::{Context, Talk, mcp::World},
    flow::{Both, Conversation, End, Peers},
    moment::Moment,
};
use std::collections::BTreeMap;

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Words of MCP, as others use them too.
const WORDS: [&str; 12] = [
    "mcp",
    "tools/list",
    "tools/call",
    "initialize",
    "jsonrpc",
    "protocolVersion",
    "serverInfo",
    "inputSchema",
    "2025-11-25",
    "Mcp-Session-Id",
    "resultType",
    "notifications/initialized",
];
const METHODS: [&str; 17] = [
    "tools/call",
    "notifications/initialized",
    "completion/complete",
    "eth_call",
    "net_version",
    "aria2.tellActive",
    "message/send",
    "tasks/get",
    "ping",
    "initialize",
    "textDocument/hover",
    "session/new",
    "JSONRPC.Ping",
    "tools.list",
    "tools/list",
    "user.login",
    "shutdown",
];
const ERRORS: [&str; 5] =
    ["Method not found", "session not found", "Server not initialized", "Unsupported protocol version", "Invalid params"];
const PATHS: [&str; 9] = [
    "/",
    "/mcp",
    "/sse",
    "/api/v1/items",
    "/v1/chat/completions",
    "/jsonrpc",
    "/mcp/tools",
    "/messages/?session_id=0123456789abcdef",
    "/graphql",
];

/// A value that no revision of MCP gives as a result.
fn result(chance: &mut Chance) -> String {
    let word = chance.of(&WORDS);
    match chance.below(8) {
        0 => "\"0x10\"".to_owned(),
        1 => format!("[\"{word}\",1,null]"),
        2 => format!("{{\"capabilities\":{{}},\"serverInfo\":{{\"name\":\"{word}\",\"version\":\"1\"}}}}"),
        3 => format!("{{\"protocolVersion\":{},\"agentCapabilities\":{{}}}}", chance.below(3)),
        4 => format!("{{\"kind\":\"message\",\"parts\":[{{\"kind\":\"text\",\"text\":\"{word}\"}}]}}"),
        5 => format!("{{\"tools\":[{{\"name\":\"{word}\",\"parameters\":{{}}}}]}}"),
        6 => "null".to_owned(),
        _ => format!("{{\"status\":\"{word}\",\"items\":[]}}"),
    }
}

fn request(chance: &mut Chance, id: usize) -> Vec<u8> {
    let path = chance.of(&PATHS);
    let word = chance.of(&WORDS);
    let body = match chance.below(6) {
        0 => {
            return format!(
                "GET {path} HTTP/1.1\r\nHost: app.corp.example\r\nAccept: {}\r\n\r\n",
                chance.of(&["*/*", "text/event-stream", "text/html"])
            )
            .into_bytes();
        }
        1 => format!("{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{word}\"}}],\"tools\":[]}}"),
        2 => format!("{{\"query\":\"subscription {{ {} }}\"}}", word.replace(['/', '-'], "_")),
        3 => format!("name={word}&value=1"),
        _ => format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{}\",\"params\":{{\"processId\":1,\"q\":\"{word}\"}}}}",
            chance.of(&METHODS)
        ),
    };
    let accept = chance.of(&["*/*", "application/json", "application/json, text/event-stream"]);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: app.corp.example\r\nAccept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

fn response(chance: &mut Chance, id: usize) -> Vec<u8> {
    let word = chance.of(&WORDS);
    let rpc = match chance.below(4) {
        0 => format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{},\"message\":\"{}\"}}}}",
            -32000 - chance.below(100) as i64,
            chance.of(&ERRORS)
        ),
        _ => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{}}}", result(chance)),
    };
    let status = chance.of(&["200 OK", "200 OK", "200 OK", "400 Bad Request", "401 Unauthorized", "404 Not Found", "202 Accepted"]);
    let (media, body) = match chance.below(7) {
        0 => (
            "text/html",
            format!("<html><pre>{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"protocolVersion\":\"2025-11-25\"}}}}</pre>{word}</html>"),
        ),
        1 => (
            "text/event-stream",
            format!("event: endpoint\ndata: /messages/?session_id=0123456789abcdef\n\nevent: tick\ndata: \"{word}\"\n\n"),
        ),
        2 => ("text/event-stream", format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{rpc:?}}}}}]}}\n\ndata: [DONE]\n\n")),
        3 => ("text/event-stream", format!("event: message\ndata: {rpc}\n\n")),
        4 => ("application/json", format!("{{\"{word}\":{{\"inputSchema\":{{}},\"tools\":[]}}}}")),
        _ => ("application/json", rpc),
    };
    let extra = chance.of(&[
        "",
        "X-Request-Id: 7\r\n",
        "WWW-Authenticate: Bearer resource_metadata=\"https://x.example/mcp\"\r\n",
        "Access-Control-Allow-Headers: mcp-session-id\r\n",
    ]);
    format!("HTTP/1.1 {status}\r\nContent-Type: {media}\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn nothing_that_only_resembles_mcp_is_more_than_a_candidate() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<usize>().ok());
    let (count, seed) = (number("QUIET").unwrap_or(50_000), number("QUIET_SEED").unwrap_or(1));
    let mut chance = Chance((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (pack, mut world) = (Pack::shipped(), World::default());
    let mut servers: BTreeMap<Place, Server> = BTreeMap::new();
    let mut done = 0;
    while done < count {
        let server = Endpoint::new([10, 1, 0, chance.below(4) as u8].into(), 8000);
        let client = Endpoint::new([10, 0, 0, chance.below(8) as u8].into(), 20_000 + chance.below(40_000) as u16);
        // Both sides, or one of them alone.
        let (asks, answers) = [(true, true), (true, false), (false, true)][chance.below(3)];
        let seen = Both { low: asks, high: answers };
        let mut peers = Peers { ends: Both { low: client, high: server }, opener: Some(End::Low), seen, taken: Both::default() };
        let mut talk = Talk::default();
        let at = Moment::new(1_700_000_000 + done as i64, 0);
        for _ in 0..=chance.below(6) {
            let id = chance.below(4);
            for (end, heard, said) in [(End::Low, asks, request(&mut chance, id)), (End::High, answers, response(&mut chance, id))] {
                if heard {
                    talk.bytes(end, &said, &mut Context { now: at, peers: &peers, world: &mut world });
                }
                *peers.taken.at_mut(end) += said.len() as u32;
            }
            done += 1;
        }
        talk.closed(&mut Context { now: at, peers: &peers, world: &mut world });
        for e in world.told() {
            servers.entry(e.place.clone()).or_insert_with(|| Server::new("lab", e.place.clone(), e.at)).absorb("tap", &e, &pack);
        }
    }
    for (place, server) in servers {
        let judged = server.judgement(&pack);
        assert_eq!(judged.confidence, Confidence::Candidate, "seed {seed}, {place}: {:?}", judged.reasons);
    }
}
