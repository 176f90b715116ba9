//! Servers that mean harm, on loopback: each is bounded, classified, and left.

use super::{
    ScanConfig,
    answer::{HttpAnswer, Outcome},
    dial::Dialer,
    http1::{Caps, Head},
    identify::{Hint, Interrogation, Options},
    probe_one,
    question::{Ask, Identity, Question},
    timeouts::Timeouts,
};
use rules::{Timestamp, endpoint::Endpoint};
use std::{future::Future, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CAPS: Caps = Caps { head: 4 << 10, body: 32 << 10 };

async fn server<F: Future<Output = ()> + Send + 'static>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    Endpoint::new("127.0.0.1".parse().unwrap(), port)
}

/// Takes the request, says `head`, then `more` for ever or until the peer has had enough.
async fn pour(mut stream: TcpStream, head: &str, more: &str) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(head.as_bytes()).await;
    while !more.is_empty() && stream.write_all(more.as_bytes()).await.is_ok() {}
}

async fn drip(mut stream: TcpStream) {
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: loris".iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn dialer() -> Dialer {
    let quick = Duration::from_millis(400);
    Dialer {
        identity: Identity { contact: String::new() },
        timeouts: Timeouts { connect: quick, answer: quick, slow_answer: quick },
        caps: CAPS,
        echoes: Default::default(),
        keep: false,
        test_identity: None,
    }
}

async fn ask(endpoint: Endpoint, ask: Ask, tls: bool) -> Outcome {
    let question = Question {
        endpoint,
        tls,
        http2: false,
        certified: false,
        server_name: None,
        host: "localhost".into(),
        path: "/mcp".into(),
        ask,
        nonce: "n".into(),
    };
    let bounded = tokio::time::timeout(Duration::from_secs(20), dialer().ask(&question)).await;
    bounded.expect("a question ends whatever the server does").0
}

fn quick() -> ScanConfig {
    ScanConfig { connect_ms: 300, answer_ms: 200, slow_answer_ms: 200, seed: Some(1), ..ScanConfig::default() }
}

#[tokio::test]
async fn heads_without_end_and_heads_that_drip_are_abusive() {
    let many = server(|s| pour(s, "HTTP/1.1 200 OK\r\n", "X-Many: headers\r\n")).await;
    let long = server(|s| pour(s, "HTTP/1.1 200 OK\r\nX-Long: ", &"a".repeat(65536).leak()[..])).await;
    for endpoint in [many, long] {
        assert!(matches!(ask(endpoint, Ask::Discover, false).await, Outcome::Abusive(_)));
    }
    let slow = server(drip).await;
    assert!(matches!(ask(slow, Ask::Discover, false).await, Outcome::Abusive("a head that drips")));
}

#[tokio::test]
async fn bodies_and_streams_without_end_are_cut() {
    let json =
        server(|s| pour(s, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"jsonrpc\":\"2.0\",\"x\":\"", "aaaaaaaaaaaaaaaa"))
            .await;
    let length = server(|s| pour(s, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", "[[[[[[[[")).await;
    let stream = server(|s| pour(s, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", ": ping\r\n\r\ndata: x\r\n\r\n")).await;
    let bomb = server(|s| pour(s, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "\u{1}\u{0}\u{0}")).await;
    for endpoint in [json, length, stream, bomb] {
        for kind in [Ask::Discover, Ask::Stream] {
            match ask(endpoint, kind, false).await {
                Outcome::Answer(answer) => {
                    assert!((answer.cut || !answer.stream.is_empty()) && answer.body.len() <= CAPS.body, "{}", answer.body.len())
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_named_so() {
    let ssh = server(|s| pour(s, "SSH-2.0-x\r\n", "")).await;
    assert!(matches!(ask(ssh, Ask::Discover, false).await, Outcome::NotHttp(_)));
    let chunks = server(|s| pour(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "")).await;
    assert!(matches!(ask(chunks, Ask::Discover, false).await, Outcome::Answer(a) if a.cut && a.body.is_empty()));
    let closes = server(|s| async move { drop(s) }).await;
    assert!(matches!(ask(closes, Ask::Discover, false).await, Outcome::Closed | Outcome::Silent));
    let stalls = server(|s| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(s);
    })
    .await;
    assert!(matches!(ask(stalls, Ask::Discover, false).await, Outcome::Silent));
    assert!(matches!(ask(stalls, Ask::Discover, true).await, Outcome::TlsFailed { .. }));
    assert!(matches!(ask(ssh, Ask::Discover, true).await, Outcome::TlsFailed { .. }));
}

#[tokio::test]
async fn a_hostile_server_is_never_more_than_a_candidate() {
    let deep: &'static str = "[".repeat(100_000).leak();
    let bad = [
        server(|s| pour(s, "HTTP/1.1 307 Temporary Redirect\r\nLocation: /mcp?again\r\nContent-Length: 0\r\n\r\n", "")).await,
        server(|s| pour(s, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "")).await,
        server(move |s| pour(s, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", deep)).await,
        server(|s| {
            pour(s, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\ndata: http://169.254.169.254/x\n\n", "")
        })
        .await,
        server(|s| pour(s, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\ndata: /m?session_id=1\n\n", ""))
            .await,
    ];
    for endpoint in bad {
        let evidence = probe_one(endpoint, Hint::default(), &quick()).await;
        let pack = rules::pack::Pack::shipped();
        let mut server = rules::server::Server::new("lab", rules::endpoint::Place::new(endpoint), Timestamp::UNIX_EPOCH);
        evidence.iter().for_each(|e| server.absorb("s", e, &pack));
        assert_eq!(server.judgement(&pack).confidence, rules::confidence::Confidence::Candidate, "{evidence:?}");
    }
}

#[tokio::test]
async fn names_from_strangers_are_made_plain() {
    let endpoint = server(|mut s| async move {
        let mut request = vec![0; 8192];
        let count = s.read(&mut request).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&request[..count]).into_owned();
        let id = text.split("\"id\":\"").nth(1).and_then(|t| t.split('"').next()).unwrap_or_default();
        let result = format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"a\u001b[2Jb<script>","version":"\u202e1"}}}}}}"#
        );
        let refusal = format!(r#"{{"jsonrpc":"2.0","id":"{id}","error":{{"code":-32601,"message":"\u001b]0;owned\u0007"}}}}"#);
        let body = if text.contains("\"initialize\"") { result } else { refusal };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = s.write_all(format!("{head}{body}").as_bytes()).await;
    })
    .await;
    let evidence = probe_one(endpoint, Hint::default(), &quick()).await;
    assert!(evidence.iter().any(|e| e.signature == "probe.server.initialize-result"), "{evidence:?}");
    let mut texts: Vec<String> = evidence.iter().map(|e| e.detail.clone()).collect();
    texts.extend(
        evidence.iter().filter_map(|e| e.facts.server_info.as_ref()).flat_map(|i| [Some(i.name.clone()), i.version.clone()]).flatten(),
    );
    assert!(texts.iter().all(|t| !t.chars().any(|c| c.is_control() || c == '\u{202e}')), "{texts:?}");
}

/// Newline-delimited JSON-RPC without HTTP: found where that is asked for, and one that says yes to nonsense is no server.
#[tokio::test]
async fn lines_over_bare_tcp_have_their_control_too() {
    for (yes_to_all, floods) in [(false, false), (true, false), (false, true)] {
        let endpoint = server(move |mut s| async move {
            let mut said = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = s.read(&mut buffer).await {
                said.extend_from_slice(&buffer[..count]);
                while floods && s.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":1}\n").await.is_ok() {}
                while let Some(end) = said.iter().position(|b| *b == b'\n') {
                    let line: serde_json::Value = serde_json::from_slice(&said.drain(..=end).collect::<Vec<_>>()).unwrap_or_default();
                    let id = line["id"].as_str().unwrap_or_default();
                    let body = if line["method"] == "initialize" || yes_to_all {
                        r#""result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"raw"}}"#
                    } else {
                        r#""error":{"code":-32601,"message":"Method not found"}"#
                    };
                    let _ = s.write_all(format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",{body}}}\n").as_bytes()).await;
                }
            }
        })
        .await;
        let evidence = probe_one(endpoint, Hint::default(), &ScanConfig { raw: true, ..quick() }).await;
        let signatures: Vec<_> = evidence.iter().map(|e| e.signature.as_str()).collect();
        assert_eq!(signatures.contains(&"probe.server.initialize-result"), !floods, "{signatures:?}");
        assert_eq!(signatures.contains(&"probe.control.refused"), !yes_to_all && !floods, "{signatures:?}");
        assert!(probe_one(endpoint, Hint::default(), &quick()).await.is_empty());
    }
}

/// Real answers, broken in every place: whatever comes, the interrogation ends, and nothing that was broken is believed more
/// than what was whole.
#[test]
fn no_mutation_of_an_answer_breaks_an_interrogation() {
    let seeds = [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\"NONCE\",\"result\":{\"supportedVersions\":[\"2026-07-28\"]}}",
        "HTTP/1.1 400 Bad Request\r\nMcp-Session-Id: s\r\nContent-Type: application/json\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\"server-error\",\"error\":{\"code\":-32600,\"message\":\"Bad Request: Missing session ID\"}}",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\nevent: endpoint\r\ndata: /messages/?session_id=1\r\n\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer resource_metadata=\"http://127.0.0.1:9/.well-known/x\"\r\n\r\n{}",
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /mcp/\r\n\r\n",
    ];
    let mut chance = 1u64;
    for seed in seeds {
        for at in 0..seed.len() {
            for with in ["", "\0", "\r\n", "\"", "{", "\u{ff}", "-99999999999999999999", "event: endpoint\n\n"] {
                let Some((before, after)) = seed.split_at_checked(at) else { continue };
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let kept = after.get((chance >> 60) as usize..).unwrap_or(after);
                let broken = format!("{before}{with}{kept}");
                let mut interrogation = Interrogation::new("127.0.0.1:9".parse().unwrap(), Hint::default(), Options::default(), 1);
                let mut questions = 0;
                while let Some(question) = interrogation.next_question() {
                    questions += 1;
                    assert!(questions < 100, "without end: {broken:?}");
                    interrogation.absorb(&question, &answered(&broken.replace("NONCE", &question.nonce)));
                }
                let _ = interrogation.evidence(Timestamp::UNIX_EPOCH);
            }
        }
    }
}

fn answered(text: &str) -> Outcome {
    let mut reader = super::http1::Reader::new(CAPS);
    match reader.push(text.as_bytes()) {
        Err(_) => Outcome::NotHttp(text.as_bytes().iter().take(64).copied().collect()),
        Ok(_) => match reader.into_parts() {
            (Some(head), body, cut) => {
                let stream = super::sse::Events::new(CAPS.body).push(&body);
                Outcome::Answer(Box::new(HttpAnswer { head, body, cut, stream, ..HttpAnswer::default() }))
            }
            (None, ..) => Outcome::Answer(Box::new(HttpAnswer { head: Head::default(), ..HttpAnswer::default() })),
        },
    }
}
