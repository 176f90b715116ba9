//! Taking away: all blocks, the whole table, or the last set.

use super::{ApplyOptions, Error, Point};
use crate::{
    config::Config,
    netlink::Monitor,
    nft::Nft,
    render::{Change, Transaction},
    state::{Guard, PointState},
};
use rules::Timestamp;
use std::{sync::Arc, time::Duration};

impl Point {
    /// Nothing is blocked or counted any more; chains, rules and notes stay. How many places that were.
    pub async fn lift_all(&mut self, _held: &Guard) -> Result<usize, Error> {
        let present = self.present().await?.unwrap_or_default();
        let changes: Vec<Change> =
            present.blocks.iter().map(|(endpoint, held)| Change::Lift { endpoint: *endpoint, was: held.action }).collect();
        let lifted = changes.len();
        if lifted > 0 {
            (self.memory, self.known) = (None, None);
            self.commit(&Transaction { changes }, None).await?;
        }
        Ok(lifted)
    }

    pub async fn remove(&mut self, _held: &Guard) -> Result<(), Error> {
        self.take_away().await
    }

    /// The same where nobody waits for a lock.
    pub async fn take_away(&mut self) -> Result<(), Error> {
        (self.memory, self.known) = (None, None);
        // Without a table there is nothing to commit, and no generation to burn.
        match self.present().await {
            Ok(None) => Ok(()),
            // Without `nft` where that goes: it may be what hangs.
            _ => match self.monitor.as_ref().map(Monitor::remove) {
                Some(Ok(())) => Ok(()),
                _ => Ok(self.nft.remove().await?),
            },
        }
    }

    /// Without state, keys or a directory: for a host where any of these is damaged.
    pub async fn break_glass(config: &Config) -> Result<(), Error> {
        let nft = Nft { path: config.nft.clone(), timeout: config.nft_timeout.0 };
        match Monitor::open().and_then(|kernel| kernel.remove()) {
            Ok(()) => Ok(()),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(_) => Ok(nft.remove().await?),
        }
    }

    /// Brings the set before the last one back; without one (or when it expired meanwhile) takes the table away.
    /// Gives the generation that stands now, 0 for none.
    pub async fn roll_back(
        &mut self,
        held: &Guard,
        state: &mut PointState,
        now: Timestamp,
        trusted: &mut Option<String>,
    ) -> Result<u64, Error> {
        let before = state.previous.and_then(|g| self.stored(g, now).ok()).map(Arc::new);
        match &before {
            // Nothing is there, and nothing comes back before `resume`.
            _ if state.stopped.is_some() => {}
            Some(set) => {
                // What was held back stays so: going back is no reason to let it in.
                let base = state.base.and_then(|g| self.remembered(g));
                let (hold_back, known) = (state.base.is_some(), if state.base.is_some() { base.as_ref() } else { Some(&**set) });
                let new_this_hour = state.new_this_hour(now);
                let options =
                    ApplyOptions { now, trial: None, many_new: !hold_back, hold_back, before: known, new_this_hour, left: Duration::MAX };
                if !self.enact(held, set, options, trusted).await?.held_back {
                    state.base = None;
                }
            }
            None => {
                state.base = None;
                self.remove(held).await?;
                *trusted = None;
            }
        }
        state.rolled_back = state.current.max(state.rolled_back);
        state.current = before.map(|s| s.generation);
        state.previous = None;
        state.confirm_by = None;
        self.store.save(held, state)?;
        Ok(state.current.unwrap_or(0))
    }
}
