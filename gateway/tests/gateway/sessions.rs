//! A session belongs to whoever began it, at the server where it began.

use crate::{
    backend::{Asked, Backend, Body, events, result, status},
    client::{Ask, Got, MODERN, call, rpc},
    site::{Plan, Site, key},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use gateway::audit::Outcome;
use hyper::{Method, Response};
use serde_json::json;
use tokio::sync::mpsc;

/// A backend of the legacy era: mints `upstream-session`, and wants it back.
fn stateful(asked: Asked) -> Response<Body> {
    let mut answer = match (&asked.method, asked.rpc(), asked.header("mcp-session-id")) {
        (&Method::POST, "initialize", "") => {
            let mut answer = result(&asked.body["id"], json!({ "protocolVersion": "2025-11-25" }));
            answer.headers_mut().insert("mcp-session-id", "upstream-session".parse().unwrap());
            return answer;
        }
        (&Method::POST, _, "upstream-session") => result(&asked.body["id"], json!({})),
        (&Method::GET, _, "upstream-session") => {
            let (feed, fed) = mpsc::channel(1);
            feed.try_send(Ok("data: 1\n\n".into())).unwrap();
            events(fed)
        }
        (&Method::DELETE, _, "upstream-session") => status(204),
        _ => return status(404),
    };
    answer.headers_mut().insert("mcp-session-id", "upstream-session".parse().unwrap());
    answer
}

fn initialize() -> Ask {
    Ask::post(rpc(
        1,
        "initialize",
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } }),
    ))
}

async fn begin(site: &Site, who: &str) -> String {
    let got = site.send(initialize().key(&key(who))).await;
    assert_eq!(got.status, 200);
    got.header("mcp-session-id").to_owned()
}

fn no_session(got: &Got) {
    assert_eq!(got.status, 404);
    if !got.body.is_empty() {
        assert_eq!((got.rule(), &got.json()["error"]["code"]), ("session.unknown".into(), &json!(-32001)));
    }
}

async fn site(backend: &Backend) -> Site {
    let plan = Plan::new().server("files", backend).server("mail", backend);
    plan.grant("acme/a", "files", &["*"])
        .grant("acme/a", "mail", &["*"])
        .grant("acme/b", "files", &["*"])
        .grant("other/a", "files", &["*"])
        .run()
        .await
}

#[tokio::test]
async fn its_owner_posts_listens_and_ends_it() {
    let backend = Backend::start(stateful).await;
    let mut site = site(&backend).await;
    let token = begin(&site, "acme/a").await;
    assert!(!token.contains("upstream") && token.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{token}");
    for ask in [Ask::post(call("read")), Ask::bare("GET"), Ask::bare("DELETE")] {
        let got = site.send(ask.with("mcp-session-id", &token).key(&key("acme/a"))).await;
        assert!(matches!(got.status, 200 | 204), "{got:?}");
        assert_eq!(got.header("mcp-session-id"), token, "the id stays the same for its client");
    }
    let outcomes: Vec<_> = site.records().await.into_iter().map(|r| (r.http, r.status, r.outcome)).collect();
    let done = |http: &str, status| (http.to_owned(), status, Outcome::Answered);
    assert_eq!(outcomes, [done("POST", 200), done("POST", 200), done("GET", 200), done("DELETE", 204)]);
}

#[tokio::test]
async fn it_is_unknown_to_everybody_else_and_elsewhere() {
    let backend = Backend::start(stateful).await;
    let mut site = site(&backend).await;
    let token = begin(&site, "acme/a").await;
    let before = backend.asked().len();
    let requests = || [Ask::post(call("read")), Ask::bare("GET"), Ask::bare("DELETE")].map(|a| a.with("mcp-session-id", &token));
    for who in ["acme/b", "other/a"] {
        for ask in requests() {
            no_session(&site.send(ask.key(&key(who))).await);
        }
    }
    for ask in requests() {
        no_session(&site.send(ask.at("/mcp/v1/tools/mail/rpc").key(&key("acme/a"))).await);
    }
    assert_eq!(backend.asked().len(), before, "no backend heard of it");
    let refused = site.records().await.into_iter().filter(|r| r.rule.as_deref() == Some("session.unknown"));
    assert_eq!(refused.count(), 9);
}

#[tokio::test]
async fn a_changed_or_guessed_id_is_unknown() {
    let backend = Backend::start(stateful).await;
    let site = site(&backend).await;
    let token = begin(&site, "acme/a").await;
    let before = backend.asked().len();
    let mut forged =
        vec!["upstream-session".to_owned(), String::new(), "0".repeat(32), token.repeat(40), format!("{token}="), token[1..].into()];
    for at in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    for id in forged.iter().filter(|id| **id != token) {
        no_session(&site.send(Ask::post(call("read")).with("mcp-session-id", id).key(&key("acme/a"))).await);
    }
    let twice = Ask::post(call("read")).with("mcp-session-id", &token).with("mcp-session-id", &token);
    assert_eq!(site.send(twice.key(&key("acme/a"))).await.status, 400, "two lines of one Mcp header are refused");
    let twice = Ask::bare("GET").with("mcp-session-id", &token).with("mcp-session-id", &token);
    no_session(&site.send(twice.key(&key("acme/a"))).await);
    assert_eq!(backend.asked().len(), before);
}

#[tokio::test]
async fn it_ends_with_its_key() {
    let backend = Backend::start(stateful).await;
    let mut site = site(&backend).await;
    let token = begin(&site, "acme/a").await;
    site.change(|b| b.tenants[0].keys.retain(|k| k != "a")).await;
    let got = site.send(Ask::post(call("read")).with("mcp-session-id", &token).key(&key("acme/a"))).await;
    assert_eq!((got.status, got.rule()), (401, "authenticate.revoked".into()));
}

#[tokio::test]
async fn replicas_with_one_key_share_sessions_and_others_do_not() {
    let backend = Backend::start(stateful).await;
    let replica = |seal: u8| {
        let plan = Plan::new().server("files", &backend).grant("acme/a", "files", &["*"]);
        plan.config(|c| c.session_key = Some(BASE64_STANDARD.encode([seal; 32]))).run()
    };
    let (one, two, stranger) = (replica(1).await, replica(1).await, replica(2).await);
    let token = begin(&one, "acme/a").await;
    let ask = || Ask::post(call("read")).with("mcp-session-id", &token).key(&key("acme/a"));
    assert_eq!(two.send(ask()).await.status, 200);
    no_session(&stranger.send(ask()).await);
}

#[tokio::test]
async fn it_stays_with_the_backend_that_has_it() {
    let (one, two) = (Backend::start(stateful).await, Backend::start(stateful).await);
    let mut plan = Plan::new().server("files", &one).grant("acme/a", "files", &["*"]);
    let second = plan.bundle.registry.registrations["files"].backends[0].clone();
    let second = rules::registry::Backend { url: two.url.parse().unwrap(), ..second };
    plan.bundle.registry.registrations.get_mut("files").unwrap().backends.push(second);
    let site = plan.run().await;
    let token = begin(&site, "acme/a").await;
    let began = if one.asked().len() == 1 { &one } else { &two };
    for _ in 0..4 {
        site.send(Ask::post(call("read")).with("mcp-session-id", &token).key(&key("acme/a"))).await;
    }
    assert_eq!(began.asked().len(), 5);
    begin(&site, "acme/a").await;
    assert_eq!((one.asked().len() + two.asked().len(), began.asked().len()), (6, 5), "new ones go round");
}

#[tokio::test]
async fn an_ended_session_is_the_backends_to_tell() {
    let backend = Backend::start(|asked| match asked.rpc() {
        "initialize" => stateful(asked),
        _ => {
            let mut gone = result(&json!(null), json!({}));
            *gone.status_mut() = hyper::StatusCode::NOT_FOUND;
            gone
        }
    })
    .await;
    let mut site = site(&backend).await;
    let token = begin(&site, "acme/a").await;
    let got = site.send(Ask::post(call("read")).with("mcp-session-id", &token).key(&key("acme/a"))).await;
    assert_eq!(got.status, 404);
    assert_eq!(site.outcome(&got).await, Outcome::Answered);
}

#[tokio::test]
async fn a_backends_impossible_id_is_not_passed_on() {
    let backend = Backend::start(|asked| {
        let mut answer = result(&asked.body["id"], json!({}));
        answer.headers_mut().insert("mcp-session-id", "two words".parse().unwrap());
        answer
    })
    .await;
    let site = site(&backend).await;
    let got = site.send(initialize().key(&key("acme/a"))).await;
    assert_eq!((got.status, got.rule(), got.header("mcp-session-id")), (502, "forward.session".into(), ""));
}

/// The path a client of 2024-11-05 is told to post to, and the stream it was told on.
async fn told(site: &Site, who: &str) -> (String, crate::client::Open) {
    let mut open = Ask::bare("GET").key(&key(who)).open(site.address).await;
    let event = open.next().await.unwrap().unwrap();
    let path = event.trim_end().strip_prefix("event: endpoint\ndata: ").expect("an endpoint").to_owned();
    (path, open)
}

#[tokio::test]
async fn a_client_of_the_first_transport_posts_where_it_is_told_and_nobody_else_can() {
    let (feed, fed) = mpsc::channel(4);
    feed.try_send(Ok("event: endpoint\r\ndata: /messages/?session_id=abc\r\n\r\n".into())).unwrap();
    let fed = std::sync::Mutex::new(Some(fed));
    let backend = Backend::start(move |asked| match (&asked.method, asked.target.as_str()) {
        (&Method::GET, "/mcp") => events(fed.lock().unwrap().take().unwrap()),
        (&Method::POST, "/messages/?session_id=abc") => {
            let list =
                json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "tools": [{ "name": "read" }, { "name": "write" }] } });
            feed.try_send(Ok(format!("event: message\r\ndata: {list}\r\n\r\n"))).unwrap();
            let mut accepted = crate::backend::typed("text/plain", "Accepted");
            *accepted.status_mut() = hyper::StatusCode::ACCEPTED;
            accepted
        }
        _ => status(404),
    })
    .await;
    let plan = Plan::new().server("files", &backend).server("mail", &backend).grant("acme/a", "files", &["read"]);
    let mut site = plan.grant("acme/a", "mail", &["*"]).grant("acme/b", "files", &["*"]).run().await;
    let (path, mut open) = told(&site, "acme/a").await;
    assert!(path.starts_with("/mcp/v1/tools/files/rpc/") && !path.contains("abc"), "{path}");
    let list = || Ask::post(rpc(1, "tools/list", json!({})));
    let token = path.rsplit('/').next().unwrap().to_owned();
    no_session(&site.send(list().at(&path).key(&key("acme/b"))).await);
    no_session(&site.send(list().at(&format!("/mcp/v1/tools/mail/rpc/{token}")).key(&key("acme/a"))).await);
    no_session(&site.send(list().at(&format!("{path}A")).key(&key("acme/a"))).await);
    no_session(&site.send(list().with("mcp-session-id", &token).key(&key("acme/a"))).await);
    no_session(&site.send(Ask::bare("GET").at(&path).key(&key("acme/a"))).await);
    // Its client reads answers on the stream only, those of the gateway too.
    let denied = site.send(Ask::post(call("write")).at(&path).key(&key("acme/a"))).await;
    assert_eq!((denied.status, denied.text().as_str()), (202, "Accepted"));
    let event = open.next().await.unwrap().unwrap();
    assert_eq!(
        event,
        "event: message\ndata: {\"error\":{\"code\":-32602,\"message\":\"Unknown tool: write\"},\"id\":1,\"jsonrpc\":\"2.0\"}\n\n"
    );
    assert_eq!(backend.asked().len(), 1, "so far only the stream was opened");

    let got = site.send(list().at(&path).key(&key("acme/a"))).await;
    assert_eq!((got.status, got.text().as_str()), (202, "Accepted"));
    let event = open.next().await.unwrap().unwrap();
    assert!(event.contains("\"read\"") && !event.contains("\"write\""), "the list is cut on the stream: {event}");
    assert_eq!(site.outcome(&got).await, Outcome::Answered);
}

#[tokio::test]
async fn a_backend_cannot_send_its_clients_messages_elsewhere() {
    let backend = Backend::start(|asked| {
        let (feed, fed) = mpsc::channel(1);
        let lure = asked.header("user-agent").to_owned();
        feed.try_send(Ok(format!("event: endpoint\ndata: {lure}\n\n"))).unwrap();
        events(fed)
    })
    .await;
    let site = site(&backend).await;
    for lure in [
        "http://evil.test/messages",
        "//evil.test/messages",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "http://u:p@127.0.0.1/",
        "javascript:x",
    ] {
        let mut open = Ask::bare("GET").with("user-agent", lure).key(&key("acme/a")).open(site.address).await;
        let text = open.rest().await;
        assert!(!text.contains("event: endpoint") && text.contains("ended by the gateway"), "{lure}: {text}");
    }
}

#[tokio::test]
async fn the_modern_era_has_neither_get_nor_delete() {
    let backend = Backend::start(stateful).await;
    let site = site(&backend).await;
    for method in ["GET", "DELETE"] {
        let got = site.send(Ask::bare(method).with("mcp-protocol-version", MODERN).key(&key("acme/a"))).await;
        assert_eq!((got.status, got.header("allow"), got.rule()), (405, "POST", "validate.method".into()));
        assert_eq!(got.json()["jsonrpc"], "2.0");
    }
    assert!(backend.asked().is_empty());
}
