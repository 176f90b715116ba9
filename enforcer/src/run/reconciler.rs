//! The reconciler: hands each event to [`Core`] and performs the effects.

use super::now;
use crate::{
    config::Mode,
    core::{Cause, Core, Effect, Event},
    intake::Refused,
    point::Point,
    state::PointState,
};
use rules::{observation::Applied, wire::v1::Signed};
use std::{sync::Arc, time::Instant};
use tokio::sync::mpsc;

/// Blocks of the set in force: wanted here, held by the kernel, and not for this point.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockCounts {
    pub(super) desired: u64,
    pub(super) enforced: u64,
    pub(super) withheld: u64,
}

/// One enforcement point while it runs.
pub(super) struct Reconciler {
    pub(super) core: Core,
    pub(super) point: Point,
    /// The state as the core knows it.
    pub(super) seen: Option<PointState>,
    /// The kernel's generation at the last tick.
    pub(super) polled: Option<u32>,
    /// The skeleton as we last wrote and read it.
    pub(super) trusted: Option<String>,
    /// A set that could not be written down: first that, then it may be adopted.
    pub(super) unkept: Option<(u64, Arc<Signed>)>,
    /// Refused for its time alone, which may be this clock's fault: the newest that arrived.
    pub(super) untimely: Option<(Refused, Arc<Signed>)>,
    /// The same of the set that was applied here last.
    pub(super) lapsed: Option<Refused>,
    /// Somebody tells us about this host's health.
    pub(super) gated: bool,
    /// As of the last time the kernel was made to match; `None`: it has to be looked at.
    pub(super) counts: Option<BlockCounts>,
    /// What passes by our rules.
    pub(super) bypasses: Vec<String>,
    /// The last word, and when it was said.
    pub(super) last: Option<(Applied, Instant)>,
    pub(super) reports: mpsc::Sender<Applied>,
}

impl Reconciler {
    pub(super) fn new(point: Point, gated: bool, reports: mpsc::Sender<Applied>) -> Reconciler {
        let core = Core::new(&point.name, point.config.mode);
        Reconciler {
            core: if gated { core.gated() } else { core },
            gated,
            unkept: None,
            untimely: None,
            lapsed: None,
            seen: None,
            polled: None,
            trusted: None,
            counts: None,
            bypasses: Vec::new(),
            last: None,
            reports,
            point,
        }
    }

    pub(super) fn enforces(&self) -> bool {
        self.point.config.mode == Mode::Enforce
    }

    /// One event, and whatever it leads to.
    pub(super) async fn happen(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.core.handle(event, now()) {
                events.extend(self.perform(effect).await);
            }
        }
    }

    pub(super) async fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Keep(generation, signed) => {
                let why = self.keep(generation, &signed).await.err();
                self.unkept = why.as_ref().map(|_| (generation, signed));
                why.map(|why| Event::Trouble(why.to_string()))
            }
            Effect::Adopt(set) => Some(self.adopt(set).await),
            Effect::Uphold(set, cause) => {
                let result = self.uphold(&set).await;
                Some(Event::Enacted { generation: set.generation, cause, result, kernel: self.point.generation() })
            }
            Effect::Rehearse(set) => Some(Event::Rehearsed { generation: set.generation, result: self.rehearse(&set).await }),
            Effect::Inspect(set, actor) => match self.point.lacks(&set).await {
                Ok(lacks) => lacks.map(|why| Event::Disturbed { actor, why }),
                Err(why) => Some(Event::Trouble(why.to_string())),
            },
            Effect::RollBack => Some(self.roll_back().await),
            Effect::Pass(set) => {
                let result = match self.settle_gate(None).await {
                    Ok(()) => self.uphold(&set).await,
                    Err(why) => Err(why),
                };
                Some(Event::Enacted { generation: set.generation, cause: Cause::New, result, kernel: self.point.generation() })
            }
            Effect::Withdraw(set, why) => {
                let result = match self.settle_gate(Some(why.clone())).await {
                    Ok(()) => self.uphold(&set).await,
                    Err(why) => Err(why),
                };
                Some(Event::Withdrawn { generation: set.generation, why, result, kernel: self.point.generation() })
            }
            Effect::Open(generation) => self.open(generation).await.err().map(|why| {
                Event::Trouble(format!("the time of generation {generation} is over and its blocks lapse with their leases: {why}"))
            }),
            Effect::Report(applied) => {
                self.report(*applied).await;
                None
            }
        }
    }
}
