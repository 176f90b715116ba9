//! Between a collector elsewhere and an enforcement point here: signed sets and bundles come, reports go, over HTTPS with
//! client certificates. It carries, and believes nothing: whoever receives a set verifies it.

use crate::failure::{Failure, Side};
use base64::{Engine, engine::general_purpose::STANDARD};
use rules::{
    Timestamp,
    observation::{Applied, Said},
    printable::printable,
    wire::v1::{Batch, Record, Signed},
};
use sensor::uplink::Enrolled;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
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
    client: reqwest::Client,
    url: String,
    name: String,
}

/// The collector holds a question for news up to 25 s; a dead connection is given up after this.
const PATIENCE: Duration = Duration::from_secs(40);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The base64 of the largest payload anybody here would verify.
const MAX_ANSWER: usize = 96 << 20;

impl Courier {
    pub(crate) fn new(enrolled: &Enrolled) -> Result<Courier, Failure> {
        let bad =
            |why: String| Failure::new(Side::Machine, why, "remove the `identity` directory from the data directory, and enrol again");
        let tls = enrolled.client_config().map_err(|why| bad(why.to_string()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .timeout(PATIENCE)
            .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|why| bad(why.to_string()))?;
        Ok(Courier { client, url: enrolled.url.clone(), name: enrolled.sensor.clone() })
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
        let url = format!("{}/v1/{}?after={after}", self.url, goods.route());
        let answer = self.client.get(url).send().await.map_err(|why| chain(&why))?;
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

    /// Carries an enforcer's word to the collector; of several that wait only the newest counts. Ends with its senders.
    pub(crate) async fn report(self, mut reports: mpsc::Receiver<Applied>) {
        let epoch = Timestamp::now().as_millisecond().unsigned_abs();
        let mut seq = 0;
        while let Some(mut applied) = reports.recv().await {
            while let Ok(newer) = reports.try_recv() {
                applied = newer;
            }
            seq += 1;
            let record = Record { seq, at: Timestamp::now(), said: Said::Applied(applied) };
            let batch = Batch { sensor: self.name.clone(), epoch, records: vec![record] };
            let sent = self.client.post(format!("{}/v1/observations", self.url)).json(&batch).send().await;
            match sent.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => {}
                Ok(status) => tracing::warn!(%status, "the collector did not take a report"),
                Err(why) => tracing::warn!(why = chain(&why), "a report did not reach the collector"),
            }
        }
    }
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
