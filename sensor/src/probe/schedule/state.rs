//! The memory of a sweep, parted by the reason to remember.

use super::{Bounds, Position};
use crate::probe::{
    identify::{Hint, Interrogation, Options},
    knock::plan::Plan,
    order::Permutation,
    pace::{Courtesy, Pace},
    targets::Space,
};
use rules::endpoint::Endpoint;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

/// Endpoints still to be begun.
#[derive(Debug)]
pub(super) struct Frontier {
    pub(super) space: Arc<Space>,
    pub(super) order: Permutation,
    pub(super) next_index: u64,
    /// The port stage; without one every endpoint is asked.
    pub(super) stage: Option<Plan>,
    /// To be asked before others.
    pub(super) open: VecDeque<Endpoint>,
    /// To be tried once more, and from when, in that order.
    pub(super) again: VecDeque<(Instant, Endpoint)>,
    pub(super) tried_again: HashSet<Endpoint>,
}

impl Frontier {
    pub(super) fn new(space: Arc<Space>, seed: u64) -> Frontier {
        Frontier {
            order: Permutation::new(space.len(), seed),
            space,
            next_index: 0,
            stage: None,
            open: VecDeque::new(),
            again: VecDeque::new(),
            tried_again: HashSet::new(),
        }
    }
}

/// Knowledge that an interrogation begins with.
#[derive(Debug)]
pub(super) struct Briefing {
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) hints: HashMap<IpAddr, Vec<(Option<u16>, Hint)>>,
}

impl Briefing {
    /// `position` is that of the endpoint in the order of asking.
    pub(super) fn interrogation(&self, endpoint: Endpoint, position: u64) -> Interrogation {
        let seed = self.seed ^ position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Interrogation::new(endpoint, self.hint_for(endpoint), self.options.clone(), seed)
    }

    fn hint_for(&self, endpoint: Endpoint) -> Hint {
        let hints = self.hints.get(&endpoint.address).map(Vec::as_slice).unwrap_or_default();
        let exact = hints.iter().find(|(port, _)| *port == Some(endpoint.port));
        exact.or_else(|| hints.iter().find(|(port, _)| port.is_none())).map(|(_, h)| h.clone()).unwrap_or_default()
    }
}

/// Rates, and questions under way.
#[derive(Debug)]
pub(super) struct Pacing {
    pub(super) pace: Pace,
    pub(super) courtesy: Courtesy,
    pub(super) bounds: Bounds,
    pub(super) under_way: usize,
}

impl Pacing {
    pub(super) fn new(bounds: Bounds, now: Instant) -> Pacing {
        let courtesy = Courtesy::new(bounds.per_host_rate, bounds.per_subnet_rate, now);
        Pacing { pace: Pace::new(bounds.rate), courtesy, bounds, under_way: 0 }
    }
}

/// Reasons to begin nobody new.
#[derive(Debug, Default)]
pub(super) struct Halt {
    pub(super) resting: bool,
    pub(super) stopping: bool,
    /// The position at the stop: whatever was begun then was not finished.
    pub(super) stopped_at: Option<Position>,
}
