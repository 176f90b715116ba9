//! The reconciler's events and effects: plain values, so that the core needs neither a clock nor a kernel.

use crate::{
    health::Health,
    netlink::Commit,
    point::{Enacted, Error},
    state::PointState,
};
use rules::{Timestamp, decision::DecisionSet, observation::Applied, wire::v1::Signed};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Instant,
    pub wall: Timestamp,
    /// How long this host was suspended since it started. `mono` and the kernel's leases stand still then; a set's validity does not.
    pub slept: Duration,
}

impl Now {
    /// By a clock that nobody can set and that runs while the host sleeps.
    pub(super) fn passed(&self) -> Instant {
        self.mono.checked_add(self.slept).unwrap_or(self.mono)
    }
}

/// A set and the signed bytes it came in.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub set: Arc<DecisionSet>,
    pub signed: Arc<Signed>,
}

/// Why the kernel is to be made to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    New,
    /// We have just started; the kernel may hold anything.
    Start,
    Renewal,
    /// Somebody (`actor`, empty if unknown) committed something that may concern us.
    Look {
        actor: String,
    },
}

#[derive(Debug)]
pub enum Event {
    /// A set arrived and verified, or did not.
    Set(Result<Candidate, (u64, String)>),
    /// What the state directory says, whenever it differs from before; with the set that should be in force.
    State(PointState, Option<Arc<DecisionSet>>),
    Tick,
    /// `None`: commits were missed.
    Commit(Option<Commit>),
    Enacted {
        generation: u64,
        cause: Cause,
        result: Result<Enacted, Error>,
        /// The kernel's generation afterwards.
        kernel: Option<u32>,
    },
    Rehearsed {
        generation: u64,
        result: Result<Enacted, Error>,
    },
    /// The state directory cannot be used.
    Trouble(String),
    /// Somebody asked what this host needs.
    Health(Health),
    /// New blocks were taken out again.
    Withdrawn {
        generation: u64,
        why: String,
        result: Result<Enacted, Error>,
        kernel: Option<u32>,
    },
    /// Somebody changed the table while a trial was running.
    Disturbed {
        actor: String,
        why: String,
    },
    RolledBack {
        from: u64,
        result: Result<u64, Error>,
    },
}

#[derive(Debug)]
pub enum Effect {
    /// Remember a set that arrived, whether or not it will be applied: on disk, for its signed bytes are as large as all else together.
    Keep(u64, Arc<Signed>),
    /// Make the kernel hold this set and remember it as current.
    Adopt(Arc<DecisionSet>),
    /// Make the kernel hold the current set.
    Uphold(Arc<DecisionSet>, Cause),
    Rehearse(Arc<DecisionSet>),
    /// Somebody committed something while this set is on trial: does the kernel still hold it?
    Inspect(Arc<DecisionSet>, String),
    RollBack,
    /// What this host needs still answers: the full lease for what is new.
    Pass(Arc<DecisionSet>),
    /// The set's time is over and the kernel may not know: whatever is still blocked is lifted.
    Open(u64),
    /// What is new is taken out again, for this reason; the rest stays, and lifts are done.
    Withdraw(Arc<DecisionSet>, String),
    Report(Box<Applied>),
}
