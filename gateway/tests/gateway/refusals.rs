//! Every refusal says what happened, whose side it is on and what to do; and what is not allowed does not happen.

use crate::{
    backend::Backend,
    client::{Ask, Got, call, modern, rpc},
    site::{Plan, key, key_with, sign, sign_as, simple},
};
use gateway::audit::Outcome;
use rules::{registry::Lifecycle, wire::v1::Signed};
use serde_json::{Value, json};

#[tokio::test]
async fn without_a_valid_key_nothing_is_revealed() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let ask = || Ask::post(call("read"));
    let forged = key_with(b"some other secret, also 32 bytes", "acme/n1");
    for (ask, rule) in [
        (ask(), "authenticate.missing"),
        (ask().key("garbage"), "authenticate.malformed"),
        (ask().key(&forged), "authenticate.unknown"),
        (ask().key(&key("nobody/n1")), "authenticate.unknown"),
        (ask().key(&key("acme/revoked")), "authenticate.revoked"),
        (ask().key(&key("acme/n1")).key(&key("acme/n1")), "authenticate.ambiguous"),
        (ask().at("/mcp/v1/tools/unregistered/rpc"), "authenticate.missing"),
    ] {
        let got = site.send(ask).await;
        assert_eq!((got.status, got.rule().as_str()), (401, rule));
        let challenge = got.header("www-authenticate");
        assert!(challenge.starts_with("Bearer") && !challenge.contains("resource_metadata"), "{challenge}");
    }
    assert!(backend.asked().is_empty());
    let records = site.records().await;
    assert!(records.len() == 7 && records.iter().all(|r| r.outcome == Outcome::Unauthenticated && r.principal.is_none()));
}

#[tokio::test]
async fn a_key_may_come_as_x_api_key() {
    let backend = Backend::echo().await;
    let site = simple(&backend).await;
    assert_eq!(site.send(Ask::post(call("read")).with("x-api-key", &key("acme/n1"))).await.status, 200);
}

#[tokio::test]
async fn tenants_are_apart() {
    let backend = Backend::echo().await;
    let mut plan = Plan::new().server("files", &backend).server("mail", &backend);
    plan = plan.grant("acme/n1", "files", &["*"]).grant("other/n1", "mail", &["*"]);
    let mut site = plan.config(|c| (c.limit.per_minute, c.limit.burst) = (1, 2)).run().await;
    let ask = |who: &str, slug: &str| Ask::post(call("read")).at(&format!("/mcp/v1/tools/{slug}/rpc")).key(&key(who));
    for (who, slug) in [("acme/n1", "mail"), ("other/n1", "files")] {
        let got = site.send(ask(who, slug)).await;
        assert_eq!((got.status, got.rule().as_str()), (403, "access.default-deny"));
        assert_eq!(site.send(ask(who, "nothing")).await.status, 404);
    }
    // One tenant's bucket is empty now, refusals count; the other's is its own.
    let limited = site.send(ask("acme/n1", "files")).await;
    assert_eq!((limited.status, limited.rule().as_str()), (429, "limit.principal"));
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(site.outcome(&limited).await, Outcome::Limited);
    assert!(backend.asked().is_empty());
}

/// Everything a client can compare, but the call's id, the time and the name it asked for itself.
fn looks(got: &Got, tool: &str) -> (u16, Vec<String>, String) {
    let mut names: Vec<_> = got.headers.keys().map(|n| n.to_string()).collect();
    names.sort();
    (got.status, names, got.text().replace(tool, "TOOL"))
}

#[tokio::test]
async fn a_denied_tool_is_as_unknown_as_one_that_does_not_exist() {
    let backend = Backend::echo().await;
    let mut site = Plan::new().server("files", &backend).grant("acme/n1", "files", &["read"]).run().await;
    let ask = |a: Ask| a.key(&key("acme/n1"));
    let denied = site.send(ask(Ask::post(call("write")))).await;
    let absent = site.send(ask(Ask::post(call("nosuch")))).await;
    assert_eq!(looks(&denied, "write"), looks(&absent, "nosuch"));
    assert_eq!(
        (denied.status, denied.json()),
        (200, json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32602, "message": "Unknown tool: write" } }))
    );
    let denied = site.send(ask(modern(2, "tools/call", json!({ "name": "write" })))).await;
    assert_eq!((denied.status, &denied.json()["error"]["code"]), (200, &json!(-32602)));
    // Every other way to call it.
    let batch = json!([call("read"), rpc("b", "tools/call", json!({ "name": "write" })), { "jsonrpc": "2.0", "method": "x" }]);
    let got = site.send(ask(Ask::post(batch))).await;
    let errors = got.json();
    assert_eq!((got.status, errors[0]["id"].clone(), errors[1]["id"].clone()), (200, json!(1), json!("b")));
    assert!(errors.as_array().unwrap().iter().all(|e| e["error"]["code"] == -32602));
    let words: Vec<_> = errors.as_array().unwrap().iter().map(|e| e["error"]["message"].as_str().unwrap()).collect();
    assert_eq!(words, ["not done: another message of the batch was refused", "Unknown tool: write"], "each is told of its own tool");
    let notification = json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": "write" } });
    assert_eq!(site.send(ask(Ask::post(notification))).await.status, 400);
    for spelling in ["READ", "read ", "read\u{0}", "*", "", "../read", "rea\u{200b}d"] {
        assert_eq!(site.send(ask(Ask::post(call(spelling)))).await.json()["error"]["code"], -32602, "{spelling:?}");
    }
    assert!(backend.asked().is_empty(), "nothing of this reached the backend");
    assert_eq!(site.send(ask(Ask::post(call("read")))).await.status, 200);
    let records = site.records().await;
    assert_eq!(records.iter().filter(|r| r.outcome == Outcome::Denied).count(), records.len() - 1);
}

#[tokio::test]
async fn unknown_paths_and_spellings_lead_nowhere() {
    let backend = Backend::echo().await;
    let site = simple(&backend).await;
    for odd in [
        "/mcp/v1/tools/files/rpc/",
        "/mcp/v1/tools/FILES/rpc",
        "/mcp/v1/tools/%66iles/rpc",
        "/mcp/v1/tools/files/rpc?x=1",
        "/mcp/v1/tools/./files/rpc",
        "/mcp",
        "/",
    ] {
        let got = site.send(Ask::post(call("read")).at(odd).key(&key("acme/n1"))).await;
        assert_eq!((got.status, got.rule().as_str(), &got.json()["jsonrpc"]), (404, "route.unknown", &json!("2.0")), "{odd}");
    }
    let unregistered = site.send(modern(3, "server/discover", json!({})).at("/mcp/v1/tools/none/rpc").key(&key("acme/n1"))).await;
    assert_eq!((unregistered.status, unregistered.rule().as_str(), &unregistered.json()["id"]), (404, "access.unknown-server", &json!(3)));
    assert!(backend.asked().is_empty());
}

#[tokio::test]
async fn what_is_no_message_goes_no_further() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let raw = |text: &str| Ask::raw(text).key(&key("acme/n1"));
    let code = |got: &Got| got.json()["error"]["code"].as_i64();
    for (text, expected) in [
        ("{", -32700),
        ("\u{feff}{}", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","\u006eame":"b"}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"s":"\ud800"}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, -32602),
        ("[]", -32600),
    ] {
        let got = site.send(raw(text)).await;
        assert_eq!((got.status, code(&got)), (400, Some(expected)), "{text}");
        assert!(got.json().get("id").is_none_or(|id| !id.is_null()), "an id that could not be read is left out");
    }
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}1{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(site.send(raw(&deep)).await.status, 400);
    let text = Ask::post(call("a")).key(&key("acme/n1")).without("content-type");
    for (ask, status, rule) in [
        (text.clone(), 415, "read.type"),
        (text.clone().with("content-type", "text/plain"), 415, "read.type"),
        (Ask::post(call("a")).key(&key("acme/n1")).with("content-encoding", "gzip"), 415, "read.encoding"),
        (text.clone().with("content-type", "application/json; charset=utf-7"), 415, "read.charset"),
        (text.clone().with("content-type", "application/json;CHARSET=\"UTF-16\""), 415, "read.charset"),
        (text.clone().with("content-type", "application/json; charset=utf-8; charset=utf-7"), 415, "read.charset"),
        (Ask::bare("OPTIONS").key(&key("acme/n1")), 405, "read.method"),
        (Ask::bare("PUT").key(&key("acme/n1")), 405, "read.method"),
    ] {
        let got = site.send(ask).await;
        assert_eq!((got.status, got.rule().as_str()), (status, rule));
    }
    let utf8 = text.with("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(site.send(utf8).await.status, 200);
    let asked = backend.asked();
    assert_eq!(asked.iter().map(|a| a.header("content-type")).collect::<Vec<_>>(), ["application/json"]);
    let records = site.records().await;
    assert_eq!(records.iter().filter(|r| r.outcome == Outcome::Invalid).count(), 17);
}

#[tokio::test]
async fn headers_that_contradict_the_body_go_no_further() {
    let backend = Backend::echo().await;
    let mut site = Plan::new().server("files", &backend).grant("acme/n1", "files", &["read", "write"]).run().await;
    let call = || modern(1, "tools/call", json!({ "name": "write" })).key(&key("acme/n1"));
    for (ask, code) in [
        (call().without("mcp-name").with("mcp-name", "read"), -32020),
        (call().without("mcp-name"), -32020),
        (call().without("mcp-method"), -32020),
        (call().without("mcp-protocol-version"), -32020),
        (call().with("mcp-name", "write"), -32020),
        (call().without("mcp-method").with("mcp-method", "TOOLS/CALL"), -32020),
        (Ask::post(rpc(1, "tools/list", json!({}))).with("mcp-protocol-version", "2026-07-28").key(&key("acme/n1")), -32602),
    ] {
        let got = site.send(ask).await;
        assert_eq!((got.status, &got.json()["error"]["code"], &got.json()["id"]), (400, &json!(code), &json!(1)));
    }
    assert!(backend.asked().is_empty());
    assert!(site.records().await.iter().all(|r| r.rule.as_deref() == Some("validate.era")));
}

#[tokio::test]
async fn a_deprecated_server_says_so_and_a_retired_one_is_gone() {
    let backend = Backend::echo().await;
    let at = |text: &str| text.parse().unwrap();
    let deprecated = Lifecycle::Deprecated { since: at("2026-11-06T08:49:37Z"), sunset: Some(at("2999-01-01T00:00:00Z")) };
    let plan = Plan::new().server("files", &backend).lifecycle("files", deprecated).grant("acme/n1", "files", &["*"]);
    let mut site = plan.run().await;
    let ask = || Ask::post(call("read")).key(&key("acme/n1"));
    let got = site.send(ask()).await;
    assert_eq!((got.status, got.header("x-mcp-deprecated"), got.header("deprecation")), (200, "true", "@1793954977"));
    assert_eq!(got.header("sunset"), "Tue, 01 Jan 2999 00:00:00 GMT");

    site.change(|b| b.registry.registrations.get_mut("files").unwrap().lifecycle = Lifecycle::Sunset { since: at("2026-11-07T00:00:00Z") })
        .await;
    let got = site.send(ask()).await;
    assert_eq!((got.status, got.rule().as_str(), got.header("sunset")), (410, "access.retired", "Sat, 07 Nov 2026 00:00:00 GMT"));
    assert!(got.text().contains("retired on"));
    assert_eq!(backend.asked().len(), 1);
    assert_eq!(site.outcome(&got).await, Outcome::Retired);
}

#[tokio::test]
async fn without_a_bundle_nothing_passes() {
    let backend = Backend::echo().await;
    let mut plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    plan.bundle.generation = 0;
    plan.config.bundle_keys.clear();
    let site = plan.run().await;
    let got = site.send(Ask::post(call("read")).key(&key("acme/n1"))).await;
    assert_eq!((got.status, got.rule().as_str()), (503, "bundle.none"));
    assert_eq!(site.send(Ask::bare("GET").at("/healthz")).await.status, 503);
    assert!(backend.asked().is_empty());
}

#[tokio::test]
async fn only_a_newer_bundle_with_the_right_signature_replaces_the_one_in_force() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    site.change(|b| b.registry.revision = 2).await;
    let mut lax = site.bundle.clone();
    lax.grants[0].subject = None;
    let same = lax.clone();
    lax.generation = 99;
    let mut old = lax.clone();
    old.generation = 1;
    let mut broken = sign(&lax);
    broken.payload = broken.payload.replace('A', "B");
    let mut garbage = sign(&lax);
    garbage.signature = "?".into();
    let bad =
        [sign_as(&lax, Signed::BUNDLE, &[8; 32]), sign_as(&lax, Signed::DECISIONS, &[7; 32]), sign(&old), sign(&same), broken, garbage];
    for (n, bad) in bad.into_iter().enumerate() {
        site.offer(bad);
        let refused = format!("bundles_refused_total {}\n", n + 1);
        while !site.send(Ask::bare("GET").at("/metrics")).await.text().contains(&refused) {
            tokio::task::yield_now().await;
        }
        assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200, "the last good one stays in force");
    }
    assert_eq!(site.generation().await, 2);
    site.offer(sign(&lax));
    while site.generation().await != 99 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_restart_without_the_collector_goes_by_the_last_good_bundle_and_by_no_older_one() {
    let backend = Backend::echo().await;
    let plan = |generation: u64| {
        let mut plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
        plan.bundle.generation = generation;
        plan
    };
    let mut site = plan(7).run().await;
    site.stop().await;
    let dir = site.into_dir();
    let kept = dir.path().join("gateway/bundle.json");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&kept).unwrap()) & 0o777, 0o600);
    let mut site = plan(7).silent().run_in(dir).await;
    assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    site.offer(sign(&plan(6).bundle));
    while !site.send(Ask::bare("GET").at("/metrics")).await.text().contains("bundles_refused_total 1\n") {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.generation().await, 7);
    site.stop().await;
    // What is on disk is trusted no more than what arrives.
    let dir = site.into_dir();
    std::fs::write(&kept, serde_json::to_vec(&sign_as(&plan(9).bundle, Signed::BUNDLE, &[8; 32])).unwrap()).unwrap();
    let site = plan(0).silent().run_in(dir).await;
    assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 503);
}

#[tokio::test]
async fn health_and_metrics_are_no_calls() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    site.send(Ask::post(call("read"))).await;
    let metrics = site.send(Ask::bare("GET").at("/metrics")).await;
    assert!(metrics.text().contains("gnomon_gateway_requests_total{outcome=\"unauthenticated\"} 1\n"), "{}", metrics.text());
    assert!(metrics.text().contains("gnomon_gateway_bundle_generation 1\n"));
    let health: Value = site.send(Ask::bare("GET").at("/healthz")).await.json();
    assert_eq!(health, json!({ "status": "ok", "generation": 1 }));
    for path in ["/healthz", "/metrics"] {
        let rebound = site.send(Ask::bare("GET").at(path).hostless().with("host", "evil.test")).await;
        assert_eq!((rebound.status, rebound.rule().as_str()), (403, "doorstep.host"));
        assert_eq!(site.send(Ask::bare("GET").at(path).with("origin", "http://evil.test")).await.status, 403);
    }
    assert_eq!(site.records().await.len(), 5);
}
