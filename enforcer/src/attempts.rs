//! Who tried to reach what is blocked or counted: the kernel's own notes, as a point tells them. Pure.
//!
//! Packets note themselves in a set of bounded size ([`crate::names::TRIED`]), so nothing of theirs is parsed here, and each
//! connection counts, not a sample of what the kernel logs. (The log, group 5, is there for who reads it.)

use crate::{names::TRIED_SIZE, netlink::Tried, present::KernelBlock};
use rules::{
    Timestamp,
    endpoint::Endpoint,
    observation::{Attempt, PointStatus},
};
use std::collections::BTreeMap;

/// The latest attempts, and how many more there were. What was lifted meanwhile is nobody's business any more.
pub fn attempts(tried: Vec<Tried>, blocks: &BTreeMap<Endpoint, KernelBlock>, now: Timestamp) -> (Vec<Attempt>, u64) {
    // A set that is full notes nobody else: at least one is lost.
    let full = [true, false].map(|v4| tried.iter().filter(|t| t.client.is_ipv4() == v4).count() >= TRIED_SIZE);
    let mut found: Vec<Attempt> = tried
        .into_iter()
        .filter_map(|t| {
            let held = blocks.get(&t.endpoint)?;
            let last = now.checked_sub(t.ago).unwrap_or(now);
            let (client, endpoint, count) = (t.client, t.endpoint, t.count);
            Some(Attempt { finding: held.finding.clone()?, endpoint, client, action: held.action, count, last })
        })
        .collect();
    found.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.cmp(b)));
    let more = found.len().saturating_sub(PointStatus::MAX_ATTEMPTS) + full.into_iter().filter(|f| *f).count();
    found.truncate(PointStatus::MAX_ATTEMPTS);
    (found, more as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::t0;
    use rules::{
        decision::Action,
        finding::{FindingId, FindingKind},
    };
    use std::time::Duration;

    fn tried(client: &str, endpoint: &str, count: u64, ago: u64) -> Tried {
        Tried { client: client.parse().unwrap(), endpoint: endpoint.parse().unwrap(), count, ago: Duration::from_secs(ago) }
    }

    #[test]
    fn the_latest_come_first_and_what_does_not_fit_is_counted() {
        let finding = FindingId::derive(FindingKind::Shadow, "x");
        let held = |action| KernelBlock { action, finding: Some(finding.clone()), left: Duration::from_secs(60), packets: 0, bytes: 0 };
        let blocks = BTreeMap::from([
            ("10.0.0.5:3001".parse().unwrap(), held(Action::Block)),
            ("[2001:db8::5]:3001".parse().unwrap(), held(Action::Shadow)),
        ]);
        let some = vec![
            tried("10.0.9.1", "10.0.0.5:3001", 3, 90),
            tried("2001:db8:9::1", "[2001:db8::5]:3001", 1, 5),
            tried("10.0.9.1", "10.0.0.77:3001", 9, 1),
        ];
        let (found, lost) = attempts(some, &blocks, t0());
        let text: Vec<String> = found
            .iter()
            .map(|a| format!("{} {} {:?} {} {}", a.client, a.endpoint, a.action, a.count, t0().duration_since(a.last).as_secs()))
            .collect();
        assert_eq!(text, ["2001:db8:9::1 [2001:db8::5]:3001 Shadow 1 5", "10.0.9.1 10.0.0.5:3001 Block 3 90"]);
        assert_eq!(lost, 0);
        let many =
            (0..TRIED_SIZE as u32).map(|n| Tried { client: std::net::Ipv4Addr::from(n).into(), ..tried("::", "10.0.0.5:3001", 1, 1) });
        let (found, lost) = attempts(many.collect(), &blocks, t0());
        assert_eq!((found.len(), lost), (PointStatus::MAX_ATTEMPTS, (TRIED_SIZE - PointStatus::MAX_ATTEMPTS) as u64 + 1));
    }
}
