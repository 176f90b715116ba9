//! One enforcement point: its kernel table, its state directory, and the whole way of a set from signature to read-back.
//!
//! Everything that changes something asks for the store's [`Guard`], so the loop and a person at the command line take turns.

mod amend;
mod apply;
mod error;
mod memory;
mod plan;
mod removal;
mod reread;

pub use error::Error;
pub use plan::{ApplyOptions, Enacted, HostPlan, lease, plan_for_host};

use crate::{
    attempts,
    config::Config,
    facts::{Facts, Routes, Sessions},
    intake::{self, Expect, Keys, Refused},
    netlink::{self, Monitor},
    nft::Nft,
    present::{KernelBlock, Present},
    render::Skeleton,
    ruleset,
    state::Store,
};
use amend::LastApplied;
use memory::KernelSnapshot;
use rules::{Timestamp, decision::DecisionSet, endpoint::Endpoint, observation::Attempt, wire::v1::Signed};
use std::time::Duration;

#[derive(Debug)]
pub struct Point {
    pub config: Config,
    pub name: String,
    pub keys: Keys,
    pub nft: Nft,
    pub store: Store,
    /// `None`: the kernel does not tell us who changes what; then every look is a full one.
    pub monitor: Option<Monitor>,
    sessions: Sessions,
    memory: Option<KernelSnapshot>,
    known: Option<LastApplied>,
    /// This host's own addresses and gateways, when they could be read last.
    read: Option<Routes>,
    /// Whether this kernel renews what is added again: believed until one does not.
    readd: bool,
}

impl Point {
    /// Errors are of the configuration and the state directory only; whether the kernel can be reached shows later.
    pub fn open(config: Config) -> Result<Point, Error> {
        let keys = Keys::parse(&config.trusted_keys)?;
        let store = Store::open(&config.data)?;
        let nft = Nft { path: config.nft.clone(), timeout: config.nft_timeout.0 };
        let name = if config.point.is_empty() { host_name() } else { config.point.clone() };
        let monitor = Monitor::open().inspect_err(|why| tracing::debug!(%why, "no netlink monitor")).ok();
        Ok(Point {
            config,
            name,
            keys,
            nft,
            store,
            monitor,
            sessions: Sessions::default(),
            memory: None,
            known: None,
            read: None,
            readd: true,
        })
    }

    pub fn verify(&self, signed: &Signed, generation: u64, now: Timestamp) -> Result<DecisionSet, Refused> {
        Ok(self.here(intake::verify(signed, Expect { keys: &self.keys, site: &self.config.site, generation, now })?))
    }

    /// A set that was applied here, checked anew: files can be changed, and sets expire.
    pub fn stored(&self, generation: u64, now: Timestamp) -> Result<DecisionSet, Error> {
        Ok(self.verify(&self.store.set(generation)?, generation, now)?)
    }

    /// What was in force here once: for comparing, whether or not it still may be applied.
    pub fn remembered(&self, generation: u64) -> Option<DecisionSet> {
        Some(self.here(intake::open(&self.store.set(generation).ok()?, &self.keys).ok()?))
    }

    /// A site's set, as it is at this point: policy groups and waves leave some of it to others.
    fn here(&self, set: DecisionSet) -> DecisionSet {
        set.at(&self.name, &self.config.labels)
    }

    /// What cannot be read now is protected as it was before.
    pub fn facts(&mut self) -> Facts {
        let routes = netlink::routes().inspect(|read| self.read = Some(read.clone()));
        let mut facts = Facts::gather(routes, &self.config.ssh_ports, &mut self.sessions);
        if let Some(before) = self.read.as_ref().filter(|_| facts.blind) {
            facts.own.extend(&before.own);
            facts.gateways.extend(&before.gateways);
        }
        facts
    }

    /// What the kernel holds.
    pub async fn present(&mut self) -> Result<Option<Present>, Error> {
        self.look().await?;
        Ok(self.memory.as_ref().and_then(|m| m.present.clone().map(|p| p.aged(m.age()))))
    }

    /// The same without a copy of it: asks what the kernel holds at places.
    pub async fn count<T>(&mut self, ask: impl FnOnce(&dyn Fn(&Endpoint) -> Option<KernelBlock>) -> T) -> Result<T, Error> {
        self.look().await?;
        let memory = self.memory.as_ref();
        let (present, age) = (memory.and_then(|m| m.present.as_ref()), memory.map_or(Duration::ZERO, KernelSnapshot::age));
        Ok(ask(&|at| present?.blocks.get(at).filter(|held| held.left > age).cloned()))
    }

    /// What of a set the kernel does not hold, trial or not.
    pub async fn lacks(&mut self, set: &DecisionSet) -> Result<Option<String>, Error> {
        let ruleset = ruleset::plan(set, &self.facts(), &self.config).0;
        let present = self.present().await?;
        Ok(apply::difference(&ruleset, present.as_ref(), true))
    }

    /// Who tried what the kernel blocks or counts, as of when it was read last.
    pub fn attempts(&self, now: Timestamp) -> (Vec<Attempt>, u64) {
        let Some(present) = self.memory.as_ref().and_then(|m| m.present.as_ref()) else { return (Vec::new(), 0) };
        // Only to be shown: where it cannot be read, nobody is.
        let tried = self.monitor.as_ref().and_then(|kernel| kernel.tried().ok()).unwrap_or_default();
        attempts::attempts(tried, &present.blocks, now)
    }

    /// Plans and checks against the host as it is; lets the kernel check too if we may ask it. Changes nothing.
    pub async fn rehearse(&mut self, set: &DecisionSet, options: ApplyOptions<'_>) -> Result<(HostPlan, Option<Present>), Error> {
        // A plan is worth reading without privileges, too: then as if the table were not there.
        let (present, may_ask) = match self.present().await {
            Ok(present) => (present, true),
            Err(Error::Unavailable(_)) => (None, false),
            Err(why) => return Err(why),
        };
        let facts = self.facts();
        let plan = plan_for_host(set, &facts, &self.config, (present.as_ref(), Duration::ZERO), Skeleton::Keep, options);
        if may_ask && plan.objections.is_empty() {
            self.nft.check(&plan.transaction.to_nft()).await?;
        }
        Ok((plan, present))
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    rules::printable::printable(name.trim(), 64)
}

#[cfg(test)]
mod tests;
