//! Interrogations against servers written as tables: what is asked, what is answered, what is concluded.

use super::*;
use crate::probe::{answer::Answer, http1::Head};
use rules::{Timestamp, confidence::Confidence, endpoint::Place, pack::Pack, server::Server};

type Reply = (u16, Vec<(&'static str, &'static str)>, String);

/// Plays a server; gives the questions in words and the judgement by path.
fn play(hint: Hint, manner: Manner, mut server: impl FnMut(&Question) -> Reply) -> (Vec<String>, Vec<(String, Confidence, bool)>) {
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), hint, manner, 7);
    let mut asked = Vec::new();
    while let Some(question) = interrogation.next_question() {
        asked.push(question.words());
        assert!(asked.len() < 64, "an interrogation without end: {asked:?}");
        let (status, headers, body) = server(&question);
        let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let body = body.replace("NONCE", &question.nonce).into_bytes();
        let outcome = match status {
            0 => Outcome::Silent,
            _ => Outcome::Answer(Box::new(Answer { head: Head { status, headers }, body, ..Answer::default() })),
        };
        interrogation.absorb(&question, &outcome);
    }
    let evidence = interrogation.evidence(Timestamp::UNIX_EPOCH);
    let places: BTreeSet<String> = evidence.iter().filter_map(|e| e.place.path.clone()).collect();
    let pack = Pack::shipped();
    for e in &evidence {
        assert!(pack.get(&e.mark).is_some(), "{} is in no pack", e.mark);
    }
    let verdict = |path: String| {
        let mut server = Server::new("lab", Place::new("10.0.0.5:3001".parse().unwrap()), Timestamp::UNIX_EPOCH);
        evidence.iter().filter(|e| e.place.path.as_ref() == Some(&path)).for_each(|e| server.absorb("s", e, &pack));
        let judged = server.judgement(&pack);
        (path, judged.confidence, judged.actively_confirmed)
    };
    (asked, places.into_iter().map(verdict).collect())
}

fn json(status: u16, body: &str) -> Reply {
    (status, vec![("content-type", "application/json")], body.to_owned())
}

fn not_found() -> Reply {
    (404, vec![("server", "uvicorn")], "Not Found".to_owned())
}

const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":"NONCE","result":{"supportedVersions":["2026-07-28"],"capabilities":{}}}"#;
const INITIALIZED: &str =
    r#"{"jsonrpc":"2.0","id":"NONCE","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}"#;

#[test]
fn a_modern_server_on_a_usual_path_takes_two_requests() {
    let (asked, found) = play(Hint::default(), Manner::default(), |q| match q.ask {
        Ask::Discover => json(200, DISCOVERED),
        _ => json(404, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"Method not found"}}"#),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp negative control"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

#[test]
fn a_server_of_before_takes_two_requests_and_shows_that_it_takes_any_host() {
    let missing = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Unsupported protocol version"}}"#;
    let mut hosts = Vec::new();
    let (asked, found) = play(Hint::default(), Manner::default(), |q| {
        hosts.push(q.host.clone());
        if q.ask == Ask::Initialize { json(200, INITIALIZED) } else { json(400, missing) }
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize"]);
    assert_eq!(hosts, ["10.0.0.5:3001", "gnomon-control.invalid:3001"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

#[test]
fn a_session_given_is_used_and_ended() {
    let missing = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#;
    let mut within = Vec::new();
    let (asked, found) = play(Hint::default(), Manner::default(), |q| {
        within.push(q.session.clone());
        match q.ask {
            Ask::EndSession(_) => json(200, "null"),
            Ask::Initialize => (200, vec![("mcp-session-id", "s1")], INITIALIZED.to_owned()),
            _ => (400, vec![("mcp-session-id", "s1")], missing.to_owned()),
        }
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize", "DELETE /mcp"]);
    assert_eq!(within, [None, Some("s1".to_owned()), None]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

#[test]
fn a_session_forgotten_with_its_refusal_is_not_asked_for_again() {
    let missing = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#;
    let gone = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#;
    let (asked, found) = play(Hint::default(), Manner::default(), |q| match (&q.ask, q.session.as_deref()) {
        (Ask::EndSession(_), _) => json(200, "null"),
        (Ask::Initialize, None) => (200, vec![("mcp-session-id", "s2")], INITIALIZED.to_owned()),
        (_, Some(_)) => json(404, gone),
        _ => (400, vec![("mcp-session-id", "s1")], missing.to_owned()),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize", "POST /mcp initialize", "DELETE /mcp"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

#[test]
fn a_foreign_host_that_leads_elsewhere_costs_one_more_question_and_no_session() {
    let missing = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#;
    for elsewhere in [(421, "Invalid Host header"), (404, "no such site"), (200, "<html>another site</html>")] {
        let (asked, found) = play(Hint::default(), Manner::default(), |q| match (&q.ask, q.host.as_str()) {
            (_, "gnomon-control.invalid:3001") => (elsewhere.0, vec![], elsewhere.1.to_owned()),
            (Ask::EndSession(_), _) => json(200, ""),
            (Ask::Initialize, _) => (200, vec![("mcp-session-id", "s1")], INITIALIZED.to_owned()),
            _ => json(400, missing),
        });
        assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize", "POST /mcp initialize", "DELETE /mcp"]);
        assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
    }
    let (asked, _) = play(Hint::default(), Manner::default(), |q| match (&q.ask, q.host.as_str()) {
        (_, "gnomon-control.invalid:3001") => panic!("what stands in front keeps sites apart by name"),
        (Ask::Initialize, _) => json(200, INITIALIZED),
        _ => (400, vec![("server", "nginx/1.24.0")], missing.to_owned()),
    });
    assert_eq!(asked.len(), 2);
}

#[test]
fn every_session_is_ended_however_many() {
    let mut minted = 0;
    let (asked, _) = play(Hint::default(), Manner { max_questions: 5, ..Manner::default() }, |q| {
        minted += 1;
        let id: &'static str = format!("s{minted}").leak();
        if matches!(q.ask, Ask::EndSession(_)) { json(200, "") } else { (404, vec![("mcp-session-id", id)], String::new()) }
    });
    let ends = asked.iter().filter(|a| a.starts_with("DELETE")).count();
    assert_eq!((ends, ends * 2), (3, asked.len()), "{asked:?}");
}

#[test]
fn one_server_that_answers_everywhere_too_long_to_be_read_is_one() {
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), Hint::default(), Manner::default(), 7);
    while let Some(question) = interrogation.next_question() {
        let headers = [("mcp-session-id", "s1"), ("content-type", "application/json")];
        let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let answer =
            Answer { head: Head { status: 200, headers }, body: b"{\"jsonrpc\":\"2.0\",".to_vec(), cut: true, ..Answer::default() };
        interrogation.absorb(&question, &Outcome::Answer(Box::new(answer)));
    }
    let places: BTreeSet<_> = interrogation.evidence(Timestamp::UNIX_EPOCH).into_iter().map(|e| e.place).collect();
    assert_eq!(places.len(), 1, "{places:?}");
}

#[test]
fn what_is_known_to_be_no_express_is_asked_for_its_stream_at_once() {
    let (asked, _) = play(Hint::default(), Manner::default(), |q| match (&q.ask, q.path.as_str()) {
        (Ask::Stream, "/sse") => (405, vec![("allow", "POST")], String::new()),
        (Ask::Discover, "/sse") => json(200, DISCOVERED),
        (Ask::Control, "/sse") => json(404, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"no"}}"#),
        _ => not_found(),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "GET /sse event stream", "POST /sse server/discover", "POST /sse negative control"]);
}

#[test]
fn an_echo_and_a_server_that_answers_everything_are_no_servers() {
    let canned = |body: &'static str| play(Hint::default(), Manner::default(), move |_| json(200, body)).1;
    let echo = r#"{"jsonrpc":"2.0","id":"NONCE","method":"server/discover","params":{}}"#;
    for body in [echo, INITIALIZED, DISCOVERED] {
        assert!(canned(body).iter().all(|(_, c, active)| *c == Confidence::Candidate && !active), "{body}");
    }
}

#[test]
fn other_json_rpc_is_left_alone_after_two_paths() {
    let (asked, found) = play(Hint::default(), Manner::default(), |q| match q.ask {
        Ask::Initialize => json(200, r#"{"jsonrpc":"2.0","id":"NONCE","result":{"capabilities":{},"serverInfo":{"name":"lsp"}}}"#),
        _ => json(200, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"Method not found"}}"#),
    });
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(found, []);
}

#[test]
fn a_gate_before_one_path_is_worth_a_look_and_one_before_all_is_not() {
    let gate = || (401, vec![("www-authenticate", "Bearer")], String::new());
    let (_, one) = play(Hint::default(), Manner::default(), |q| if q.path == "/mcp" { gate() } else { not_found() });
    assert_eq!(one, [("/mcp".to_owned(), Confidence::Candidate, false)]);
    let (asked, all) = play(Hint::default(), Manner::default(), |_| gate());
    assert_eq!((asked.len(), all.len()), (3, 0), "{asked:?}");
}

#[test]
fn a_gated_sdk_server_is_probable() {
    let challenge = r#"Bearer error="invalid_token", resource_metadata="http://10.0.0.5:3001/.well-known/oauth-protected-resource/mcp""#;
    let (_, found) = play(Hint::default(), Manner::default(), |q| match (&q.ask, q.path.as_str()) {
        (Ask::Metadata, _) => json(200, r#"{"resource":"http://10.0.0.5:3001/mcp","scopes_supported":["user"]}"#),
        (_, "/mcp") => (
            401,
            vec![("www-authenticate", challenge)],
            r#"{"error": "invalid_token", "error_description": "Authentication required"}"#.to_owned(),
        ),
        _ => not_found(),
    });
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Probable, false)]);
}

#[test]
fn the_server_that_dies_of_streams_is_not_asked_for_one() {
    let express = |status: u16, text: &str| (status, vec![("x-powered-by", "Express")], text.to_owned());
    let (asked, found) = play(Hint::default(), Manner::default(), |q| match (&q.ask, q.path.as_str()) {
        (Ask::Routes, "/sse") => (200, vec![("x-powered-by", "Express"), ("allow", "GET,HEAD")], String::new()),
        (Ask::Routes, "/message") => (200, vec![("x-powered-by", "Express"), ("allow", "POST")], String::new()),
        (Ask::Stream, _) | (Ask::Discover, "/message" | "/messages/") => panic!("killed by {}", q.words()),
        _ => express(404, &format!("<pre>Cannot POST {}</pre>", q.path)),
    });
    assert_eq!(asked.last().map(String::as_str), Some("GET /"));
    assert_eq!(found, [("/sse".to_owned(), Confidence::Probable, false)]);
}

#[test]
fn redirects_stay_at_home_and_end() {
    let (asked, _) = play(Hint::default(), Manner::default(), |q| match q.path.as_str() {
        "/mcp" => (307, vec![("location", "http://10.0.0.5:3001/loop/a")], String::new()),
        "/loop/a" => (308, vec![("location", "/loop/b")], String::new()),
        "/loop/b" => (307, vec![("location", "/loop/a")], String::new()),
        "/" => (307, vec![("location", "http://169.254.169.254/latest/")], String::new()),
        "/v1/mcp" => (307, vec![("location", "//10.0.0.6/mcp")], String::new()),
        _ => not_found(),
    });
    assert!(!asked.iter().any(|a| a.contains("latest")), "{asked:?}");
    assert_eq!(asked.iter().filter(|a| a.contains("loop")).count(), 3);
}

#[test]
fn without_legacy_get_refusals_must_do() {
    let manner = Manner { legacy_get: false, ..Manner::default() };
    let (asked, found) = play(Hint::default(), manner, |q| match q.path.as_str() {
        "/sse" => (405, vec![("allow", "GET, HEAD")], String::new()),
        "/messages/" => (400, vec![], "session_id is required".to_owned()),
        _ => not_found(),
    });
    assert!(!asked.iter().any(|a| a.starts_with("GET")), "{asked:?}");
    let sse: Vec<_> = found.iter().map(|(p, c, _)| (p.as_str(), *c)).collect();
    assert_eq!(sse, [("/sse", Confidence::Probable)]);
}

#[test]
fn silence_costs_two_questions_and_a_busy_server_one() {
    assert_eq!(play(Hint::default(), Manner::default(), |_| (0, vec![], String::new())).0.len(), 2);
    assert_eq!(play(Hint::default(), Manner::default(), |_| (429, vec![], String::new())).0.len(), 1);
}

#[test]
fn a_foreign_host_is_retried_as_localhost_when_an_sdk_refuses_it() {
    let (asked, found) = play(Hint::default(), Manner::default(), |q| match (q.host.as_str(), &q.ask) {
        ("localhost:3001", Ask::Discover) => json(200, DISCOVERED),
        ("localhost:3001", _) => json(400, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32022,"message":"no"}}"#),
        _ => (421, vec![], "Invalid Host header".to_owned()),
    });
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

#[test]
fn a_nominated_endpoint_that_is_gone_is_said_to_be() {
    let hint = Hint { nominated: true, paths: vec!["/tools".into()], ..Hint::default() };
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), hint, Manner::default(), 7);
    let question = interrogation.next_question().unwrap();
    assert_eq!(question.path, "/tools");
    interrogation.absorb(&question, &Outcome::Refused);
    assert_eq!(interrogation.next_question(), None);
    let evidence = interrogation.evidence(Timestamp::UNIX_EPOCH);
    assert_eq!(
        evidence.iter().map(|e| (e.mark.as_str(), e.place.to_string())).collect::<Vec<_>>(),
        [("probe.context.gone", "10.0.0.5:3001/tools".to_owned())]
    );
}
