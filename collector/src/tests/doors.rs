//! The admin API: who may ask, and what is answered.

use super::*;
use crate::api::ROUTES;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

pub(super) struct Admin {
    client: Client,
    base: String,
    token: String,
}

impl Admin {
    pub(super) fn of(running: &Running, config: &Config) -> Admin {
        let token = std::fs::read_to_string(config.data.join("admin.token")).unwrap();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Admin { client, base: format!("http://{}", running.admin_address()), token }
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.client.request(method.parse::<Method>().unwrap(), format!("{}{path}", self.base)).bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, Value::Null).await;
        assert!(status.is_success(), "{path}: {status} {value}");
        value
    }
}

#[tokio::test]
async fn every_route_needs_the_token_a_loopback_name_and_no_web_page() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    for (method, path) in ROUTES {
        let request = || admin.client.request(method.parse().unwrap(), format!("{}{path}", admin.base));
        let status = async |r: reqwest::RequestBuilder| r.send().await.unwrap().status();
        assert_eq!(status(request()).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(status(request().bearer_auth("wrong")).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        let known = request().bearer_auth(&admin.token);
        assert_eq!(status(known.header("host", "rebound.example:7411")).await, StatusCode::FORBIDDEN, "{method} {path}");
        let known = request().bearer_auth(&admin.token);
        assert_eq!(status(known.header("origin", "http://127.0.0.1:7411")).await, StatusCode::FORBIDDEN, "{method} {path}");
        let known = status(request().bearer_auth(&admin.token)).await;
        assert!(known != StatusCode::UNAUTHORIZED && known != StatusCode::METHOD_NOT_ALLOWED, "{method} {path}: {known}");
    }
    end(running, stop).await;
}

#[test]
fn the_list_of_routes_is_whole() {
    let source = include_str!("../api/mod.rs");
    let known: std::collections::BTreeSet<String> = ROUTES.iter().map(|(_, path)| shape(path)).collect();
    let written: Vec<&str> = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(written.len() > 20);
    for path in written.iter().filter(|p| !["/", "/healthz", "/style.css"].contains(*p)) {
        assert!(known.contains(&shape(path)), "{path} is not in ROUTES");
    }
}

/// `/v1/findings/{id}` and `/v1/findings/F-00000000` are both `v1/findings/*`.
fn shape(path: &str) -> String {
    let fixed = ["v1", "metrics", "exempt", "snooze", "registration", "plan", "approve", "verify", "revoke", "rotate"];
    let part = |(n, p): (usize, &str)| if n < 2 || fixed.contains(&p) { p.to_owned() } else { "*".to_owned() };
    path.split('?').next().unwrap().trim_start_matches('/').split('/').enumerate().map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn a_finding_is_registered_by_its_own_draft_and_closes() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    shown(&running.handle(), |s| !s.decisions.is_empty()).await;

    let servers = admin.get("/v1/servers?confidence=confirmed").await;
    assert_eq!(servers[0]["key"], "default/10.0.0.5:3001/mcp");
    assert_eq!(admin.get("/v1/servers/default%2F10.0.0.5:3001%2Fmcp").await["confidence"], "confirmed");
    let findings = admin.get("/v1/findings").await;
    let id = findings[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((findings[0]["kind"].as_str(), findings[0]["rung"].as_str()), (Some("shadow"), Some("notified")));
    let lines = admin.get(&format!("/v1/explain?subject={id}")).await;
    assert!(lines["lines"].as_array().unwrap().iter().any(|l| l.as_str().unwrap().contains("10.0.0.5:3001/mcp is confirmed")), "{lines}");
    let plan = admin.get("/v1/enforce/plan").await;
    assert_eq!(plan["entries"][0]["action"], "shadow");

    let mut draft = admin.get(&format!("/v1/findings/{id}/registration")).await;
    assert_eq!(draft["backends"][0]["url"], "http://10.0.0.5:3001/mcp");
    draft["slug"] = json!("tools");
    let (status, made) = admin.ask("POST", "/v1/registry", draft.clone()).await;
    assert_eq!((status, made["revision"].as_u64()), (StatusCode::CREATED, Some(1)), "{made}");
    let (status, problem) = admin.ask("POST", "/v1/registry", draft.clone()).await;
    assert_eq!((status, problem["whose"].as_str()), (StatusCode::CONFLICT, Some("caller")), "{problem}");
    let closed = admin.get(&format!("/v1/findings/{id}")).await;
    assert_eq!((closed["rung"].as_str(), closed["closed"].as_str()), (Some("closed"), Some("registered")));
    assert_eq!(admin.get("/v1/servers").await[0]["registered_as"], "tools");
    assert_eq!(admin.get("/v1/enforce/plan").await["entries"], json!([]));

    draft["owner"] = json!("grace");
    let (_, changed) = admin.ask("PUT", "/v1/registry/tools", draft).await;
    assert_eq!(changed["revision"], 2);
    let (status, _) = admin.ask("DELETE", "/v1/registry/tools", Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(admin.get(&format!("/v1/findings/{id}")).await["rung"], "open");
    assert_eq!(admin.get("/v1/journal/verify").await["whole"], true);
    end(running, stop).await;
}

#[tokio::test]
async fn names_of_backends_become_addresses_and_two_slugs_cannot_have_one_backend() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let draft = |slug: &str, url: &str| json!({"slug": slug, "name": slug, "version": "1.0.0", "owner": "ada", "contact": "ada@corp.example", "backends": [{"url": url}]});
    let (_, made) = admin.ask("POST", "/v1/registry", draft("a", "http://localhost:3001/mcp")).await;
    let addresses = made["backends"][0]["addresses"].as_array().unwrap();
    assert!(addresses.contains(&json!("127.0.0.1")) || addresses.contains(&json!("::1")), "{made}");
    assert_eq!(admin.ask("POST", "/v1/registry", draft("b", "http://localhost:3001/mcp")).await.0, StatusCode::CONFLICT);
    for (slug, url) in [("Not A Slug", "http://a.example/"), ("c", "http://user:secret@a.example/"), ("c", "ftp://a.example/")] {
        assert_eq!(admin.ask("POST", "/v1/registry", draft(slug, url)).await.0, StatusCode::BAD_REQUEST, "{slug} {url}");
    }
    end(running, stop).await;
}

#[tokio::test]
async fn an_exemption_has_another_approver_and_bodies_are_checked() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    let id = admin.get("/v1/findings").await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/findings/{id}/exempt");
    let word = |approver: &str| json!({"requested_by": "ada", "approved_by": approver, "reason": "moving", "until": day(20).to_string()});
    assert_eq!(admin.ask("POST", &path, word("Ada")).await.0, StatusCode::BAD_REQUEST);
    let (status, report) = admin.ask("POST", &path, word("grace")).await;
    assert_eq!((status, report["exemption"]["approved_by"].as_str()), (StatusCode::OK, Some("grace")), "{report}");
    let (status, report) = admin.ask("DELETE", &path, Value::Null).await;
    assert_eq!((status, report["exemption"].is_null()), (StatusCode::OK, true), "{report}");

    let (status, problem) = admin.ask("PUT", "/v1/policy", json!({"mode": "soft", "grase": "3d"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["error"].as_str().unwrap().contains("grase"), "{problem}");
    assert_eq!(admin.ask("PUT", "/v1/policy", json!({"mode": "soft"})).await.0, StatusCode::OK);
    assert_eq!(admin.get("/v1/policy").await["mode"], "soft");
    assert_eq!(admin.ask("GET", "/v1/servers?sight=default", Value::Null).await.0, StatusCode::BAD_REQUEST);
    end(running, stop).await;
}

#[tokio::test]
async fn keys_sign_what_they_say_and_end_when_revoked_or_rotated_out() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let (_, first) = admin.ask("POST", "/v1/keys", json!({"tenant": "research", "label": "ci"})).await;
    let key = first["key"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = key.split('.').collect();
    let bundle = || {
        let signed = running.handle().bundle().borrow().clone().unwrap();
        serde_json::from_slice::<rules::wire::v1::Bundle>(&STANDARD.decode(&signed.payload).unwrap()).unwrap()
    };
    let tenant = bundle().tenants[0].clone();
    assert_eq!(tenant.keys, [parts[1]]);
    let secret = STANDARD.decode(&tenant.secrets[0]).unwrap();
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), format!("research.{}", parts[1]).as_bytes());
    assert_eq!(crate::hex(tag.as_ref()), parts[2]);

    let draft = json!({"slug": "tools", "name": "tools", "version": "1.0.0", "owner": "ada", "contact": "ada@corp.example",
        "backends": [{"url": "http://10.0.0.5:3001/mcp"}]});
    assert_eq!(admin.ask("POST", "/v1/registry", draft).await.0, StatusCode::CREATED);
    let grant = |slug: &str| json!({"id": "g1", "tenant": "research", "slug": slug, "tools": ["*"]});
    let (status, answer) = admin.ask("POST", "/v1/grants", grant("tool")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer.to_string().contains("did you mean `tools`?"), "{answer}");
    let grant = grant("tools");
    assert_eq!(admin.ask("POST", "/v1/grants", grant).await.0, StatusCode::CREATED);
    assert_eq!(bundle().grants.len(), 1);
    let generation = bundle().generation;
    assert_eq!(admin.ask("POST", "/v1/keys/research/rotate", json!({})).await.1["keys_ended"], 0);
    assert_eq!((bundle().tenants[0].secrets.len(), bundle().generation), (2, generation + 1));
    assert_eq!(admin.ask("POST", "/v1/keys/research/rotate", json!({})).await.1["keys_ended"], 1);
    let (_, second) = admin.ask("POST", "/v1/keys", json!({"tenant": "research"})).await;
    let nonce = second["key"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    assert_eq!(admin.ask("DELETE", &format!("/v1/keys/research/{nonce}"), Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(bundle().tenants[0].keys, [""; 0]);
    end(running, stop).await;
}

#[tokio::test]
async fn too_many_blocks_at_once_wait_for_a_person() {
    use rules::decision::Action;
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.policy.blocking.max_new_blocks = 1;
    config.policy.grace.period = Period::seconds(1);
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let said = (1..=3).flat_map(|n| confirmed(&format!("10.0.0.{n}:3001/mcp"), day(0))).collect();
    running.handle().accept(batch(1, 1, day(0), said)).await.unwrap();
    shown(&running.handle(), |s| s.decisions.len() == 3).await;
    config.clock.advance(std::time::Duration::from_secs(60));
    look(&running.handle()).await;
    let blocks = |s: &DecisionSet| s.decisions.iter().filter(|d| d.action == Action::Block).count();
    let plan = admin.get("/v1/enforce/plan").await;
    assert!(plan["waits_for_approval"].as_str().unwrap().contains("3 new blocks"), "{plan}");
    assert_eq!(blocks(&shown(&running.handle(), |_| true).await), 0);
    let (status, _) = admin.ask("POST", "/v1/enforce/approve", json!({"by": "grace", "reason": "all three are known"})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(blocks(&shown(&running.handle(), |_| true).await), 3);
    // Not undone by the next look.
    look(&running.handle()).await;
    assert_eq!(blocks(&shown(&running.handle(), |_| true).await), 3);
    end(running, stop).await;
}

#[tokio::test]
async fn what_the_network_says_is_text_on_the_page() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let hostile = "<script>alert(1)</script>\u{1b}[2J\u{202e}\"'><img src=x>";
    let mut said = confirmed("10.0.0.5:3001/<b>bold", day(0));
    if let Some(Said::Evidence(e)) = said.get_mut(0) {
        e.facts.server_info = Some(rules::evidence::Implementation { name: hostile.to_owned(), version: Some(hostile.to_owned()) });
        e.facts.owner = Some(Owner { name: hostile.to_owned(), source: OwnerSource::ProcessUser });
    }
    said.push(Said::Coverage(rules::observation::Coverage { interface: hostile.to_owned(), frames: 5, ..Default::default() }));
    said.push(Said::Gap { from_seq: 9, to_seq: 9, reason: hostile.to_owned() });
    running.handle().accept(batch(1, 1, day(0), said)).await.unwrap();

    let closed = admin.client.get(&admin.base).send().await.unwrap();
    assert_eq!(closed.status(), StatusCode::UNAUTHORIZED);
    let login = admin.client.get(format!("{}/?token={}", admin.base, admin.token)).send().await.unwrap();
    assert_eq!(login.status(), StatusCode::SEE_OTHER);
    let cookie = login.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains(&admin.token), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = admin.client.get(&admin.base).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let html = page.text().await.unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the name is shown");
    for bad in ["<script", "<img", "<b>bold", "\u{1b}", "\u{202e}"] {
        assert!(!html.contains(bad), "{bad:?} reached the page");
    }
    // The page's cookie is no key to the API.
    let api = admin.client.get(format!("{}/v1/status", admin.base)).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
    end(running, stop).await;
}

#[tokio::test]
async fn bodies_and_connections_are_bounded() {
    use tokio::io::AsyncReadExt;
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.limits.connections = 3;
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let (status, problem) = admin.ask("POST", "/v1/registry", json!("x".repeat(2 << 20))).await;
    assert_eq!((status, problem["whose"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("caller")), "{problem}");
    drop(admin);
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = tokio::net::TcpStream::connect(running.admin_address()).await.unwrap();
        // One that is served waits for our request; one beyond the limit is closed at once.
        let mut byte = [0];
        match tokio::time::timeout(std::time::Duration::from_millis(300), stream.read(&mut byte)).await {
            Err(_) => open.push(stream),
            Ok(read) => break read,
        }
        assert!(open.len() <= 3);
    };
    assert!(matches!(refused, Ok(0) | Err(_)));
    let mode = |name: &str| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(data.path().join(name)).unwrap()) & 0o777;
    for secret in ["gnomon.db", "gnomon.db-wal", "admin.token", "signing.key", "ca.key"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    end(running, stop).await;
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_setting_that_changes_it() {
    let data = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config { admin: taken.local_addr().unwrap(), ..config(data.path()) };
    let why = start(config, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(why.contains(&taken.local_addr().unwrap().to_string()) && why.contains("`admin`"), "{why}");
}

#[test]
fn an_unknown_key_and_a_public_admin_address_are_refused() {
    let why = serde_json::from_value::<Config>(json!({"sight": "x"})).unwrap_err().to_string();
    assert!(why.contains("sight") && why.contains("site"), "{why}");
    let public = Config { admin: ([0, 0, 0, 0], 7411).into(), ..Config::default() };
    assert!(public.check().unwrap_err().contains("loopback"));
}

#[tokio::test]
async fn a_gateway_on_a_wildcard_is_ours_at_every_address() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.protect = vec!["0.0.0.0:7413".parse().unwrap()];
    config.intake = Some(([0, 0, 0, 0], 0).into());
    let (running, stop) = run(&config).await;
    let intake = format!("127.0.0.1:{}", running.intake_address().unwrap().port());
    running.handle().accept(batch(1, 1, day(0), confirmed("127.0.0.1:7413/mcp", day(0)))).await.unwrap();
    running.handle().accept(batch(1, 4, day(0), confirmed("127.0.0.1:7499/mcp", day(0)))).await.unwrap();
    look(&running.handle()).await;
    let findings = Admin::of(&running, &config).get("/v1/findings").await;
    let ports: Vec<u64> = findings.as_array().unwrap().iter().filter_map(|f| f["port"].as_u64()).collect();
    assert_eq!(ports, [7499], "the gateway is no find: {findings}");
    let set = shown(&running.handle(), |_| true).await;
    for ours in ["127.0.0.1:7413", intake.as_str()] {
        assert!(set.protected_endpoints.contains(&ours.parse().unwrap()), "{ours}: {:?}", set.protected_endpoints);
    }
    end(running, stop).await;
}

#[tokio::test]
async fn an_address_that_was_ours_is_no_finding_when_the_gateway_moves() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.protect = vec!["10.0.0.5:3001".parse().unwrap()];
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    end(running, stop).await;
    config.protect = vec!["10.0.0.5:3002".parse().unwrap()];
    let (running, stop) = run(&config).await;
    let handle = running.handle();
    look(&handle).await;
    let open = |h: Handle| async move { h.inner.writer.read(|s| s.sites["default"].matters.len()).await.unwrap() };
    assert_eq!(open(handle.clone()).await, 0, "what was seen there was ours");
    // Somebody else answers there now.
    handle.accept(batch(1, 4, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    look(&handle).await;
    assert_eq!(open(handle).await, 1);
    end(running, stop).await;
}
