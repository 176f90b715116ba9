//! Both protocol eras pass, and what streams, streams.

use crate::{
    backend::{Backend, events, json_body, result},
    client::{Ask, call, modern, rpc},
    site::{Plan, key, simple},
};
use gateway::audit::Outcome;
use serde_json::json;
use std::{io, sync::Mutex};
use tokio::sync::mpsc;

type Feed = mpsc::Sender<io::Result<String>>;

/// A backend whose one answer is a stream that the returned sender feeds.
async fn streaming() -> (Backend, Feed) {
    let (feed, fed) = mpsc::channel(1);
    let fed = Mutex::new(Some(fed));
    (Backend::start(move |_| events(fed.lock().unwrap().take().unwrap())).await, feed)
}

#[tokio::test]
async fn a_legacy_call_is_answered_in_json() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let got = site.send(Ask::post(call("read")).key(&key("acme/n1"))).await;
    assert_eq!((got.status, &got.json()["result"]["echo"]["name"]), (200, &json!("read")));
    let record = site.record(got.call()).await;
    assert_eq!(record.outcome, Outcome::Answered);
    assert_eq!((record.method.as_deref(), record.tool.as_deref()), (Some("tools/call"), Some("read")));
    assert_eq!((record.grant.as_deref(), record.generation, record.revision), (Some("n1-files"), Some(1), Some(3)));
    assert_eq!((record.principal.unwrap().to_string(), record.backend.unwrap().port()), ("acme/n1".into(), backend.port));
    assert_eq!((record.bytes, record.params.unwrap().len()), (got.body.len() as u64, 64));
}

#[tokio::test]
async fn a_modern_call_is_answered_in_json_and_gets_no_session() {
    let backend = Backend::start(|asked| {
        let mut answer = result(&asked.body["id"], json!({ "resultType": "complete", "content": [] }));
        answer.headers_mut().insert("mcp-session-id", "s".parse().unwrap());
        answer
    })
    .await;
    let mut site = simple(&backend).await;
    let ask = modern("a", "tools/call", json!({ "name": "read" })).with("mcp-param-region", "eu").with("mcp-session-id", "left over");
    let got = site.send(ask.key(&key("acme/n1"))).await;
    assert_eq!((got.status, &got.json()["id"], got.header("mcp-session-id")), (200, &json!("a"), ""));
    let asked = backend.asked().remove(0);
    assert_eq!((asked.header("mcp-param-region"), asked.header("mcp-name"), asked.header("mcp-session-id")), ("eu", "read", ""));
    assert_eq!(asked.header("x-gnomon-call"), got.call());
    assert_eq!(site.outcome(&got).await, Outcome::Answered);
}

#[tokio::test]
async fn each_event_arrives_before_the_backend_sends_the_next() {
    // Whoever may see only some tools has every event looked at; nothing may be held back for that.
    for tools in [["*"], ["read"]] {
        let (backend, feed) = streaming().await;
        let mut site = Plan::new().server("files", &backend).grant("acme/n1", "files", &tools).run().await;
        let mut open = Ask::post(call("read")).key(&key("acme/n1")).open(site.address).await;
        assert_eq!(open.response.headers()["x-accel-buffering"], "no");
        for n in 0..3 {
            let event = format!("event: message\r\ndata: {{\"n\":{n}}}\r\n\r\n");
            // The next is sent only after this one was received here.
            feed.send(Ok(event.clone())).await.unwrap();
            assert_eq!(open.next().await.unwrap().unwrap(), event);
        }
        drop(feed);
        assert!(open.next().await.is_none());
        let records = site.records().await;
        assert_eq!(records.iter().map(|r| r.outcome).collect::<Vec<_>>(), [Outcome::Answered]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_backends_stream_with_it() {
    let (backend, feed) = streaming().await;
    let mut site = simple(&backend).await;
    let mut open = Ask::post(call("read")).key(&key("acme/n1")).open(site.address).await;
    feed.send(Ok("data: 1\n\n".into())).await.unwrap();
    open.next().await.unwrap().unwrap();
    drop(open);
    feed.closed().await;
    assert_eq!(site.records().await.remove(0).outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_call() {
    let (feed, fed) = mpsc::channel::<io::Result<String>>(1);
    let (asked, mut was_asked) = mpsc::channel(1);
    let fed = Mutex::new(Some(fed));
    // Answers with a body that does not begin: plain JSON that never comes.
    let backend = Backend::start(move |_| {
        asked.try_send(()).unwrap();
        let mut answer = events(fed.lock().unwrap().take().unwrap());
        answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
        answer
    })
    .await;
    let mut site = simple(&backend).await;
    let list = Ask::post(rpc(1, "tools/list", json!({}))).key(&key("acme/n1"));
    let address = site.address;
    let waiting = tokio::spawn(async move { list.open(address).await.response.status() });
    was_asked.recv().await.unwrap();
    waiting.abort();
    feed.closed().await;
    let record = site.records().await.remove(0);
    assert_eq!((record.outcome, record.status), (Outcome::Cancelled, 0));
}

#[tokio::test]
async fn a_backend_that_breaks_off_leaves_no_call_without_an_answer() {
    // Modern: the stream is the only place for the answer, so it comes there.
    let (backend, feed) = streaming().await;
    let mut site = simple(&backend).await;
    let mut open = modern(7, "tools/call", json!({ "name": "read" })).key(&key("acme/n1")).open(site.address).await;
    feed.send(Ok("data: {\"method\":\"notifications/progress\"}\n\n".into())).await.unwrap();
    feed.send(Err(io::ErrorKind::ConnectionReset.into())).await.unwrap();
    let text = open.rest().await;
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    let error: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((&error["id"], &error["error"]["code"], &error["error"]["data"]["whose"]), (&json!(7), &json!(502), &json!("backend")));
    assert_eq!(site.records().await.remove(0).outcome, Outcome::BackendFailed);
}

#[tokio::test]
async fn a_legacy_stream_that_breaks_off_is_broken_off_so_that_the_client_resumes() {
    let (backend, feed) = streaming().await;
    let mut site = simple(&backend).await;
    let mut open = Ask::post(call("read")).key(&key("acme/n1")).open(site.address).await;
    feed.send(Ok("id: 1\ndata: \n\n".into())).await.unwrap();
    assert!(open.next().await.unwrap().is_ok());
    feed.send(Err(io::ErrorKind::ConnectionReset.into())).await.unwrap();
    assert!(open.next().await.unwrap().is_err());
    assert_eq!(site.records().await.remove(0).outcome, Outcome::BackendFailed);
}

#[tokio::test]
async fn a_subscription_streams_until_its_key_is_revoked() {
    let (backend, feed) = streaming().await;
    let mut site = simple(&backend).await;
    let listen = modern("L", "subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }));
    let mut open = listen.key(&key("acme/n1")).open(site.address).await;
    let ack = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\"}\n\n";
    feed.send(Ok(ack.into())).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap(), ack);
    site.change(|b| b.tenants[0].keys.clear()).await;
    assert!(open.rest().await.contains("the key was revoked"));
    feed.closed().await;
    assert_eq!(site.records().await.remove(0).outcome, Outcome::Withdrawn);
}

#[tokio::test]
async fn a_stream_ends_when_what_it_was_opened_with_is_narrowed() {
    let (backend, feed) = streaming().await;
    let mut site = Plan::new().server("files", &backend).grant("acme/n1", "files", &["read", "write"]).run().await;
    let mut open = Ask::post(call("write")).key(&key("acme/n1")).open(site.address).await;
    // More is no reason to end.
    site.change(|b| b.grants[0].tools.push("list".into())).await;
    feed.send(Ok("data: still\n\n".into())).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap(), "data: still\n\n");
    site.change(|b| b.grants[0].tools = vec!["read".into()]).await;
    assert!(open.rest().await.contains("the grant was narrowed"));
    assert_eq!(site.records().await.remove(0).outcome, Outcome::Withdrawn);
}

#[tokio::test]
async fn a_stream_ends_when_the_sunset_of_its_server_passes() {
    let (backend, feed) = streaming().await;
    let now = rules::Timestamp::now();
    let at = rules::period::Period(std::time::Duration::from_secs(3)).after(now);
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let mut site = plan.lifecycle("files", rules::registry::Lifecycle::Deprecated { since: now, sunset: Some(at) }).run().await;
    let mut open = Ask::post(call("read")).key(&key("acme/n1")).open(site.address).await;
    feed.send(Ok("data: before\n\n".into())).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap(), "data: before\n\n");
    assert!(open.rest().await.contains("the server's sunset has passed"));
    assert_eq!(site.records().await.remove(0).outcome, Outcome::Withdrawn);
}

#[tokio::test]
async fn an_unrelated_change_of_policy_leaves_a_stream_open_and_a_shutdown_ends_it() {
    let (backend, feed) = streaming().await;
    let mut site = simple(&backend).await;
    let mut open = Ask::bare("GET").key(&key("acme/n1")).open(site.address).await;
    site.change(|b| b.registry.revision += 1).await;
    feed.send(Ok("data: still\n\n".into())).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap(), "data: still\n\n");
    site.shutdown.cancel();
    assert!(open.rest().await.contains("the gateway shuts down"));
    assert_eq!(site.records().await.remove(0).outcome, Outcome::Withdrawn);
}

#[tokio::test]
async fn one_key_cannot_take_all_connections_with_streams() {
    let backend = Backend::start(|_| {
        let (feed, fed) = mpsc::channel(1);
        tokio::spawn(async move { feed.closed().await });
        events(fed)
    })
    .await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]).grant("acme/n2", "files", &["*"]);
    let site = plan.config(|c| c.limit.open = 2).run().await;
    let listen = |who: &str| Ask::bare("GET").key(&key(who)).open(site.address);
    let (one, _two) = (listen("acme/n1").await, listen("acme/n1").await);
    let got = site.send(Ask::post(call("read")).key(&key("acme/n1"))).await;
    assert_eq!((got.status, got.rule().as_str(), got.header("retry-after")), (429, "limit.open", "1"));
    assert_eq!(listen("acme/n2").await.response.status(), 200);
    drop(one);
    while listen("acme/n1").await.response.status() != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lists_are_filtered_in_json_and_in_events_and_on_resumed_streams() {
    let list =
        json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [{ "name": "read" }, { "name": "write" }], "cacheScope": "public" } });
    let names = |text: &str| [text.contains("\"read\""), text.contains("\"write\""), text.contains("\"private\"")];
    let answer = list.clone();
    let json_backend = Backend::start(move |_| json_body(&answer)).await;
    let event_backend = Backend::start(move |_| {
        let (feed, fed) = mpsc::channel(2);
        feed.try_send(Ok(format!("id: 9\nevent: message\ndata: {list}\n\n"))).unwrap();
        events(fed)
    })
    .await;
    for backend in [&json_backend, &event_backend] {
        let mut plan = Plan::new().server("files", backend).grant("acme/some", "files", &["read"]).grant("acme/all", "files", &["*"]);
        plan = plan.grant("acme/none", "files", &[]);
        let site = plan.run().await;
        let list = |who: &str| Ask::post(rpc(1, "tools/list", json!({}))).key(&key(who));
        assert_eq!(names(&site.send(list("acme/some")).await.text()), [true, false, true]);
        assert_eq!(names(&site.send(list("acme/all")).await.text()), [true, true, true]);
        assert_eq!(names(&site.send(list("acme/none")).await.text()), [false, false, true]);
    }
    // What a list call left unread may come again on a stream opened by GET.
    let site = Plan::new().server("files", &event_backend).grant("acme/some", "files", &["read"]).run().await;
    let resumed = site.send(Ask::bare("GET").with("last-event-id", "8").key(&key("acme/some"))).await;
    assert_eq!(names(&resumed.text()), [true, false, true]);
    assert!(resumed.text().starts_with("id: 9\nevent: message\ndata: {"));
    assert_eq!(event_backend.asked().last().unwrap().header("last-event-id"), "8");
}

#[tokio::test]
async fn connections_to_a_backend_are_kept() {
    let backend = Backend::echo().await;
    let site = simple(&backend).await;
    for _ in 0..20 {
        assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    }
    assert_eq!(backend.connections(), 1);
}
