//! Changes that nobody tells us of: a person at the command line, the clock, commits whose event was lost.

use super::reconciler::Reconciler;
use crate::{
    core::{Candidate, Event},
    intake::Refused,
    netlink::Commit,
    point::Error,
    state::PointState,
};
use rules::{Timestamp, decision::DecisionSet, wire::v1::Signed};
use std::sync::Arc;

/// A set as it is kept in memory: words for people stay on disk.
fn lean(mut set: DecisionSet) -> DecisionSet {
    set.decisions.iter_mut().for_each(|d| d.reason = String::new());
    set.decisions.shrink_to_fit();
    set
}

impl Reconciler {
    pub(super) fn arrived(&mut self, signed: Arc<Signed>) -> Event {
        let verified = self.point.verify(&signed, self.core.highest(), Timestamp::now());
        self.untimely = verified.as_ref().err().filter(|why| why.is_of_time()).map(|why| (why.clone(), signed.clone()));
        Event::Set(verified.map(|set| Candidate { set: Arc::new(lean(set)), signed }).map_err(|why| (0, why.to_string())))
    }

    /// A change that is our own is no news.
    pub(super) fn forget_difference(&mut self, change: impl FnOnce(&mut PointState)) {
        if let Some(seen) = &mut self.seen {
            change(seen);
        }
    }

    /// What may have changed without an event, then what is due by time.
    pub(super) async fn tick(&mut self) {
        self.say_again().await;
        self.look_at_state().await;
        self.look_at_the_clock().await;
        self.look_at_kernel().await;
        self.happen(Event::Tick).await;
    }

    /// What a person did at the command line meanwhile.
    pub(super) async fn look_at_state(&mut self) {
        let state = match self.point.store.load() {
            Ok(state) if self.seen.as_ref() == Some(&state) && !self.lapsed.as_ref().is_some_and(|why| why.is_past(Timestamp::now())) => {
                return;
            }
            Ok(state) => state,
            Err(why) => return self.happen(Event::Trouble(why.to_string())).await,
        };
        self.lapsed = None;
        let current = match state.current.map(|g| (g, self.point.stored(g, Timestamp::now()))) {
            Some((_, Ok(set))) => Some(Arc::new(lean(set))),
            Some((generation, Err(why))) => {
                if let Error::Refused(why) = &why {
                    self.lapsed = Some(why.clone()).filter(Refused::is_of_time);
                }
                let why = format!("generation {generation}, applied here last, is void and lapses: {why}");
                self.happen(Event::Trouble(why)).await;
                None
            }
            None => None,
        };
        self.seen = Some(state.clone());
        self.happen(Event::State(state, current)).await;
    }

    /// What was refused for its time is told once, by whoever told it; set right, the clock makes it good.
    pub(super) async fn look_at_the_clock(&mut self) {
        if let Some((_, signed)) = self.untimely.take_if(|(why, _)| why.is_past(Timestamp::now())) {
            let event = self.arrived(signed);
            self.happen(event).await;
        }
    }

    /// A set that had arrived when the process before us died, perhaps between the kernel and the record of it.
    pub(super) async fn finish_what_was_begun(&mut self) {
        let latest = self.seen.as_ref().filter(|s| s.latest > s.current).and_then(|s| s.latest);
        if let Some(signed) = latest.and_then(|generation| self.point.store.set(generation).ok()) {
            let event = self.arrived(Arc::new(signed));
            self.happen(event).await;
        }
    }

    /// In case an event was lost, or nobody tells us any. Only what stands since the last tick: an event that is on its way knows
    /// more, namely who it was.
    pub(super) async fn look_at_kernel(&mut self) {
        let generation = self.point.generation();
        let stands = std::mem::replace(&mut self.polled, generation) == generation;
        if let Some(generation) = generation.filter(|_| stands) {
            self.happen(Event::Commit(Some(Commit { generation, actor: String::new(), ours: true }))).await;
        }
    }

    pub(super) async fn end(mut self) -> Result<(), Error> {
        if self.point.config.remove_on_exit {
            let held = self.point.store.lock().await?;
            self.point.remove(&held).await?;
        }
        Ok(())
    }
}
