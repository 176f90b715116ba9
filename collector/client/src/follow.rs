//! Signed sets and bundles on their way from the collector. Whoever receives one verifies it; here it is only carried.

use crate::{Connection, Error, connection::no_document};
use base64::{Engine, engine::general_purpose::STANDARD};
use rules::wire::{printable, v1::Signed};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The kind of signed document that a role follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Decision sets, for an enforcement point.
    Decisions,
    /// Registry, grants and keys, for a gateway.
    Bundle,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Decisions => "decisions",
            Subject::Bundle => "bundle",
        }
    }

    fn domain(self) -> &'static str {
        match self {
            Subject::Decisions => Signed::DECISIONS,
            Subject::Bundle => Signed::BUNDLE,
        }
    }
}

/// The collector holds a request for news up to 25 s; a dead connection is given up after this.
const NEWS_TIMEOUT: Duration = Duration::from_secs(40);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The base64 of the largest payload that a receiver would verify, in bytes.
const MAX_SIGNED: usize = 96 << 20;

impl Connection {
    /// Shows each newer document, until `shutdown`. A collector that cannot be reached is asked again, ever less often.
    pub async fn follow(self, subject: Subject, shown: watch::Sender<Option<Arc<Signed>>>, shutdown: CancellationToken) {
        let mut after = 0;
        let mut wait = FIRST_WAIT;
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                asked = self.news(subject, after) => asked,
            };
            match asked {
                Ok(None) => wait = FIRST_WAIT,
                Ok(Some((generation, signed))) => {
                    after = generation;
                    wait = FIRST_WAIT;
                    shown.send_replace(Some(Arc::new(signed)));
                }
                Err(why) => {
                    let retry_ms = wait.as_millis();
                    tracing::warn!(%why, retry_ms, "no new {} came from the collector; the last one stays in force", subject.name());
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// The next document later than a generation, if there is one within the time that the collector holds the request.
    pub async fn news(&self, subject: Subject, after: u64) -> Result<Option<(u64, Signed)>, Error> {
        let reply = self.get(&format!("/v1/{}?after={after}", subject.name()), NEWS_TIMEOUT, MAX_SIGNED).await?;
        match reply.status {
            200 => {}
            204 => return Ok(None),
            other => return Err(no_document(&self.identity().url, other, &reply.body)),
        }
        let signed: Signed =
            serde_json::from_slice(&reply.body).map_err(|why| Error::Answer(format!("it is no signed document: {why}")))?;
        if signed.domain != subject.domain() {
            return Err(Error::Answer(format!("it is signed for `{}`", printable(&signed.domain, 80))));
        }
        // Only to know the next question: the receiver finds out whether it is true.
        let generation = generation(&signed).ok_or_else(|| Error::Answer("it has no generation".to_owned()))?;
        Ok((generation > after).then_some((generation, signed)))
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
