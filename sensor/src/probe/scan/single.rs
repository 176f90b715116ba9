//! One endpoint asked by itself.

use super::{dialer, fresh_seed, stopped_by_file};
use crate::probe::{
    config::ScanConfig,
    echo::Echoes,
    identify::{Hint, Interrogation},
    schedule::SECOND_LOOK_AFTER,
};
use rules::{Timestamp, endpoint::Endpoint, evidence::Evidence};
use std::sync::Arc;

/// Asks one endpoint: to confirm a passive nomination, to check a known server again, or that it is gone.
pub async fn probe_one(target: Endpoint, hint: Hint, config: &ScanConfig) -> Vec<Evidence> {
    probe_one_with(target, hint, config, Arc::default()).await.0
}

pub(in crate::probe) async fn probe_one_with(
    target: Endpoint,
    hint: Hint,
    config: &ScanConfig,
    echoes: Arc<Echoes>,
) -> (Vec<Evidence>, Spent) {
    let mut spent = Spent::default();
    if stopped_by_file(config).is_err() {
        return (Vec::new(), spent);
    }
    let dialer = match dialer(config, echoes) {
        Ok(dialer) => dialer,
        Err(why) => {
            tracing::warn!(%why, endpoint = %target, "the endpoint was not asked");
            return (Vec::new(), spent);
        }
    };
    let mut interrogation = Interrogation::new(target, hint, config.options(), config.seed.unwrap_or_else(fresh_seed));
    let pause = std::time::Duration::from_secs(1) / config.per_host_rate.max(1);
    while let Some(question) = interrogation.next_question() {
        let (outcome, cost) = dialer.ask(&question).await;
        spent.connections += u64::from(cost.connections);
        spent.requests += u64::from(cost.requests);
        spent.bytes_sent += cost.sent;
        interrogation.absorb(&question, &outcome);
        tokio::time::sleep(if interrogation.take_pause() { SECOND_LOOK_AFTER } else { pause }).await;
    }
    let (minted, ended) = interrogation.sessions();
    (spent.minted, spent.ended) = (u64::from(minted), u64::from(ended));
    (interrogation.evidence(Timestamp::now()), spent)
}

/// What asking one endpoint cost.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::probe) struct Spent {
    pub(in crate::probe) connections: u64,
    pub(in crate::probe) requests: u64,
    pub(in crate::probe) bytes_sent: u64,
    pub(in crate::probe) minted: u64,
    pub(in crate::probe) ended: u64,
}
