//! Interrogations against servers written as tables: what is asked, what is answered, what is concluded.

use super::*;
use crate::probe::{answer::HttpAnswer, http1::Head};
use rules::{Timestamp, confidence::Confidence, endpoint::Place, pack::Pack, server::Server};
use std::collections::BTreeSet;

type Reply = (u16, Vec<(&'static str, &'static str)>, String);

/// Plays a server; gives the questions in words and the judgement by path.
fn play(hint: Hint, options: Options, mut server: impl FnMut(&Question) -> Reply) -> (Vec<String>, Vec<(String, Confidence, bool)>) {
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), hint, options, 7);
    let mut asked = Vec::new();
    while let Some(question) = interrogation.next_question() {
        asked.push(question.words());
        assert!(asked.len() < 64, "an interrogation without end: {asked:?}");
        let (status, headers, body) = server(&question);
        let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let body = body.replace("NONCE", &question.nonce).into_bytes();
        let outcome = match status {
            0 => Outcome::Silent,
            _ => Outcome::Answer(Box::new(HttpAnswer { head: Head { status, headers }, body, ..HttpAnswer::default() })),
        };
        interrogation.absorb(&question, &outcome);
    }
    let evidence = interrogation.evidence(Timestamp::UNIX_EPOCH);
    let places: BTreeSet<String> = evidence.iter().filter_map(|e| e.place.path.clone()).collect();
    let pack = Pack::shipped();
    for e in &evidence {
        assert!(pack.get(&e.signature).is_some(), "{} is in no pack", e.signature);
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
const UNKNOWN: &str = r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"Method not found"}}"#;
const INITIALIZED: &str =
    r#"{"jsonrpc":"2.0","id":"NONCE","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}"#;

#[test]
fn a_modern_server_on_a_usual_path_takes_two_requests() {
    let (asked, found) = play(Hint::default(), Options::default(), |q| match q.ask {
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
    let (asked, found) = play(Hint::default(), Options::default(), |q| {
        hosts.push(q.host.clone());
        if q.ask == Ask::Initialize { json(200, INITIALIZED) } else { json(400, missing) }
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize"]);
    assert_eq!(hosts, ["10.0.0.5:3001", "gnomon-control.invalid:3001"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

/// Python SDK 1.30 forgets the session it refused us in, older ones keep it: neither is asked within, both are told it is over.
#[test]
fn the_session_of_a_refusal_costs_no_question_but_its_end() {
    let missing = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#;
    let (asked, found) = play(Hint::default(), Options::default(), |q| match q.ask {
        Ask::EndSession(_) => json(200, "null"),
        Ask::Initialize => (200, vec![("mcp-session-id", "s2")], INITIALIZED.to_owned()),
        _ => (400, vec![("mcp-session-id", "s1")], missing.to_owned()),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize", "DELETE /mcp", "DELETE /mcp"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

/// Python SDK 1.9.4 answers 500 to everybody from the first `DELETE` on.
#[test]
fn a_server_that_dies_of_a_delete_keeps_its_session() {
    let missing = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#;
    let serve = |revision: &'static str| {
        move |q: &Question| match q.ask {
            Ask::Initialize => (200, vec![("mcp-session-id", "s2")], INITIALIZED.replace("2025-11-25", revision)),
            Ask::EndSession(_) => json(200, ""),
            _ => (400, vec![("mcp-session-id", "s1")], missing.to_owned()),
        }
    };
    let (asked, found) = play(Hint::default(), Options::default(), serve("2025-03-26"));
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
    let (asked, _) = play(Hint::default(), Options::default(), serve("2025-06-18"));
    assert_eq!(asked.len(), 4);
}

/// An Express server that mounts its gate before `/mcp` and all below it.
#[test]
fn what_is_below_a_gate_is_the_same_gate() {
    let missing = r#"{"error":"invalid_token","error_description":"Missing Authorization header"}"#;
    let (asked, found) = play(Hint::default(), Options::default(), |q| {
        if q.path == "/mcp" || q.path.starts_with("/mcp/") {
            (401, vec![("x-powered-by", "Express")], missing.to_owned())
        } else {
            (404, vec![], String::new())
        }
    });
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Probable, false)], "{asked:?}");
}

/// A honeypot that knows of `server/discover` refused it as anybody refuses, and said yes to all else.
#[test]
fn a_refusal_that_anybody_may_give_is_no_control() {
    let (asked, found) = play(Hint::default(), Options::default(), |q| match q.ask {
        Ask::Discover => json(200, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"Method not found"}}"#),
        _ => json(200, INITIALIZED),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize", "POST /mcp negative control"]);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Candidate, false)]);
    let (asked, found) = play(Hint::default(), Options::default(), |q| match q.ask {
        Ask::Initialize => json(200, INITIALIZED),
        _ => json(200, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"Method not found"}}"#),
    });
    assert_eq!(asked.len(), 3);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
}

/// FastMCP 3.4.11 with a token and nothing else: 401 without a word, but the route says what it takes.
#[test]
fn a_gate_that_says_nothing_is_known_by_its_methods_and_by_standing_alone() {
    let serve = |allow: &'static str| {
        move |q: &Question| match (&q.ask, q.path.as_str()) {
            (Ask::Routes, "/mcp") => (405, vec![("server", "uvicorn"), ("allow", allow)], "Method Not Allowed".to_owned()),
            (_, "/mcp") => (401, vec![("server", "uvicorn"), ("www-authenticate", "Bearer")], String::new()),
            _ => not_found(),
        }
    };
    let (_, found) = play(Hint::default(), Options::default(), serve("DELETE, HEAD, POST, GET"));
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Probable, false)]);
    let (_, api) = play(Hint::default(), Options::default(), serve("GET, POST, PUT, DELETE"));
    assert_eq!(api, [("/mcp".to_owned(), Confidence::Candidate, false)]);
}

/// FastMCP 3.4.11 with a remote authorization server; and a guarded API whose metadata is about all of it.
#[test]
fn metadata_about_the_very_path_tells_a_server_from_an_api() {
    let serve = |resource: &'static str| {
        move |q: &Question| match (&q.ask, q.path.as_str()) {
            (Ask::Metadata, "/.well-known/oauth-protected-resource/mcp") => json(200, resource),
            (_, "/mcp") => (401, vec![("www-authenticate", "Bearer")], String::new()),
            _ => not_found(),
        }
    };
    let (asked, found) = play(Hint::default(), Options::default(), serve(r#"{"resource":"https://tools.corp.example/mcp"}"#));
    assert_eq!(asked.len(), 2);
    assert_eq!(found, [("/mcp".to_owned(), Confidence::Probable, false)]);
    let (_, api) = play(Hint::default(), Options::default(), serve(r#"{"resource":"https://api.corp.example/"}"#));
    assert_eq!(api, [("/mcp".to_owned(), Confidence::Candidate, false)]);
}

/// An API that refuses every path in the same words is not asked twice at each.
#[test]
fn after_the_same_refusal_initialize_is_tried_twice_in_vain() {
    let (asked, _) = play(Hint::default(), Options { foreign_host: false, ..Options::default() }, |_| {
        json(400, r#"{"error":"Bad Request: Unsupported protocol version"}"#)
    });
    assert_eq!(asked.iter().filter(|q| q.ends_with("initialize")).count(), 2, "{asked:?}");
}

#[test]
fn words_of_a_message_endpoint_lead_to_its_stream_once() {
    let (asked, _) = play(Hint::default(), Options::default(), |_| json(400, r#"{"error":"Missing sessionId parameter"}"#));
    assert_eq!(asked.iter().filter(|q| q.starts_with("GET /sse")).count(), 1, "{asked:?}");
}

/// A table of outcomes instead of answers: what is said below HTTP.
fn outcomes(options: Options, mut server: impl FnMut(&Question) -> Outcome) -> (Vec<Question>, Vec<String>) {
    let mut interrogation = Interrogation::new("10.0.0.5:7001".parse().unwrap(), Hint::default(), options, 7);
    let mut asked = Vec::new();
    while let Some(question) = interrogation.next_question() {
        let outcome = server(&question);
        interrogation.absorb(&question, &outcome);
        asked.push(question);
        assert!(asked.len() < 64);
    }
    (asked, interrogation.evidence(Timestamp::UNIX_EPOCH).into_iter().map(|e| e.signature).collect())
}

#[test]
fn who_speaks_http2_alone_is_asked_in_it() {
    let (asked, _) = outcomes(Options::default(), |q| match q.http2 {
        // node 22, http2.createServer: SETTINGS, and then GOAWAY.
        false => Outcome::NotHttp(b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07".to_vec()),
        true => Outcome::Answer(Box::new(HttpAnswer {
            head: Head { status: 200, headers: Vec::new() },
            body: if q.ask == Ask::Discover { DISCOVERED } else { UNKNOWN }.replace("NONCE", &q.nonce).into_bytes(),
            ..HttpAnswer::default()
        })),
    });
    assert_eq!(asked.iter().map(|q| q.http2).collect::<Vec<_>>(), [false, true, true]);
    let refused = |why: &str| Outcome::TlsFailed { why: why.to_owned(), wants_certificate: false };
    let (asked, _) = outcomes(Options::default(), |_| refused("received fatal alert: NoApplicationProtocol"));
    assert!(asked.len() <= 3, "one that wants HTTP/2 and does not speak it either is left: {asked:?}");
}

#[test]
fn lines_are_tried_where_that_is_asked_for_and_nobody_spoke_first() {
    let raw = Options { raw: true, ..Options::default() };
    let lines = |(asked, _): (Vec<Question>, Vec<String>)| asked.iter().filter(|q| q.ask == Ask::Lines).count();
    assert_eq!(lines(outcomes(raw.clone(), |_| Outcome::NotHttp(b"SSH-2.0-OpenSSH_9\r\n".to_vec()))), 0);
    assert_eq!(lines(outcomes(Options::default(), |_| Outcome::Silent)), 0);
    assert_eq!(lines(outcomes(raw.clone(), |_| Outcome::Silent)), 1);
    let parse_error = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#;
    assert_eq!(lines(outcomes(raw, |_| Outcome::NotHttp(parse_error.to_vec()))), 1);
}

#[test]
fn the_test_identity_is_shown_once_and_only_to_who_serves_nobody_without() {
    let refuses = || Outcome::TlsFailed { why: "received fatal alert: CertificateRequired".to_owned(), wants_certificate: true };
    let shown = |(asked, _): (Vec<Question>, Vec<String>)| asked.iter().map(|q| q.certified).collect::<Vec<_>>();
    assert_eq!(shown(outcomes(Options::default(), |_| refuses())), [false]);
    let with = Options { test_identity: true, ..Options::default() };
    assert_eq!(shown(outcomes(with.clone(), |_| refuses())), [false, true]);
    let (asked, signatures) = outcomes(with, |q| match q.certified {
        false => refuses(),
        true => Outcome::Answer(Box::new(HttpAnswer {
            head: Head { status: if q.ask == Ask::Discover { 200 } else { 404 }, headers: Vec::new() },
            body: if q.ask == Ask::Discover { DISCOVERED } else { UNKNOWN }.replace("NONCE", &q.nonce).into_bytes(),
            ..HttpAnswer::default()
        })),
    });
    assert_eq!(asked.len(), 3);
    for signature in ["probe.server.discover-result", "probe.context.certificate-required"] {
        assert!(signatures.iter().any(|m| m == signature), "{signature} in {signatures:?}");
    }
}

#[test]
fn a_foreign_host_that_leads_elsewhere_costs_one_more_question_and_no_session() {
    let missing = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#;
    for elsewhere in [(421, "Invalid Host header"), (404, "no such site"), (200, "<html>another site</html>")] {
        let (asked, found) = play(Hint::default(), Options::default(), |q| match (&q.ask, q.host.as_str()) {
            (_, "gnomon-control.invalid:3001") => (elsewhere.0, vec![], elsewhere.1.to_owned()),
            (Ask::EndSession(_), _) => json(200, ""),
            (Ask::Initialize, _) => (200, vec![("mcp-session-id", "s1")], INITIALIZED.to_owned()),
            _ => json(400, missing),
        });
        // Last, where it may have been another site: what there is to see under that name, and if anything, whether it is the server's own.
        let sites = ["GET / under another name"; 2];
        let compared = match elsewhere.0 {
            421 => 0,
            404 => 1,
            _ => 2,
        };
        let all = ["POST /mcp server/discover", "POST /mcp initialize", "POST /mcp initialize", "DELETE /mcp"];
        assert_eq!(asked, [&all[..], &sites[..compared]].concat());
        assert_eq!(found, [("/mcp".to_owned(), Confidence::Confirmed, true)]);
    }
    let (asked, _) = play(Hint::default(), Options::default(), |q| match (&q.ask, q.host.as_str()) {
        (Ask::Site, "gnomon-control.invalid:3001") => (404, vec![("server", "nginx/1.24.0")], "no such site".to_owned()),
        (_, "gnomon-control.invalid:3001") => panic!("what stands in front keeps sites apart by name"),
        (Ask::Initialize, _) => json(200, INITIALIZED),
        _ => (400, vec![("server", "nginx/1.24.0")], missing.to_owned()),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "POST /mcp initialize", "GET / under another name"]);
}

/// What an interrogation says of other sites at the endpoint, of a server with a page of its own, and how many names it asked for.
fn sites(own: &str, certificate: &[&str], page: impl Fn(Option<&str>, &str) -> Reply) -> (Vec<String>, usize) {
    let tls = (!certificate.is_empty())
        .then(|| super::super::answer::TlsFacts { names: certificate.iter().map(|n| (*n).to_owned()).collect(), ..Default::default() });
    let hint = Hint { host: Some(own.to_owned()), tls: Some(tls.is_some()), ..Hint::default() };
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), hint, Options::default(), 7);
    let mut asked = 0;
    while let Some(question) = interrogation.next_question() {
        let (status, headers, body) = match question.ask {
            Ask::Discover => (200, vec![("server", "nginx")], DISCOVERED.to_owned()),
            Ask::Site => {
                asked += 1;
                page(question.server_name.as_deref(), question.host.split(':').next().unwrap())
            }
            _ => json(404, UNKNOWN),
        };
        let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let body = body.replace("NONCE", &question.nonce).into_bytes();
        let answer = HttpAnswer { head: Head { status, headers }, body, tls: tls.clone(), ..HttpAnswer::default() };
        interrogation.absorb(&question, &Outcome::Answer(Box::new(answer)));
    }
    let told = interrogation.evidence(Timestamp::UNIX_EPOCH).into_iter().filter(|e| e.signature == "probe.context.other-site");
    (told.map(|e| format!("{} {}", e.place, e.detail)).collect(), asked)
}

#[test]
fn a_front_for_several_sites_is_told_by_a_page_that_the_server_does_not_have() {
    let page = |title: &str| (200, vec![], format!("<html><title>{title}</title></html>"));
    let shared = |told: &str| (vec![format!("10.0.0.5:3001/mcp {told}")], 2);
    // The first site of the front is what a name that is nobody's leads to.
    let by_host = |_: Option<&str>, host: &str| if host == "tools.corp.example" { page("Tools") } else { page("Wiki") };
    assert_eq!(sites("tools.corp.example", &[], by_host), shared(r#"GET / as gnomon-control.invalid: 200 "Wiki"; as itself: 200 "Tools""#));
    // It is the server's own, or there is none: one site.
    assert_eq!(sites("tools.corp.example", &[], |_, _| page("Tools")), (vec![], 2));
    for status in [301, 404, 421, 503] {
        assert_eq!(sites("tools.corp.example", &[], |_, _| (status, vec![], "no such site".to_owned())), (vec![], 1), "{status}");
    }
    // A front that is silent about names that are nobody's shows the others by the certificate it has for them.
    let names = ["tools.corp.example", "*.corp.example", "localhost", "10.0.0.5", "wiki.corp.example"];
    let by_hello = |hello: Option<&str>, host: &str| match host {
        "wiki.corp.example" if hello == Some(host) => page("Wiki"),
        _ => (404, vec![], String::new()),
    };
    let (told, asked) = sites("tools.corp.example", &names, by_hello);
    assert_eq!(told, [r#"10.0.0.5:3001/mcp GET / as wiki.corp.example: 200 "Wiki"; as itself: no page"#]);
    assert_eq!(asked, 3, "nobody's name, the one other name, the own");
    // A second name of the same server is none.
    assert_eq!(sites("tools.corp.example", &["tools.corp.example", "mcp.corp.example"], |_, _| page("Tools")), (vec![], 3));
}

#[test]
fn every_session_is_ended_however_many() {
    let mut minted = 0;
    let (asked, _) = play(Hint::default(), Options { max_questions: 5, ..Options::default() }, |q| {
        minted += 1;
        let id: &'static str = format!("s{minted}").leak();
        if matches!(q.ask, Ask::EndSession(_)) { json(200, "") } else { (404, vec![("mcp-session-id", id)], String::new()) }
    });
    let ends = asked.iter().filter(|a| a.starts_with("DELETE")).count();
    assert_eq!((ends, ends * 2), (3, asked.len()), "{asked:?}");
}

#[test]
fn one_server_that_answers_everywhere_too_long_to_be_read_is_one() {
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), Hint::default(), Options::default(), 7);
    while let Some(question) = interrogation.next_question() {
        let headers = [("mcp-session-id", "s1"), ("content-type", "application/json")];
        let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let answer =
            HttpAnswer { head: Head { status: 200, headers }, body: b"{\"jsonrpc\":\"2.0\",".to_vec(), cut: true, ..HttpAnswer::default() };
        interrogation.absorb(&question, &Outcome::Answer(Box::new(answer)));
    }
    let places: BTreeSet<_> = interrogation.evidence(Timestamp::UNIX_EPOCH).into_iter().map(|e| e.place).collect();
    assert_eq!(places.len(), 1, "{places:?}");
}

#[test]
fn what_is_known_to_be_no_express_is_asked_for_its_stream_at_once() {
    let (asked, _) = play(Hint::default(), Options::default(), |q| match (&q.ask, q.path.as_str()) {
        (Ask::Stream, "/sse") => (405, vec![("allow", "POST")], String::new()),
        (Ask::Discover, "/sse") => json(200, DISCOVERED),
        (Ask::Control, "/sse") => json(404, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"no"}}"#),
        _ => not_found(),
    });
    assert_eq!(asked, ["POST /mcp server/discover", "GET /sse event stream", "POST /sse server/discover", "POST /sse negative control"]);
}

#[test]
fn an_echo_and_a_server_that_answers_everything_are_no_servers() {
    let canned = |body: &'static str| play(Hint::default(), Options::default(), move |_| json(200, body)).1;
    let echo = r#"{"jsonrpc":"2.0","id":"NONCE","method":"server/discover","params":{}}"#;
    for body in [echo, INITIALIZED, DISCOVERED] {
        assert!(canned(body).iter().all(|(_, c, active)| *c == Confidence::Candidate && !active), "{body}");
    }
}

#[test]
fn other_json_rpc_is_left_alone_after_two_paths() {
    let (asked, found) = play(Hint::default(), Options::default(), |q| match q.ask {
        Ask::Initialize => json(200, r#"{"jsonrpc":"2.0","id":"NONCE","result":{"capabilities":{},"serverInfo":{"name":"lsp"}}}"#),
        _ => json(200, r#"{"jsonrpc":"2.0","id":"NONCE","error":{"code":-32601,"message":"Method not found"}}"#),
    });
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(found, []);
}

#[test]
fn a_gate_before_one_path_is_worth_a_look_and_one_before_all_is_not() {
    let gate = || (401, vec![("www-authenticate", "Bearer")], String::new());
    let (_, one) = play(Hint::default(), Options::default(), |q| if q.path == "/mcp" { gate() } else { not_found() });
    assert_eq!(one, [("/mcp".to_owned(), Confidence::Candidate, false)]);
    let (asked, all) = play(Hint::default(), Options::default(), |_| gate());
    assert_eq!((asked.len(), all.len()), (3, 0), "{asked:?}");
}

#[test]
fn a_gated_sdk_server_is_probable() {
    let challenge = r#"Bearer error="invalid_token", resource_metadata="http://10.0.0.5:3001/.well-known/oauth-protected-resource/mcp""#;
    let (_, found) = play(Hint::default(), Options::default(), |q| match (&q.ask, q.path.as_str()) {
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
    let (asked, found) = play(Hint::default(), Options::default(), |q| match (&q.ask, q.path.as_str()) {
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
    let (asked, _) = play(Hint::default(), Options::default(), |q| match q.path.as_str() {
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
    let options = Options { legacy_get: false, ..Options::default() };
    let (asked, found) = play(Hint::default(), options, |q| match q.path.as_str() {
        "/sse" => (405, vec![("allow", "GET, HEAD")], String::new()),
        "/messages/" => (400, vec![], "session_id is required".to_owned()),
        _ => not_found(),
    });
    assert!(!asked.iter().any(|a| a.starts_with("GET")), "{asked:?}");
    let sse: Vec<_> = found.iter().map(|(p, c, _)| (p.as_str(), *c)).collect();
    assert_eq!(sse, [("/sse", Confidence::Probable)]);
    // The routes of Express tell as well, and asking for them opens no stream.
    let options = Options { legacy_get: false, ..Options::default() };
    let express = |status: u16, mut more: Vec<(&'static str, &'static str)>, text: &str| {
        more.push(("x-powered-by", "Express"));
        (status, more, text.to_owned())
    };
    let (asked, found) = play(Hint::default(), options, |q| match (&q.ask, q.path.as_str()) {
        (Ask::Routes, "/sse") => express(200, vec![("allow", "GET,HEAD")], ""),
        (Ask::Routes, "/message") => express(200, vec![("allow", "POST")], ""),
        (_, path) => express(404, vec![], &format!("<pre>Cannot POST {path}</pre>")),
    });
    assert!(!asked.iter().any(|a| a == "GET /sse"), "{asked:?}");
    assert!(found.iter().any(|(p, c, _)| p == "/sse" && *c == Confidence::Probable), "{found:?}");
}

#[test]
fn silence_costs_two_questions_and_a_busy_server_one() {
    assert_eq!(play(Hint::default(), Options::default(), |_| (0, vec![], String::new())).0.len(), 2);
    assert_eq!(play(Hint::default(), Options::default(), |_| (429, vec![], String::new())).0.len(), 1);
}

#[test]
fn a_foreign_host_is_retried_as_localhost_when_an_sdk_refuses_it() {
    let (asked, found) = play(Hint::default(), Options::default(), |q| match (q.host.as_str(), &q.ask) {
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
    let mut interrogation = Interrogation::new("10.0.0.5:3001".parse().unwrap(), hint, Options::default(), 7);
    let question = interrogation.next_question().unwrap();
    assert_eq!(question.path, "/tools");
    interrogation.absorb(&question, &Outcome::Refused);
    assert_eq!(interrogation.next_question(), None);
    let evidence = interrogation.evidence(Timestamp::UNIX_EPOCH);
    assert_eq!(
        evidence.iter().map(|e| (e.signature.as_str(), e.place.to_string())).collect::<Vec<_>>(),
        [("probe.context.gone", "10.0.0.5:3001/tools".to_owned())]
    );
}
