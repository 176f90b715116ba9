//! What is wrong when nothing is heard: a registered server that is dead, a sensor that is blind.

use crate::{
    Timestamp,
    evidence::{Owner, OwnerSource},
    finding::{Finding, FindingId, FindingKind, Severity},
    observation::Coverage,
    policy::Policy,
    registry::Registration,
    server::Server,
};

/// A standing registration at whose backends nothing was seen for [`Policy::gone_after`].
///
/// `servers` are all of the site; a registration younger than that period is given time.
pub fn dead<'a>(
    site: &str,
    registration: &Registration,
    servers: impl IntoIterator<Item = &'a Server>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Finding> {
    let young = policy.gone_after.after(registration.registered_at) > now;
    if young || registration.retired_at(now).is_some() {
        return None;
    }
    let last_seen = servers.into_iter().filter(|s| registration.covers(&s.place)).map(|s| s.last_seen).max();
    if last_seen.is_some_and(|at| policy.gone_after.after(at) > now) {
        return None;
    }
    let why = match last_seen {
        Some(at) => format!("`{}` is registered and was last seen at {at}", registration.slug),
        None => format!("`{}` is registered and was never seen", registration.slug),
    };
    Some(Finding {
        id: FindingId::derive(FindingKind::Dead, &format!("{site}/{}", registration.slug)),
        kind: FindingKind::Dead,
        severity: Severity::Low,
        site: site.to_owned(),
        place: None,
        slug: Some(registration.slug.clone()),
        owner: Some(Owner { name: registration.contact.clone(), source: OwnerSource::Registry }),
        reasons: vec![why],
        corroborated: false,
        sensors: 0,
        shared_with: Vec::new(),
        last_seen: last_seen.unwrap_or(registration.registered_at),
    })
}

/// What is known of one sensor's eyes.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    pub sensor: &'a str,
    /// When anything of it arrived last.
    pub last_heard: Timestamp,
    /// What each capture point saw and lost in the time that is judged; see [`Coverage::since`].
    pub coverage: &'a [Coverage],
}

/// Parts of a sensor that report their losses like an interface, and never see a frame.
const PARTS: [&str; 4] = ["wire", "host", "probe", "uplink"];

/// A sensor that is silent, sees no frame, or loses too much of what it sees. Its silence about a server proves nothing.
pub fn blind(site: &str, sight: &Sight<'_>, policy: &Policy, now: Timestamp) -> Option<Finding> {
    let mut reasons = Vec::new();
    if policy.blind_after.after(sight.last_heard) <= now {
        reasons.push(format!("nothing was heard of sensor `{}` since {}", sight.sensor, sight.last_heard));
    }
    for c in sight.coverage {
        let lost: u64 = c.unseen().fold(0, |sum, (_, n)| sum.saturating_add(n));
        let all = c.frames.saturating_add(lost);
        let by = || c.lost.iter().filter(|(_, n)| **n > 0).map(|(why, n)| format!("{why} {n}")).collect::<Vec<_>>().join(", ");
        if all == 0 {
            if !PARTS.contains(&c.interface.as_str()) {
                reasons.push(format!("no frame was seen on `{}`", c.interface));
            }
        } else if c.frames == 0 {
            reasons.push(format!("`{}` cannot see: {}", c.interface, by()));
        } else if u128::from(lost) * 100 > u128::from(all) * u128::from(policy.max_loss_percent) {
            let by: Vec<String> = c.unseen().map(|(why, n)| format!("{why} {n}")).collect();
            reasons.push(format!("`{}` lost {lost} of {all} frames: {}", c.interface, by.join(", ")));
        }
    }
    let why = reasons.first()?;
    let severity = if why.starts_with("nothing was heard") { Severity::High } else { Severity::Medium };
    Some(Finding {
        id: FindingId::derive(FindingKind::Blind, &format!("{site}/{}", sight.sensor)),
        kind: FindingKind::Blind,
        severity,
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
