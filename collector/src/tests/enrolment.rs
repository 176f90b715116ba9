//! Joining by a token, and what a certificate is good for.

use super::{doors::Admin, *};
use rcgen::{CertificateParams, DnType, KeyPair};
use reqwest::{Certificate, Client, Identity, StatusCode};
use rules::wire::v1::{Ack, EnrollResponse};
use serde_json::{Value, json};

struct Joiner {
    key: KeyPair,
    csr: String,
}

fn joiner(name: &str) -> Joiner {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    Joiner { key, csr }
}

struct Site {
    config: Config,
    running: Running,
    stop: CancellationToken,
    admin: Admin,
    url: String,
    root: Certificate,
}

async fn site(data: &Path) -> Site {
    site_of(config(data)).await
}

async fn site_of(mut config: Config) -> Site {
    config.intake = Some(([127, 0, 0, 1], 0).into());
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let url = format!("https://localhost:{}", running.intake_address().unwrap().port());
    let root = Certificate::from_pem(&std::fs::read(config.data.join("ca.pem")).unwrap()).unwrap();
    Site { config, running, stop, admin, url, root }
}

impl Site {
    fn client(&self, identity: Option<(&Joiner, &EnrollResponse)>) -> Client {
        let builder = Client::builder().tls_certs_only([self.root.clone()]).no_proxy();
        let builder = match identity {
            Some((joiner, given)) => {
                builder.identity(Identity::from_pem(format!("{}{}", joiner.key.serialize_pem(), given.certificate).as_bytes()).unwrap())
            }
            None => builder,
        };
        builder.build().unwrap()
    }

    async fn token(&self, ask: Value) -> String {
        self.admin.ask("POST", "/v1/tokens", ask).await.1["token"].as_str().unwrap().to_owned()
    }

    async fn join(&self, token: &str, joiner: &Joiner) -> (StatusCode, Value) {
        let body = json!({"token": token, "csr": joiner.csr});
        let answer = self.client(None).post(format!("{}/v1/enroll", self.url)).json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn send(&self, client: &Client, batch: &Batch) -> (StatusCode, Value) {
        let answer = client.post(format!("{}/v1/observations", self.url)).json(batch).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }
}

fn generation(signed: &Signed) -> u64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bundle: Value = serde_json::from_slice(&STANDARD.decode(&signed.payload).unwrap()).unwrap();
    bundle["generation"].as_u64().unwrap()
}

#[tokio::test]
async fn a_token_is_swapped_once_for_a_certificate_that_speaks_for_one_name() {
    let data = tempfile::tempdir().unwrap();
    let site = site(data.path()).await;
    let (alice, token) = (joiner("s1"), site.token(json!({})).await);
    assert!(token.starts_with("gnomon1.") && token.split('.').nth(1).unwrap().len() == 64, "{token}");
    let (status, given) = site.join(&token, &alice).await;
    assert_eq!(status, StatusCode::OK, "{given}");
    let given: EnrollResponse = serde_json::from_value(given).unwrap();
    assert_eq!((given.sensor.as_str(), given.site.as_str()), ("s1", "default"));
    assert_eq!(site.join(&token, &joiner("s2")).await.0, StatusCode::FORBIDDEN, "a token is good for one");

    let client = site.client(Some((&alice, &given)));
    let said = batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)));
    let (status, ack) = site.send(&client, &said).await;
    assert_eq!(status, StatusCode::OK, "{ack}");
    assert_eq!(serde_json::from_value::<Ack>(ack).unwrap(), Ack { epoch: 1, seq: 3 });
    let (status, over) = site.send(&client, &Batch { epoch: 0, ..said.clone() }).await;
    assert_eq!((status, over["epoch"].as_u64()), (StatusCode::CONFLICT, Some(1)), "{over}");
    let other = Batch { sensor: "s2".to_owned(), ..said.clone() };
    assert_eq!(site.send(&client, &other).await.0, StatusCode::FORBIDDEN, "a certificate speaks for its own name");
    assert_eq!(site.send(&site.client(None), &said).await.0, StatusCode::FORBIDDEN, "no certificate, no word");
    let journal = site.admin.get("/v1/journal?subject=s1").await;
    assert!(journal["rows"].as_array().unwrap().iter().any(|r| r["verb"] == "batch-refused"), "{journal}");
    let decisions = client.get(format!("{}/v1/decisions", site.url)).send().await.unwrap();
    assert_eq!(decisions.status(), StatusCode::FORBIDDEN, "a sensor is no enforcer");

    assert_eq!(site.admin.ask("POST", "/v1/sensors/s1/revoke", Value::Null).await.0, StatusCode::NO_CONTENT);
    let (status, problem) = site.send(&client, &said).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(problem["error"].as_str().unwrap().contains("revoked"), "{problem}");
    end(site.running, site.stop).await;
}

#[tokio::test]
async fn an_expired_or_foreign_token_is_refused_and_a_taken_name_not_given_twice() {
    let data = tempfile::tempdir().unwrap();
    let site = site(data.path()).await;
    let token = site.token(json!({"ttl": "10m"})).await;
    site.config.clock.advance(std::time::Duration::from_secs(601));
    let (status, problem) = site.join(&token, &joiner("s1")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(problem["error"].as_str().unwrap().contains("expired"), "{problem}");
    let foreign = format!("gnomon1.{}.{}", "0".repeat(64), "0".repeat(48));
    assert_eq!(site.join(&foreign, &joiner("s1")).await.0, StatusCode::FORBIDDEN);
    let two = site.token(json!({"uses": 2})).await;
    assert_eq!(site.join(&two, &joiner("s1")).await.0, StatusCode::OK);
    let second = site.join(&two, &joiner("s1")).await.1["sensor"].as_str().unwrap().to_owned();
    assert!(second.starts_with("s1-"), "the name is taken, its place is not: {second}");
    let made_up = site.join(&site.token(json!({})).await, &joiner("not a name!")).await.1["sensor"].as_str().unwrap().to_owned();
    assert!(made_up.starts_with("sensor-"), "{made_up}");
    let named = site.token(json!({"name": "s1"})).await;
    assert_eq!(site.join(&named, &joiner("whatever")).await.1["sensor"], "s1", "a token may give the name anew");
    end(site.running, site.stop).await;
}

#[tokio::test]
async fn an_enforcer_waits_for_news_and_a_gateway_gets_the_bundle() {
    let data = tempfile::tempdir().unwrap();
    let site = site(data.path()).await;
    let (point, token) = (joiner("e1"), site.token(json!({"role": "enforcer"})).await);
    let given: EnrollResponse = serde_json::from_value(site.join(&token, &point).await.1).unwrap();
    let client = site.client(Some((&point, &given)));
    let first = shown(&site.running.handle(), |_| true).await;
    let url = format!("{}/v1/decisions?after={}", site.url, first.generation);
    let asked = tokio::spawn(client.get(url).send());
    site.running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    let signed: Signed = asked.await.unwrap().unwrap().json().await.unwrap();
    assert!(payload(&signed).generation > first.generation);
    assert_eq!(client.get(format!("{}/v1/bundle", site.url)).send().await.unwrap().status(), StatusCode::FORBIDDEN);

    // What it says it saw is not taken: it is no sensor.
    let beyond = Batch { sensor: "e1".to_owned(), ..batch(1, 1, day(0), confirmed("10.0.0.99:3001/mcp", day(0))) };
    assert_eq!(site.send(&client, &beyond).await.0, StatusCode::OK);
    let beyond = Batch { sensor: "e1".to_owned(), ..batch(1, 4, day(0), confirmed("10.0.0.98:3001/mcp", day(0))) };
    assert_eq!(site.send(&client, &beyond).await.0, StatusCode::OK);
    let servers = site.admin.get("/v1/servers").await;
    assert!(!servers.to_string().contains("10.0.0.9"), "{servers}");
    let refused = |rows: &Value| rows["rows"].as_array().unwrap().iter().filter(|r| r["verb"] == "record-refused").count();
    assert_eq!(refused(&site.admin.get("/v1/journal?subject=e1").await), 1, "said once");
    let handle = site.running.handle();
    let lost = handle.inner.writer.read(|s| s.lost.get(crate::losses::Loss::RecordsOfAnotherRole));
    assert_eq!(lost.await.unwrap(), Some(6));

    // What it says it has applied is journalled, and the plan knows.
    let applied = rules::observation::Applied {
        point: "e1".to_owned(),
        generation: first.generation,
        outcome: rules::observation::Outcome::DryRun,
        elements: 0,
        reason: String::new(),
        status: rules::observation::PointStatus::default(),
    };
    let report = Batch { sensor: "e1".to_owned(), ..batch(1, 7, day(0), vec![Said::Applied(applied.clone())]) };
    assert_eq!(site.send(&client, &report).await.0, StatusCode::OK);
    assert_eq!(site.admin.get("/v1/enforce/plan").await["points"]["e1"]["outcome"], "dry-run");

    // And a sensor has applied nothing.
    let (eye, token) = (joiner("s7"), site.token(json!({})).await);
    let given: EnrollResponse = serde_json::from_value(site.join(&token, &eye).await.1).unwrap();
    let report = Batch { sensor: "s7".to_owned(), ..batch(1, 1, day(0), vec![Said::Applied(applied)]) };
    assert_eq!(site.send(&site.client(Some((&eye, &given))), &report).await.0, StatusCode::OK);
    assert!(site.admin.get("/v1/enforce/plan").await["points"]["s7"].is_null(), "a sensor is no enforcement point");

    let (gateway, token) = (joiner("g1"), site.token(json!({"role": "gateway"})).await);
    let given: EnrollResponse = serde_json::from_value(site.join(&token, &gateway).await.1).unwrap();
    let client = site.client(Some((&gateway, &given)));
    let bundle: Signed = client.get(format!("{}/v1/bundle", site.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(bundle.domain, Signed::BUNDLE);
    // A gateway that has a newer one than was ever made: the database is an older copy, and is not stuck for it.
    let ahead = client.get(format!("{}/v1/bundle?after=1000", site.url)).send().await.unwrap().json::<Signed>().await.unwrap();
    assert_eq!(generation(&ahead), 1001);
    let waits = client.get(format!("{}/v1/bundle?after={}", site.url, u64::MAX)).timeout(std::time::Duration::from_millis(300));
    assert!(waits.send().await.is_err_and(|e| e.is_timeout()), "absurd numbers are not believed");
    assert_eq!(generation(site.running.handle().bundle().borrow().as_ref().unwrap()), 1001);
    let renewed = client.post(format!("{}/v1/renew", site.url)).json(&json!({"csr": gateway.csr})).send().await.unwrap();
    assert_eq!(renewed.status(), StatusCode::OK);
    end(site.running, site.stop).await;
}

#[tokio::test]
async fn a_token_is_withdrawn_by_as_much_of_its_hash_as_lists_show() {
    let data = tempfile::tempdir().unwrap();
    let site = site(data.path()).await;
    let token = site.token(json!({})).await;
    let short: String = site.admin.get("/v1/tokens").await[0]["hash"].as_str().unwrap().chars().take(12).collect();
    for (given, status) in [("000000000000", StatusCode::NOT_FOUND), (&short[..2], StatusCode::BAD_REQUEST)] {
        assert_eq!(site.admin.ask("DELETE", &format!("/v1/tokens/{given}"), Value::Null).await.0, status, "{given}");
    }
    assert_eq!(site.admin.ask("DELETE", &format!("/v1/tokens/{short}"), Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(site.admin.get("/v1/tokens").await, json!([]));
    assert_eq!(site.join(&token, &joiner("s1")).await.0, StatusCode::FORBIDDEN);

    site.token(json!({"ttl": "10m"})).await;
    site.config.clock.advance(std::time::Duration::from_secs(601));
    assert_eq!(site.admin.get("/v1/tokens").await, json!([]), "what expired can be used no more, and is not listed");
    end(site.running, site.stop).await;
}

#[tokio::test]
async fn one_machine_without_a_certificate_cannot_take_all_places() {
    use tokio::{io::AsyncReadExt, net::TcpStream};
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.limits.connections = 16;
    let site = site_of(config).await;
    let intake = site.running.intake_address().unwrap();
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(intake).await.unwrap());
    }
    let mut closed = 0;
    for connection in &mut held {
        let read = tokio::time::timeout(std::time::Duration::from_millis(200), connection.read_u8()).await;
        closed += u32::from(read.is_ok());
    }
    assert_eq!(closed, 14, "two of sixteen places are the share of one address");
    assert_eq!(site.admin.get("/v1/status").await["lost"]["connections-one-address"], 14);
    let elsewhere = Client::builder().tls_certs_only([site.root.clone()]).no_proxy().local_address(Some([127, 0, 0, 2].into()));
    let answer = elsewhere.build().unwrap().get(format!("{}/v1/decisions", site.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "others still have theirs");
    end(site.running, site.stop).await;
}
