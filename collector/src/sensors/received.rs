//! Which sequence numbers of one sensor's epoch have been taken. Pure.

use serde::{Deserialize, Serialize};

/// All numbers up to `upto`, and some ranges ahead of it. An epoch begins with 0 or 1, as the sensor likes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) epoch: u64,
    upto: Option<u64>,
    /// Inclusive, ascending, not touching each other.
    ahead: Vec<(u64, u64)>,
}

impl Received {
    /// More holes than this and a sensor is told to go back and fill them first.
    pub(crate) const MAX_AHEAD: usize = 256;

    pub(crate) fn new(epoch: u64) -> Received {
        Received { epoch, ..Received::default() }
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.upto.is_some_and(|upto| seq <= upto) || self.ahead.iter().any(|(from, to)| (*from..=*to).contains(&seq))
    }

    /// Takes `from..=to`. False when that would leave too many holes: nothing is taken then.
    pub(crate) fn take(&mut self, from: u64, to: u64) -> bool {
        if to < from || self.upto.is_some_and(|upto| to <= upto) {
            return true;
        }
        let touches = |(a, b): &(u64, u64)| from <= b.saturating_add(1) && *a <= to.saturating_add(1);
        let grown = self.ahead.iter().filter(|r| touches(r)).fold((from, to), |(lo, hi), (a, b)| (lo.min(*a), hi.max(*b)));
        let joins_front = grown.0 <= self.upto.map_or(1, |upto| upto.saturating_add(1));
        if !joins_front && self.ahead.iter().filter(|r| !touches(r)).count() >= Received::MAX_AHEAD {
            return false;
        }
        self.ahead.retain(|r| !touches(r));
        if joins_front {
            self.upto = Some(grown.1);
        } else {
            let at = self.ahead.partition_point(|r| r.0 < grown.0);
            self.ahead.insert(at, grown);
        }
        true
    }

    /// The highest number below which nothing is missing; 0 when nothing was taken.
    pub(crate) fn acked(&self) -> u64 {
        self.upto.unwrap_or(0)
    }

    /// Whether a hole waits to be filled.
    pub(crate) fn has_holes(&self) -> bool {
        !self.ahead.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn holes_hold_the_acknowledgement_back_until_they_are_filled() {
        let mut r = Received::new(1);
        assert!(r.take(1, 3) && r.take(7, 9) && r.take(5, 5));
        assert_eq!((r.acked(), r.has_holes(), r.contains(8), r.contains(6)), (3, true, true, false));
        assert!(r.take(4, 4));
        assert_eq!(r.acked(), 5);
        assert!(r.take(6, 6));
        assert_eq!((r.acked(), r.has_holes()), (9, false));
    }

    #[test]
    fn too_many_holes_are_refused_and_change_nothing() {
        let mut r = Received::new(1);
        for n in 0..Received::MAX_AHEAD as u64 {
            assert!(r.take(10 + 2 * n, 10 + 2 * n));
        }
        let before = r.clone();
        assert!(!r.take(5000, 5000));
        assert_eq!(r, before);
        assert!(r.take(0, 9) && r.take(11, 4000));
        assert_eq!(r.acked(), 4000);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(ranges in prop::collection::vec((0u64..60, 0u64..8), 0..60)) {
            let (mut r, mut set) = (Received::new(0), BTreeSet::new());
            for (from, n) in ranges {
                prop_assert!(r.take(from, from + n));
                set.extend(from..=from + n);
                let start = if set.contains(&0) { 0 } else { 1 };
                let run = (start..).take_while(|n| set.contains(n)).last();
                prop_assert_eq!(r.acked(), run.unwrap_or(0));
                for n in start..80 {
                    prop_assert_eq!(r.contains(n), set.contains(&n), "{}", n);
                }
            }
        }
    }
}
