//! What is wrong when what was decided is not so: a point that does not enforce all that it should.

use crate::{
    Timestamp,
    finding::{Finding, FindingId, FindingKind, Severity},
    fleet::Point,
    policy::Policy,
};

/// A point that enforces less than it should, or was not heard, for [`crate::policy::FleetPolicy::coverage_patience`]. A bypass that it reports is one
/// too: blocks that traffic passes by are none.
pub fn unenforced(site: &str, point: &Point, policy: &Policy, now: Timestamp) -> Option<Finding> {
    if !point.enforces() {
        return None;
    }
    let s = &point.said.status;
    let mut reasons = Vec::new();
    let patience = policy.fleet.coverage_patience;
    if !point.is_heard(policy, now) && patience.after(point.heard_at) <= now && s.desired > 0 {
        reasons.push(format!(
            "nothing was heard of enforcement point `{}` since {}: none of its {} blocks counts as enforced",
            point.name, point.heard_at, s.desired
        ));
    } else if point.short_since.is_some_and(|since| patience.after(since) <= now) {
        reasons.push(format!("enforcement point `{}` holds {} of {} blocks", point.name, s.enforced.min(s.desired), s.desired));
        reasons.extend(s.stopped.as_ref().map(|why| format!("a person stopped it: {why}")));
        reasons.extend(s.held_back.as_ref().map(|why| format!("it holds new blocks back: {why}")));
        let said = (!point.said.reason.is_empty()).then(|| format!("it says: {}", point.said.reason));
        reasons.extend(said);
    }
    reasons.extend(s.bypasses.iter().map(|what| format!("traffic passes by the blocks at `{}`: {what}", point.name)));
    if reasons.is_empty() {
        return None;
    }
    Some(Finding {
        id: FindingId::derive(FindingKind::Unenforced, &format!("{site}/{}", point.name)),
        kind: FindingKind::Unenforced,
        severity: Severity::High,
        site: site.to_owned(),
        place: None,
        slug: None,
        owner: None,
        reasons,
        corroborated: false,
        sensors: 0,
        shared_with: Vec::new(),
        last_seen: now,
    })
}
