//! Enrolment against an authority made here, over real TLS on loopback.

use super::*;
use crate::Untaken;
use rules::{
    observation::{Coverage, Said},
    wire::v1::{Ack, Batch, Record},
};
use rustls::pki_types::PrivateKeyDer;
use std::{fs, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority { pem: certificate.pem(), der: certificate.der().clone(), issuer: rcgen::Issuer::new(params, key) }
}

fn token(authority: &Authority) -> String {
    use x509_parser::prelude::FromDer;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&authority.der).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate.tbs_certificate.subject_pki.raw);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("gnomon1.{hex}.secret")
}

/// A collector of two answers: enrolment (no client certificate needed), then an acknowledgement of everything.
async fn collector(authority: Authority) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![leaf.der().clone(), authority.der.clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let certified = stream.get_ref().1.peer_certificates().is_some();
            let (path, body) = request_of(&mut stream).await;
            let (status, answer) = match path.as_str() {
                "/v1/enroll" => ("200 OK", enrolled(&authority, &body)),
                "/v1/renew" if certified => ("200 OK", renewed(&authority, &body)),
                "/v1/observations" if certified => acknowledged(&body),
                _ => ("401 Unauthorized", "who are you".to_owned()),
            };
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len());
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    url
}

async fn request_of(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) || count == 0 {
                return (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.as_bytes().to_vec());
            }
        }
    }
}

fn enrolled(authority: &Authority, body: &[u8]) -> String {
    let request: EnrollRequest = serde_json::from_slice(body).unwrap();
    certified(authority, &request.csr)
}

fn renewed(authority: &Authority, body: &[u8]) -> String {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap();
    certified(authority, request["csr"].as_str().unwrap())
}

fn certified(authority: &Authority, csr: &str) -> String {
    let csr = rcgen::CertificateSigningRequestParams::from_pem(csr).unwrap();
    let certificate = csr.signed_by(&authority.issuer).unwrap().pem();
    let answer = EnrollResponse { sensor: "s1".into(), site: "lab".into(), certificate, root: authority.pem.clone() };
    serde_json::to_string(&answer).unwrap()
}

/// It has seen epoch 9.
fn acknowledged(body: &[u8]) -> (&'static str, String) {
    let batch: Batch = serde_json::from_slice(body).unwrap();
    if batch.epoch < 9 {
        return ("409 Conflict", r#"{"error":"epoch 8 is over","whose":"caller","what_to_do":"","epoch":9}"#.to_owned());
    }
    ("200 OK", serde_json::to_string(&Ack { epoch: batch.epoch, seq: batch.records.last().unwrap().seq }).unwrap())
}

#[tokio::test]
async fn a_token_becomes_a_certificate_that_delivers() {
    let data = tempfile::tempdir().unwrap();
    let authority = authority();
    let token = token(&authority);
    let url = collector(authority).await;
    let enrolled = join(&url, &token, data.path()).await.unwrap();
    assert_eq!((enrolled.name.as_str(), enrolled.site.as_str()), ("s1", "lab"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&enrolled.key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let connection = crate::Connection::open(&enrolled).unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let records = vec![Record { seq: 3, at, said: Said::Coverage(Coverage::default()) }];
    let over = connection.report(&Batch { sensor: "s1".into(), epoch: 8, records: records.clone() }).await;
    assert_eq!(over, Err(Untaken::Over(Some(9))), "a spool that was set back learns where to go on");
    let ack = connection.report(&Batch { sensor: "s1".into(), epoch: 9, records }).await.unwrap();
    assert_eq!(ack, Ack { epoch: 9, seq: 3 });

    // After a restart the identity is used again: the token, used up, is not looked at.
    let again = join(&url, "used up", data.path()).await.unwrap();
    assert_eq!(again.name, "s1");
}

#[tokio::test]
async fn an_authority_the_token_does_not_name_is_not_talked_to() {
    let data = tempfile::tempdir().unwrap();
    let (ours, other) = (authority(), authority());
    let url = collector(other).await;
    let why = join(&url, &token(&ours), data.path()).await.unwrap_err().to_string();
    assert!(why.contains("the token names"), "{why}");
    assert!(Identity::load(data.path()).unwrap().is_none());
}

#[tokio::test]
async fn mistakes_are_named() {
    let data = tempfile::tempdir().unwrap();
    let ask = async |url: &str, token: &str| join(url, token, data.path()).await.unwrap_err();
    assert!(matches!(ask("https://localhost:1", "gnomon1.abc.x").await, Error::Token));
    assert!(matches!(ask("http://localhost:1", "").await, Error::Url(_)));
    let token = format!("gnomon1.{}.s", "0".repeat(64));
    assert!(matches!(ask("https://localhost:1", &token).await, Error::Unreachable { .. }));
}

/// The certificates here count from 1975 to 4096.
fn year(year: i64) -> Timestamp {
    Timestamp::from_second((year - 1970) * 31_556_952).unwrap()
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_used_at_once() {
    let data = tempfile::tempdir().unwrap();
    let authority = authority();
    let token = token(&authority);
    let enrolled = join(&collector(authority).await, &token, data.path()).await.unwrap();
    let connection = crate::Connection::open(&enrolled).unwrap();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let (key, before) = (read(&enrolled.key), read(&enrolled.certificate));
    assert!(!enrolled.renew(year(3000)).await.unwrap(), "not yet");
    assert_eq!(read(&enrolled.certificate), before);
    assert!(enrolled.renew(year(3500)).await.unwrap());
    assert_ne!(read(&enrolled.certificate), before);
    assert_eq!(read(&enrolled.key), key);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&enrolled.certificate).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    connection.change_over(&enrolled).unwrap();
    let records = vec![Record { seq: 1, at: Timestamp::UNIX_EPOCH, said: Said::Coverage(Coverage::default()) }];
    assert_eq!(connection.report(&Batch { sensor: "s1".into(), epoch: 9, records }).await.unwrap(), Ack { epoch: 9, seq: 1 });
}

#[tokio::test]
async fn an_identity_that_has_expired_is_not_renewed_but_enrolled_anew() {
    let data = tempfile::tempdir().unwrap();
    let authority = authority();
    let token = token(&authority);
    let url = collector(authority).await;
    let first = join(&url, &token, data.path()).await.unwrap();
    assert!(!first.expired(year(4000)).unwrap() && first.expired(year(5000)).unwrap());
    let why = first.renew(year(5000)).await.unwrap_err();
    assert!(why.to_string().contains("expired") && why.fix().contains("--token"), "{why}");
    let key = fs::read(&first.key).unwrap();
    join_at(&url, &token, data.path(), year(4000)).await.unwrap();
    assert_eq!(fs::read(&first.key).unwrap(), key, "still good");
    join_at(&url, &token, data.path(), year(5000)).await.unwrap();
    assert_ne!(fs::read(&first.key).unwrap(), key, "another key, another certificate");
}

#[test]
fn renewal_is_due_at_two_thirds() {
    use crate::renew::due;
    let at = |s| Timestamp::from_second(s).unwrap();
    let asked = [0, 100, 699, 700, 1000, 2000].map(|now| due(at(100), at(1000), at(now)));
    assert_eq!(asked, [false, false, false, true, true, true]);
}
