//! Who tried to reach what is blocked or counted, over all points.

use super::Fleet;
use crate::{Timestamp, decision::Action, finding::FindingId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// One client that a block stopped, or would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub client: IpAddr,
    pub action: Action,
    /// Connections and datagrams, over all points that it passed.
    pub count: u64,
    pub last: Timestamp,
}

impl Fleet<'_> {
    /// The clients of one finding, latest first: at most `most`, and how many more there were.
    pub fn tried(&self, finding: &FindingId, most: usize) -> (Vec<Tried>, usize) {
        let mut sum: BTreeMap<(IpAddr, Action), Tried> = BTreeMap::new();
        for a in self.points.iter().flat_map(|p| &p.said.status.attempts).filter(|a| a.finding == *finding) {
            let none = || Tried { client: a.client, action: a.action, count: 0, last: a.last };
            let known = sum.entry((a.client, a.action)).or_insert_with(none);
            known.count = known.count.saturating_add(a.count);
            known.last = known.last.max(a.last);
        }
        let mut all: Vec<Tried> = sum.into_values().collect();
        all.sort_by(|a, b| b.last.cmp(&a.last).then(a.client.cmp(&b.client)));
        let more = all.len().saturating_sub(most);
        all.truncate(most);
        (all, more)
    }
}
