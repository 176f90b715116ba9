//! How many answers there may be: to one connection, and to all. Pure, of fixed size.

use super::snapshot::Sides;
use crate::flow::Seeded;
use std::{
    hash::BuildHasher,
    time::{Duration, Instant},
};

/// So often one connection is answered in [`WHILE`]: one answer mostly does; one that was too late for its end, or for both, is
/// followed by what the ends say to it.
pub const PER_CONNECTION: u32 = 8;
pub const WHILE: Duration = Duration::from_secs(2);
/// Connections remembered. Two that share a place forget each other: then the bound on all is what holds.
const REMEMBERED: usize = 4096;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// This connection had its share.
    Connection,
    /// Everybody together had theirs.
    Rate,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    connection: u64,
    since: Instant,
    times: u32,
}

#[derive(Debug)]
pub struct Pace {
    seed: Seeded,
    answered: Box<[Option<Answered>]>,
    /// Time saved up, at most a second; each answer costs its share of one.
    credit: Duration,
    cost: Option<Duration>,
    last: Option<Instant>,
}

impl Pace {
    /// `rate` answers a second, and as many at once.
    pub fn new(rate: u32) -> Pace {
        let answered = vec![None; REMEMBERED].into_boxed_slice();
        Pace { seed: Seeded::default(), answered, credit: SECOND, cost: SECOND.checked_div(rate), last: None }
    }

    /// How often this connection was answered just now, this time included; or why it is not.
    pub fn admit(&mut self, sides: Sides, now: Instant) -> Result<u32, Bound> {
        self.credit = self.last.map_or(self.credit, |last| (self.credit + now.saturating_duration_since(last)).min(SECOND));
        self.last = Some(now);
        let connection = self.seed.hash_one(sides);
        let place = usize::try_from(connection % REMEMBERED as u64).unwrap_or(0);
        let place = self.answered.get_mut(place).ok_or(Bound::Rate)?;
        let known = place.filter(|a| a.connection == connection && now.saturating_duration_since(a.since) < WHILE);
        let known = known.unwrap_or(Answered { connection, since: now, times: 0 });
        if known.times >= PER_CONNECTION {
            return Err(Bound::Connection);
        }
        self.credit = self.cost.and_then(|cost| self.credit.checked_sub(cost)).ok_or(Bound::Rate)?;
        let times = known.times + 1;
        *place = Some(Answered { times, ..known });
        Ok(times)
    }
}
