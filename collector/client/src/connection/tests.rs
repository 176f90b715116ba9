//! A collector that answers as it likes, over real TLS: the client believes little and never waits for ever.

use super::*;
use crate::{Subject, Untaken};
use base64::{Engine, engine::general_purpose::STANDARD};
use rules::wire::v1::{Ack, Batch, Signed};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Key, certificate and root of this machine, and a server that gives one answer to every request.
async fn answering(data: &Path, answer: Vec<u8>) -> Connection {
    answering_after(data, answer, Duration::ZERO).await
}

/// The same, after a while.
async fn answering_after(data: &Path, answer: Vec<u8>, while_waiting: Duration) -> Connection {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (leaf, key)
    };
    let (leaf, leaf_key) = signed("localhost");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()))
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await.unwrap();
            tokio::time::sleep(while_waiting).await;
            drop(stream.write_all(&answer).await);
            drop(stream.shutdown().await);
        }
    });
    let (mine, my_key) = signed("p1");
    let file = |name: &str, text: String| {
        let path = data.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let identity = Identity {
        name: "p1".to_owned(),
        site: "lab".to_owned(),
        url,
        key: file("key.pem", my_key.serialize_pem()),
        certificate: file("certificate.pem", mine.pem()),
        root: file("root.pem", root.pem()),
    };
    Connection::open(&identity).unwrap()
}

fn http(status: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}Connection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn reported(answer: Vec<u8>) -> Result<Ack, Untaken> {
    let data = tempfile::tempdir().unwrap();
    answering(data.path(), answer).await.report(&batch()).await
}

#[tokio::test]
async fn an_answer_to_a_batch_has_one_of_four_meanings() {
    assert_eq!(reported(http("200 OK", "", br#"{"epoch":1,"seq":7}"#)).await, Ok(Ack { epoch: 1, seq: 7 }));
    assert_eq!(reported(http("409 Conflict", "", br#"{"error":"over","epoch":9}"#)).await, Err(Untaken::Over(Some(9))));
    assert_eq!(reported(http("409 Conflict", "", b"over")).await, Err(Untaken::Over(None)));
    assert!(matches!(reported(http("422 Unprocessable Entity", "", b"{}")).await, Err(Untaken::Never(why)) if why.starts_with("422")));
    assert!(matches!(reported(http("500 Internal Server Error", "", b"\x1b[2J")).await, Err(Untaken::Later(why)) if !why.contains('\x1b')));
    assert!(matches!(reported(http("200 OK", "", b"hello")).await, Err(Untaken::Later(_))), "no acknowledgement, so not delivered");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_long_answer_not_read() {
    let away = reported(http("307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n", b"")).await;
    assert!(matches!(away, Err(Untaken::Later(why)) if why.starts_with("307")));
    let long = reported(http("200 OK", "", &vec![b' '; SMALL_ANSWER + 1])).await;
    assert!(matches!(long, Err(Untaken::Later(why)) if why.contains("longer than")));
}

#[tokio::test]
async fn news_are_later_than_the_last_and_of_the_kind_that_was_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let document = |domain: &str, payload: &str| {
        let body = json!({"domain": domain, "key_id": "k", "payload": STANDARD.encode(payload), "signature": "AAAA"});
        http("200 OK", "", body.to_string().as_bytes())
    };
    let good = answering(data.path(), document(Signed::DECISIONS, r#"{"generation":5}"#)).await;
    assert_eq!(good.news(Subject::Decisions, 4).await.unwrap().map(|(generation, _)| generation), Some(5));
    assert!(good.news(Subject::Decisions, 5).await.unwrap().is_none(), "nothing newer");
    let why = good.news(Subject::Bundle, 0).await.unwrap_err().to_string();
    assert!(why.contains("signed for"), "{why}");
    let none = answering(data.path(), document(Signed::DECISIONS, "{}")).await;
    assert!(none.news(Subject::Decisions, 0).await.unwrap_err().to_string().contains("no generation"));
    let waiting = answering(data.path(), http("204 No Content", "", b"")).await;
    assert!(waiting.news(Subject::Decisions, 0).await.unwrap().is_none());
}

#[tokio::test]
async fn a_collector_of_another_authority_gets_nothing() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = answering(other.path(), http("200 OK", "", br#"{"epoch":1,"seq":1}"#)).await;
    let mut identity = answering(data.path(), Vec::new()).await.identity().clone();
    identity.url.clone_from(&theirs.identity().url);
    let answered = Connection::open(&identity).unwrap().report(&batch()).await;
    assert!(matches!(answered, Err(Untaken::Later(why)) if why.contains("certificate")), "TLS ends before a byte of the batch");
}

fn batch() -> Batch {
    Batch { sensor: "p1".to_owned(), epoch: 1, records: Vec::new() }
}

#[tokio::test]
async fn a_request_under_way_outlives_the_change_to_a_renewed_certificate() {
    let data = tempfile::tempdir().unwrap();
    let answer = http("200 OK", "", br#"{"epoch":1,"seq":7}"#);
    let connection = answering_after(data.path(), answer, Duration::from_millis(300)).await;
    let batch = batch();
    let (reported, ()) = tokio::join!(connection.report(&batch), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        connection.change_over(connection.identity()).unwrap();
    });
    assert_eq!(reported, Ok(Ack { epoch: 1, seq: 7 }));
}

#[tokio::test]
async fn a_collector_that_says_nothing_is_given_up_and_the_batch_kept() {
    let data = tempfile::tempdir().unwrap();
    let silent = answering_after(data.path(), Vec::new(), Duration::from_secs(3600)).await;
    let answered = tokio::time::timeout(ANSWER_TIMEOUT * 3, silent.report(&batch())).await.unwrap();
    assert!(matches!(answered, Err(Untaken::Later(why)) if why.contains("timed out")));
}

#[tokio::test]
async fn a_collector_that_is_gone_is_asked_again_until_shutdown() {
    let data = tempfile::tempdir().unwrap();
    let mut identity = answering(data.path(), Vec::new()).await.identity().clone();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    identity.url = format!("https://localhost:{free}");
    let gone = Connection::open(&identity).unwrap();
    assert!(matches!(gone.report(&batch()).await, Err(Untaken::Later(why)) if why.contains("could not be reached")));
    let (shown, last) = tokio::sync::watch::channel(None);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(gone.follow(Subject::Decisions, shown, shutdown.clone()));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!following.is_finished() && last.borrow().is_none(), "nothing came, and it goes on");
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), following).await.unwrap().unwrap();
}
