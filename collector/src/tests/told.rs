//! Who is told, how often, and what counts as told.

use super::*;
use crate::notify::Webhook;
use axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// A webhook that refuses the first `failures` messages and keeps the rest.
#[derive(Clone, Default)]
struct Hook {
    failures: Arc<Mutex<u32>>,
    kept: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Hook {
    async fn start(failures: u32) -> (Hook, url::Url) {
        let hook = Hook { failures: Arc::new(Mutex::new(failures)), ..Hook::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap()).parse().unwrap();
        let mine = hook.clone();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let mut left = mine.failures.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return StatusCode::BAD_GATEWAY;
            }
            mine.kept.lock().unwrap().push((headers, body));
            StatusCode::OK
        };
        let router = Router::new().route("/in", post(take));
        let listening = crate::http::listen::Listener { router, tls: None, most: 8, turned: std::sync::Arc::default() };
        tokio::spawn(crate::http::listen::serve(listener, listening, CancellationToken::new()));
        (hook, url)
    }

    fn letters(&self) -> Vec<Value> {
        self.kept.lock().unwrap().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

/// Until the finding has a delivered notice, letting time pass for retries.
async fn notified(handle: &Handle, config: &Config) -> Timestamp {
    for _ in 0..400 {
        let told = handle.inner.writer.read(|s| s.sites["default"].matters.values().find_map(|m| m.case.notified_at)).await.unwrap();
        if let Some(at) = told {
            return at;
        }
        config.clock.advance(std::time::Duration::from_secs(1));
        handle.inner.windows.wake();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nobody was told");
}

#[tokio::test]
async fn a_failing_webhook_starts_no_clock_and_is_tried_until_it_takes_the_notice_once() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    let (hook, url) = Hook::start(3).await;
    let secret = data.path().join("hook.secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    config.notify.webhook = Some(Webhook { url, secret_file: Some(secret), format: Default::default() });
    config.notify.log.counts = false;
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    let at = notified(&running.handle(), &config).await;
    assert!(at > day(0), "the clock starts with the delivery, not with the attempt");
    look(&running.handle()).await;
    end(running, stop).await;

    // A restart tells nobody again.
    let (running, stop) = run(&config).await;
    look(&running.handle()).await;
    end(running, stop).await;
    let letters = hook.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0]["step"].as_str(), letters[0]["to"].as_str()), (Some("notice"), Some("ada")));
    let (headers, body) = hook.kept.lock().unwrap()[0].clone();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let message = [headers["x-gnomon-timestamp"].as_bytes(), b".", &body].concat();
    let tag = crate::hex(ring::hmac::sign(&key, &message).as_ref());
    assert_eq!(headers["x-gnomon-signature"].to_str().unwrap(), format!("sha256={tag}"));
}

#[tokio::test]
async fn slack_is_told_in_its_shape_and_its_answer_starts_the_clock_while_syslog_starts_none() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let syslog = serde_json::json!({"address": server.local_addr().unwrap().to_string()});
    config.notify.syslog = Some(serde_json::from_value(syslog).unwrap());
    config.notify.log.enabled = false;
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    let mut buffer = vec![0; 65_536];
    let (n, _) = server.recv_from(&mut buffer).await.unwrap();
    assert!(String::from_utf8_lossy(&buffer[..n]).contains("is not registered"));
    let delivered = |db: &rusqlite::Connection| {
        db.query_row("SELECT count(*) FROM outbox WHERE channel = 'syslog' AND state = 'delivered'", [], |r| r.get::<_, i64>(0)).unwrap()
    };
    let db = rusqlite::Connection::open(crate::store::database(data.path())).unwrap();
    while delivered(&db) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    look(&running.handle()).await;
    let handle = running.handle();
    let told = handle.inner.writer.read(|s| s.sites["default"].matters.values().any(|m| m.case.notified_at.is_some()));
    assert!(!told.await.unwrap(), "nobody is known to have read it");
    end(running, stop).await;

    let data = tempfile::tempdir().unwrap();
    let (hook, url) = Hook::start(1).await;
    config.data = data.path().to_owned();
    config.notify.syslog = None;
    config.notify.webhook = Some(Webhook { url, secret_file: None, format: crate::notify::Format::Slack });
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    notified(&running.handle(), &config).await;
    end(running, stop).await;
    let letters = hook.letters();
    assert_eq!((letters.len(), letters[0]["blocks"][0]["type"].as_str()), (1, Some("header")), "{letters:?}");
}

#[tokio::test]
async fn a_notice_of_an_open_case_is_never_given_up() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.policy.presence.gone_after = Period::days(400);
    let (hook, url) = Hook::start(u32::MAX).await;
    config.notify.webhook = Some(Webhook { url, secret_file: None, format: Default::default() });
    config.notify.log.enabled = false;
    let (running, stop) = run(&config).await;
    let handle = running.handle();
    handle.accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    let db = rusqlite::Connection::open(crate::store::database(data.path())).unwrap();
    let row = || db.query_row("SELECT state, attempts FROM outbox", [], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?))).unwrap();
    for _ in 0..1000 {
        if row().1 > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The first attempt failed, the second is not due. As after a week in which the channel was down:
    db.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert!(db.execute("UPDATE outbox SET attempts = 1000, next_ms = 0", []).unwrap() > 0);
    for _ in 0..400 {
        if row().1 > 1000 {
            break;
        }
        config.clock.advance(std::time::Duration::from_secs(2 * 3600));
        handle.inner.windows.wake();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(row().1 > 1000 && row().0 == "waiting", "{:?}", row());
    *hook.failures.lock().unwrap() = 0;
    for _ in 0..400 {
        if row().0 == "delivered" {
            break;
        }
        config.clock.advance(std::time::Duration::from_secs(2 * 3600));
        handle.inner.windows.wake();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(row().0, "delivered");
    end(running, stop).await;
}

#[tokio::test]
async fn nobody_to_tell_means_no_clock() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.notify.log.enabled = false;
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    config.clock.advance(std::time::Duration::from_secs(86_400 * 13));
    look(&running.handle()).await;
    let handle = running.handle();
    let cases = handle.inner.writer.read(|s| {
        let all = s.sites["default"].matters.values();
        all.map(|m| (m.case.escalation, m.case.notified_at)).collect::<Vec<_>>()
    });
    assert!(cases.await.unwrap().iter().all(|(_, told)| told.is_none()));
    end(running, stop).await;
}

#[tokio::test]
async fn a_path_learned_later_keeps_the_clock() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path());
    let (running, stop) = run(&config).await;
    let handle = running.handle();
    let mut said = confirmed("10.0.0.5:3001/", day(0));
    for s in &mut said {
        if let Said::Evidence(e) = s {
            e.place.path = None;
        }
    }
    handle.accept(batch(1, 1, day(0), said)).await.unwrap();
    let before = notified(&handle, &config).await;
    config.clock.advance(std::time::Duration::from_secs(86_400));
    let learned = evidence("10.0.0.5:3001/mcp", Source::Wire, "wire.server.tools-result", config.clock.now());
    handle.accept(batch(1, 4, config.clock.now(), vec![learned])).await.unwrap();
    let open = handle.inner.writer.read(|s| {
        let open = s.sites["default"].matters.values().filter(|m| m.case.end.closed.is_none());
        open.map(|m| (m.finding.place.as_ref().unwrap().to_string(), m.case.notified_at)).collect::<Vec<_>>()
    });
    assert_eq!(open.await.unwrap(), [("10.0.0.5:3001/mcp".to_owned(), Some(before))]);
    end(running, stop).await;
}

#[tokio::test]
async fn time_alone_is_not_worth_a_write() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.policy.sensing.blind_after = Period::days(1);
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    notified(&running.handle(), &config).await;
    // Past the clock's own boundary, so that what follows stays between two of them.
    config.clock.set(Timestamp::from_second((config.clock.now().as_second() / 600 + 1) * 600).unwrap());
    look(&running.handle()).await;
    let db = rusqlite::Connection::open(crate::store::database(data.path())).unwrap();
    let stored = || db.query_row("SELECT body FROM cases", [], |r| r.get::<_, String>(0)).unwrap();
    let before = stored();
    for _ in 0..9 {
        config.clock.advance(std::time::Duration::from_secs(60));
        look(&running.handle()).await;
        assert_eq!(stored(), before);
    }
    config.clock.advance(std::time::Duration::from_secs(60));
    look(&running.handle()).await;
    assert_ne!(stored(), before, "but now and then it is");
    end(running, stop).await;
}
