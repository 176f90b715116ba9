//! Clients and backends that mean harm.

use crate::{
    backend::{Backend, events, json_body, result, status, typed},
    client::{Ask, call, connect, modern, rpc},
    site::{Plan, key, simple},
};
use gateway::audit::Outcome;
use rules::period::Period;
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

#[tokio::test]
async fn a_rebound_name_or_a_foreign_page_gets_nothing() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let ask = || Ask::post(call("read")).key(&key("acme/n1"));
    let host = |h: &str| ask().hostless().with("host", h);
    for (ask, code, rule) in [
        (host("evil.test"), 403, "doorstep.host"),
        (host("[2001:db8::1]"), 403, "doorstep.host"),
        (host("localhost@evil.test"), 400, "doorstep.unclear"),
        (host("localhost").with("host", "localhost"), 400, "doorstep.unclear"),
        (ask().hostless(), 400, "doorstep.unclear"),
        (ask().at("http://evil.test/mcp/v1/tools/files/rpc"), 400, "doorstep.unclear"),
        (ask().at("http://localhost/mcp/v1/tools/files/rpc"), 400, "doorstep.unclear"),
        (ask().with("origin", "http://evil.test"), 403, "doorstep.origin"),
        (ask().with("origin", "null"), 403, "doorstep.origin"),
        (host("localhost").with("origin", "http://localhost").with("origin", "http://localhost"), 403, "doorstep.origin"),
        (ask().with("sec-fetch-site", "cross-site"), 403, "doorstep.origin"),
    ] {
        let got = site.send(ask).await;
        assert_eq!((got.status, got.rule().as_str()), (code, rule));
    }
    assert!(backend.asked().is_empty());
    let own = site.send(host("localhost:80").with("origin", "http://localhost:80")).await;
    assert_eq!(own.status, 200, "the gateway's own origin is welcome");
    assert_eq!(site.records().await.len(), 12);
}

#[tokio::test]
async fn names_and_origins_can_be_admitted() {
    let backend = Backend::echo().await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let plan =
        plan.config(|c| (c.public_names, c.origins) = (vec!["tools.corp.example".into()], vec!["https://console.corp.example".into()]));
    let site = plan.run().await;
    let ask = Ask::post(call("read")).key(&key("acme/n1")).hostless().with("host", "tools.corp.example:7413");
    assert_eq!(site.send(ask.clone()).await.status, 200);
    assert_eq!(site.send(ask.with("origin", "https://console.corp.example")).await.status, 200);
}

#[tokio::test]
async fn nothing_of_the_callers_identity_reaches_the_backend() {
    let backend = Backend::echo().await;
    let site = simple(&backend).await;
    let ask = Ask::post(call("read")).key(&key("acme/n1")).with("cookie", "session=1").with("forwarded", "for=1.1.1.1");
    let ask = ask.with("x-forwarded-for", "1.1.1.1").with("x-user", "root").with("connection", "x-kept").with("x-gnomon-call", "forged");
    assert_eq!(site.send(ask).await.status, 200);
    let asked = backend.asked().remove(0);
    let mut names: Vec<_> = asked.headers.keys().map(|n| n.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "content-length", "content-type", "host", "x-gnomon-call"]);
    assert_eq!((asked.header("host"), asked.target.as_str()), (format!("127.0.0.1:{}", backend.port).as_str(), "/mcp"));
    assert_ne!(asked.header("x-gnomon-call"), "forged");
}

#[tokio::test]
async fn equal_ids_of_many_clients_are_never_confused() {
    let backend = Backend::echo().await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let site = plan.config(|c| c.limit.per_minute = 0).run().await;
    let mut clients = JoinSet::new();
    for client in 0..40 {
        let address = site.address;
        clients.spawn(async move {
            let (mut sender, _connection) = connect(address).await;
            for n in 0..25 {
                let payload = json!({ "name": "read", "arguments": { "client": client, "n": n } });
                let ask = match client % 2 {
                    0 => Ask::post(rpc(n, "tools/call", payload.clone())),
                    _ => modern(n, "tools/call", payload.clone()),
                };
                let answer = sender.send_request(ask.key(&key("acme/n1")).request(address)).await.unwrap();
                let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
                let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!((&answer["id"], &answer["result"]["echo"]["arguments"]), (&json!(n), &payload["arguments"]));
                sender.ready().await.unwrap();
            }
        });
    }
    assert_eq!(clients.join_all().await.len(), 40);
    assert_eq!(backend.asked().len(), 1000);
}

#[tokio::test]
async fn a_body_too_large_is_refused_however_it_is_sent() {
    let backend = Backend::echo().await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let site = plan.config(|c| c.bounds.body_bytes = 1000).run().await;
    let padded = rpc(1, "tools/call", json!({ "name": "read", "arguments": "x".repeat(2000) }));
    let got = site.send(Ask::post(padded.clone()).key(&key("acme/n1"))).await;
    assert_eq!((got.status, got.rule().as_str()), (413, "read.size"));
    // In chunks its length is not known beforehand.
    let head = format!(
        "POST /mcp/v1/tools/files/rpc HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        key("acme/n1")
    );
    let text = padded.to_string();
    let chunked = format!("{head}{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    assert!(raw(site.address, chunked.as_bytes()).await.starts_with("HTTP/1.1 413"));
    // More than the buffers in between hold, from a client that sends all before it reads.
    let long = "x".repeat(24 << 20);
    let known = head.replace("transfer-encoding: chunked", &format!("content-length: {}", long.len()));
    for request in [format!("{known}{long}"), format!("{head}{:x}\r\n{long}\r\n0\r\n\r\n", long.len())] {
        let mut client = TcpStream::connect(site.address).await.unwrap();
        client.write_all(request.as_bytes()).await.expect("all of it is taken");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("and answered");
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    // Who asks first is told before anything is sent.
    let asking = known.replace("connection: close", "expect: 100-continue\r\nconnection: close");
    assert!(raw(site.address, asking.as_bytes()).await.starts_with("HTTP/1.1 413"));
    assert!(backend.asked().is_empty());
}

/// What comes back until the connection is closed.
async fn raw(to: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_are_bounded_and_smuggling_is_refused() {
    let backend = Backend::echo().await;
    let site = simple(&backend).await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let ask = |headers: &str, body: &str| {
        format!("POST /mcp/v1/tools/files/rpc HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n{body}")
    };
    for (text, code) in [
        (ask(&many, ""), "431"),
        (ask(&format!("x: {}\r\n", "y".repeat(200_000)), ""), "431"),
        (ask("x y: 1\r\n", ""), "400"),
        (ask("content-length: 5\r\ncontent-length: 6\r\n", "12345"), "400"),
        (ask("transfer-encoding: gzip, identity\r\n", "12345"), "400"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c".into(), "400"),
    ] {
        let answer = raw(site.address, text.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{code}: {answer}");
    }
    assert!(backend.asked().is_empty());
    let metrics = site.send(Ask::bare("GET").at("/metrics")).await.text();
    assert!(!metrics.contains("connections_malformed_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_request_with_two_lengths_is_refused_in_any_order_and_recorded() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let body = call("read").to_string();
    let length = format!("content-length: {}\r\n", body.len());
    let ask = |framing: String, body: &str| {
        let (key, close) = (key("acme/n1"), "connection: close\r\ncontent-type: application/json");
        format!("POST /mcp/v1/tools/files/rpc HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n{close}\r\n{framing}\r\n{body}")
    };
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let encoded = "Transfer-Encoding: chunked\r\n".to_owned();
    for both in [format!("{length}{encoded}"), format!("{encoded}{length}")] {
        let answer = raw(site.address, ask(both, &chunked).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("doorstep.framing"), "{answer}");
    }
    assert!(backend.asked().is_empty());
    // Either alone is good.
    for (one, body) in [(length, body.as_str()), (encoded, chunked.as_str())] {
        let answer = raw(site.address, ask(one, body).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let rules: Vec<_> = site.records().await.into_iter().filter_map(|r| r.rule).collect();
    assert_eq!(rules, ["doorstep.framing", "doorstep.framing"]);
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_place_and_is_counted() {
    let backend = Backend::start(|asked| result(&asked.body["id"], json!({ "text": "x".repeat(64 << 20) }))).await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let site = plan.config(|c| c.bounds.write_time = Period(Duration::from_millis(100))).run().await;
    let body = call("read").to_string();
    let head = format!(
        "POST /mcp/v1/tools/files/rpc HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        key("acme/n1"),
        body.len()
    );
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let unread = async || site.send(Ask::bare("GET").at("/metrics")).await.text();
    while !unread().await.contains("connections_unread_total 1\n") {
        tokio::task::yield_now().await;
    }
    drop(stream);
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let backend = Backend::echo().await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let brief = Period(Duration::from_millis(50));
    let mut site = plan.config(|c| (c.bounds.head_time, c.bounds.body_time) = (brief, brief)).run().await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"POST /mcp/v1/tools/files/rpc HTT").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));

    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /mcp/v1/tools/files/rpc HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{{",
        key("acme/n1")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"));
    assert!(backend.asked().is_empty());
    assert_eq!(site.records().await.remove(0).rule.as_deref(), Some("read.slow"));
}

#[tokio::test]
async fn a_full_house_says_so() {
    let backend = Backend::echo().await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let site = plan.config(|c| c.bounds.connections = 2).run().await;
    let (mut first, _one) = connect(site.address).await;
    first.send_request(Ask::bare("GET").at("/healthz").request(site.address)).await.unwrap();
    let (mut second, _two) = connect(site.address).await;
    second.send_request(Ask::bare("GET").at("/healthz").request(site.address)).await.unwrap();
    let turned_away = raw(site.address, b"").await;
    assert!(turned_away.starts_with("HTTP/1.1 503") && turned_away.contains("door.full"), "{turned_away}");
    first.ready().await.unwrap();
    let metrics = first.send_request(Ask::bare("GET").at("/metrics").request(site.address)).await.unwrap();
    let text = http_body_util::BodyExt::collect(metrics.into_body()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("connections_turned_away_total 1\n"));
}

#[tokio::test]
async fn no_answer_makes_the_gateway_go_anywhere() {
    // Who would be gone to if an answer were obeyed.
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let lure = format!("http://{}/", trap.local_addr().unwrap());
    let backend = Backend::start(move |asked| {
        let code = asked.body["params"]["arguments"]["code"].as_u64().unwrap() as u16;
        let mut answer = status(code);
        answer.headers_mut().insert("location", lure.parse().unwrap());
        answer.headers_mut().insert("www-authenticate", format!("Bearer resource_metadata=\"{lure}\"").parse().unwrap());
        answer
    })
    .await;
    let mut site = simple(&backend).await;
    for (code, rule) in
        [(301, "redirect"), (302, "redirect"), (307, "redirect"), (308, "redirect"), (401, "refused"), (403, "refused"), (407, "refused")]
    {
        let ask = Ask::post(rpc(1, "tools/call", json!({ "name": "a", "arguments": { "code": code } })));
        let got = site.send(ask.key(&key("acme/n1"))).await;
        assert_eq!((got.status, got.rule()), (502, format!("forward.{rule}")), "{code}");
        assert_eq!((got.header("location"), got.header("www-authenticate")), ("", ""));
        assert_eq!(got.json()["error"]["data"]["whose"], "backend");
    }
    assert!(trap.accept().is_err(), "the gateway went where an answer sent it");
    let _control = std::net::TcpStream::connect(trap.local_addr().unwrap()).unwrap();
    assert!(trap.accept().is_ok(), "had it gone there, it would have been seen");
    assert!(site.records().await.iter().all(|r| r.outcome == Outcome::BackendFailed));
}

#[tokio::test]
async fn connections_go_only_where_the_registration_says() {
    let backend = Backend::echo().await;
    let port = backend.port;
    let pinned = format!("http://tools.corp.invalid:{port}/mcp");
    let plan = Plan::new().server_at("pinned", &pinned, &["127.0.0.1"]).server_at("unpinned", &pinned, &[]);
    let plan = plan.server_at("metadata", "http://169.254.169.254/latest", &[]).server_at("hidden", "http://[2002:a9fe:a9fe::1]/", &[]);
    let plan = plan.server_at("mixed", &pinned, &["169.254.169.254", "0.0.0.0"]).server_at(
        "localhost",
        &format!("http://localhost:{port}/mcp"),
        &[],
    );
    let slugs = ["pinned", "unpinned", "metadata", "hidden", "mixed", "localhost"];
    let site = slugs.iter().fold(plan, |plan, slug| plan.grant("acme/n1", slug, &["*"])).run().await;
    let mut got = Vec::new();
    for slug in slugs {
        let ask = Ask::post(call("a")).at(&format!("/mcp/v1/tools/{slug}/rpc"));
        got.push((slug, site.send(ask.key(&key("acme/n1"))).await.status));
    }
    assert_eq!(got, [("pinned", 200), ("unpinned", 502), ("metadata", 502), ("hidden", 502), ("mixed", 502), ("localhost", 200)]);
    assert_eq!(backend.asked()[0].header("host"), format!("tools.corp.invalid:{port}"));
}

#[tokio::test]
async fn what_backends_answer_wrongly_becomes_a_clear_error() {
    let backend = Backend::start(|asked| match asked.body["params"]["name"].as_str().unwrap_or_default() {
        "page" => typed("text/html", "<html>hello</html>"),
        "nowhere" => {
            let mut page = typed("text/html", "Cannot POST /mcp");
            *page.status_mut() = hyper::StatusCode::NOT_FOUND;
            page
        }
        "head" => {
            let mut answer = result(&asked.body["id"], json!({}));
            answer.headers_mut().insert("x", "y".repeat(2 << 20).parse().unwrap());
            answer
        }
        _ => match asked.rpc() {
            "tools/list" => json_body(&json!({ "id": 1, "result": { "tools": [{ "name": "x".repeat(5 << 20) }] } })),
            "packed" => {
                let (feed, fed) = mpsc::channel(1);
                drop(feed);
                let mut answer = events(fed);
                answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
                answer
            }
            _ => result(&asked.body["id"], json!({})),
        },
    })
    .await;
    let mut site = Plan::new().server("files", &backend).grant("acme/n1", "files", &["page", "nowhere", "head"]).run().await;
    for (ask, code, rule) in [
        (Ask::post(call("page")), 502, "forward.not-mcp"),
        (Ask::post(call("nowhere")), 404, "forward.not-mcp"),
        (Ask::post(call("head")), 502, "forward.broke-off"),
        (Ask::post(rpc(1, "tools/list", json!({}))), 502, "forward.list"),
        (Ask::post(rpc(1, "packed", json!({}))), 502, "forward.encoding"),
    ] {
        let got = site.send(ask.key(&key("acme/n1"))).await;
        assert_eq!((got.status, got.rule().as_str(), &got.json()["id"]), (code, rule, &json!(1)));
    }
    assert!(site.records().await.iter().all(|r| r.outcome == Outcome::BackendFailed));
}

#[tokio::test]
async fn an_endless_event_is_cut_where_it_would_have_to_be_read() {
    let (feed, fed) = mpsc::channel(1);
    let fed = std::sync::Mutex::new(Some(fed));
    let backend = Backend::start(move |_| events(fed.lock().unwrap().take().unwrap())).await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["read"]);
    let mut site = plan.config(|c| c.forward.list_bytes = 10_000).run().await;
    let mut open = Ask::post(call("read")).key(&key("acme/n1")).open(site.address).await;
    let flood = tokio::spawn(async move { while feed.send(Ok("data: x".repeat(100))).await.is_ok() {} });
    assert!(open.rest().await.contains("too large to be checked"));
    flood.await.unwrap();
    assert_eq!(site.records().await.remove(0).outcome, Outcome::BackendFailed);
}

#[tokio::test]
async fn a_backend_that_is_away_silent_or_hangs_up_is_named_as_the_cause() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, rude_at) = (silent.local_addr().unwrap(), rude.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
        }
    });
    let plan = Plan::new().config(|c| c.forward.answer_time = Period(Duration::from_millis(100)));
    let plan = plan.server_at("away", &format!("http://{closed}/"), &[]).server_at("silent", &format!("http://{silent_at}/"), &[]);
    let plan = plan.server_at("rude", &format!("http://{rude_at}/"), &[]);
    let mut site = ["away", "silent", "rude"].iter().fold(plan, |plan, slug| plan.grant("acme/n1", slug, &["*"])).run().await;
    for (slug, code, rule) in [("away", 502, "unreachable"), ("silent", 504, "silent"), ("rude", 502, "broke-off")] {
        let ask = Ask::post(call("a")).at(&format!("/mcp/v1/tools/{slug}/rpc"));
        let got = site.send(ask.key(&key("acme/n1"))).await;
        assert_eq!((got.status, got.rule(), &got.json()["id"]), (code, format!("forward.{rule}"), &json!(1)), "{slug}");
    }
    assert!(site.records().await.iter().all(|r| r.outcome == Outcome::BackendFailed));
}

#[tokio::test]
async fn a_call_that_may_have_been_executed_is_never_sent_twice() {
    // Answers one request per connection and hangs up on the next, after reading it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (heard, mut hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                for turn in 0..2 {
                    let n = stream.read(&mut buffer).await.unwrap_or(0);
                    if n == 0 {
                        return;
                    }
                    heard.send(turn).unwrap();
                    if turn == 0 {
                        let body = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    let site = Plan::new().server_at("files", &url, &[]).grant("acme/n1", "files", &["*"]).run().await;
    let ask = || Ask::post(call("a")).key(&key("acme/n1"));
    assert_eq!(site.send(ask()).await.status, 200);
    assert_eq!(site.send(ask()).await.rule(), "forward.broke-off");
    assert_eq!((hears.recv().await, hears.recv().await, hears.try_recv().ok()), (Some(0), Some(1), None));
}
