//! A role joins a real collector, renews its certificate there, and follows it.

use collector_client::{Connection, Subject, join};
use rules::{Timestamp, period::Period};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_certificate_is_renewed_by_the_collector_that_gave_it_and_used() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let loopback = ([127, 0, 0, 1], 0).into();
    let config =
        collector::Config { data: theirs.path().to_owned(), admin: loopback, intake: Some(loopback), ..collector::Config::default() };
    let stop = CancellationToken::new();
    let running = collector::start(config, stop.clone()).await.unwrap();
    let secret = std::fs::read_to_string(theirs.path().join("admin.token")).unwrap();
    let admin = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = admin.post(format!("http://{}/v1/tokens", running.admin_address())).bearer_auth(secret.trim());
    let token: Value = asked.json(&json!({"role": "enforcer"})).send().await.unwrap().json().await.unwrap();
    let url = format!("https://localhost:{}", running.intake_address().unwrap().port());
    let identity = join(&url, token["token"].as_str().unwrap(), ours.path()).await.unwrap();
    let file = ours.path().join("identity/certificate.pem");
    let first = std::fs::read(&file).unwrap();

    let now = Timestamp::now();
    assert!(!identity.renew(Period::days(4).after(now)).await.unwrap());
    assert!(identity.renew(Period::days(5).after(now)).await.unwrap());
    assert_ne!(std::fs::read(&file).unwrap(), first);
    assert!(identity.expired(Period::days(8).after(now)).unwrap());

    let connection = Connection::open(&identity).unwrap();
    assert!(connection.news(Subject::Decisions, 0).await.unwrap().is_some());
    stop.cancel();
    running.wait().await.unwrap();
}
