//! Between a collector elsewhere and an enforcement point here: signed sets and bundles come, reports go, over HTTPS with
//! client certificates. It carries, and believes nothing: whoever receives a set verifies it.

use crate::{
    failure::{Failure, Side},
    reports::{self, Numbers, Untaken},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rules::{
    observation::Applied,
    printable::printable,
    wire::v1::{Ack, Batch, Signed},
};
use sensor::uplink::{EnrollError, Enrolled};
use serde::Deserialize;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goods {
    Decisions,
    Bundle,
}

impl Goods {
    fn route(self) -> &'static str {
        match self {
            Goods::Decisions => "decisions",
            Goods::Bundle => "bundle",
        }
    }

    fn domain(self) -> &'static str {
        match self {
            Goods::Decisions => Signed::DECISIONS,
            Goods::Bundle => Signed::BUNDLE,
        }
    }
}

/// One collector, one identity.
#[derive(Clone, Debug)]
pub(crate) struct Courier {
    /// Replaced when the certificate is renewed, and its connections with it.
    client: Arc<RwLock<reqwest::Client>>,
    enrolled: Enrolled,
}

/// The collector holds a question for news up to 25 s; a dead connection is given up after this.
const PATIENCE: Duration = Duration::from_secs(40);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The base64 of the largest payload anybody here would verify.
const MAX_ANSWER: usize = 96 << 20;

impl Courier {
    pub(crate) fn new(enrolled: &Enrolled) -> Result<Courier, Failure> {
        let todo = "remove the `identity` directory from the data directory, and enrol again";
        let client = client(enrolled).map_err(|why| Failure::new(Side::Machine, why.to_string(), todo))?;
        Ok(Courier { client: Arc::new(RwLock::new(client)), enrolled: enrolled.clone() })
    }

    /// Shows each newer set, until `shutdown`. A collector that cannot be reached is asked again, ever less often.
    pub(crate) async fn fetch(self, goods: Goods, shown: watch::Sender<Option<Arc<Signed>>>, shutdown: CancellationToken) {
        let mut after = 0;
        let mut wait = FIRST_WAIT;
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                asked = self.news(goods, after) => asked,
            };
            match asked {
                Ok(None) => wait = FIRST_WAIT,
                Ok(Some((generation, signed))) => {
                    after = generation;
                    wait = FIRST_WAIT;
                    shown.send_replace(Some(Arc::new(signed)));
                }
                Err(why) => {
                    tracing::warn!(%why, wait = ?wait, "no {} from the collector; what there is stays in force", goods.route());
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    async fn news(&self, goods: Goods, after: u64) -> Result<Option<(u64, Signed)>, String> {
        let url = format!("{}/v1/{}?after={after}", self.enrolled.url, goods.route());
        let answer = self.client().get(url).send().await.map_err(|why| chain(&why))?;
        let status = answer.status();
        let bytes = read(answer).await?;
        match status.as_u16() {
            200 => {}
            204 => return Ok(None),
            other => return Err(format!("{other} {}", rules::printable::printable_bytes(&bytes, 200))),
        }
        let signed: Signed = serde_json::from_slice(&bytes).map_err(|why| format!("not a signed set: {why}"))?;
        if signed.domain != goods.domain() {
            return Err(format!("signed for `{}`", printable(&signed.domain, 80)));
        }
        // Only to know what to ask for next: whether it is true is for whoever gets it to find out.
        let generation = generation(&signed).ok_or("a set without a generation")?;
        Ok((generation > after).then_some((generation, signed)))
    }

    /// Carries an enforcer's word to the collector. Ends with its senders.
    pub(crate) async fn report(self, numbers: Numbers, reports: mpsc::Receiver<Applied>) {
        reports::carry(self.enrolled.sensor.clone(), numbers, reports, |batch| self.say(batch)).await;
    }

    async fn say(&self, batch: Batch) -> Result<Ack, Untaken> {
        let url = format!("{}/v1/observations", self.enrolled.url);
        let answer = self.client().post(url).json(&batch).send().await.map_err(|why| Untaken::Later(chain(&why)))?;
        let status = answer.status().as_u16();
        let bytes = read(answer).await.map_err(Untaken::Later)?;
        let said = || format!("{status} {}", rules::printable::printable_bytes(&bytes, 200));
        match status {
            200 => serde_json::from_slice(&bytes).map_err(|why| Untaken::Later(format!("not an acknowledgement: {why}"))),
            400 | 413 | 422 => Err(Untaken::Never(said())),
            409 => Err(Untaken::Over(None)),
            _ => Err(Untaken::Later(said())),
        }
    }

    /// Renews the certificate in time; until it is dropped.
    pub(crate) async fn keep_fresh(self) {
        let enrolled = self.enrolled.clone();
        let change_over = |renewed: &Enrolled| {
            *self.client.write().unwrap_or_else(PoisonError::into_inner) = client(renewed)?;
            Ok(())
        };
        enrolled.keep_fresh(change_over).await;
    }

    fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn client(enrolled: &Enrolled) -> Result<reqwest::Client, EnrollError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(enrolled.client_config()?)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .timeout(PATIENCE)
        .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|why| EnrollError::Answer(chain(&why)))
}

#[derive(Deserialize)]
struct Numbered {
    generation: u64,
}

fn generation(signed: &Signed) -> Option<u64> {
    let payload = STANDARD.decode(&signed.payload).ok()?;
    serde_json::from_slice::<Numbered>(&payload).ok().map(|n| n.generation)
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|why| chain(&why))? {
        if bytes.len() + part.len() > MAX_ANSWER {
            return Err("the answer is longer than 96 MiB".to_owned());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// An error with its causes: reqwest keeps the reason in them.
fn chain(why: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(why), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>();
    printable(&causes.join(": "), 300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{Timestamp, period::Period};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn a_certificate_is_renewed_by_the_collector_that_gave_it_and_used() {
        crate::install_crypto();
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
        let enrolled = sensor::uplink::enroll(&url, token["token"].as_str().unwrap(), ours.path()).await.unwrap();
        let file = ours.path().join("identity/certificate.pem");
        let first = std::fs::read(&file).unwrap();

        let now = Timestamp::now();
        assert!(!enrolled.renew(Period::days(4).after(now)).await.unwrap());
        assert!(enrolled.renew(Period::days(5).after(now)).await.unwrap());
        assert_ne!(std::fs::read(&file).unwrap(), first);
        assert!(enrolled.expired(Period::days(8).after(now)).unwrap());

        let courier = Courier::new(&enrolled).unwrap();
        assert!(courier.news(Goods::Decisions, 0).await.unwrap().is_some());
        stop.cancel();
        running.wait().await.unwrap();
    }
}
