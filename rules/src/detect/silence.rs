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
use ipnet::IpNet;

/// A standing registration at whose backends nothing was seen for [`crate::policy::PresencePolicy::gone_after`].
///
/// `servers` are all of the site; a registration younger than that period is given time.
pub fn dead<'a>(
    site: &str,
    registration: &Registration,
    servers: impl IntoIterator<Item = &'a Server>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Finding> {
    let young = policy.presence.gone_after.after(registration.registered_at) > now;
    if young || registration.retired_at(now).is_some() {
        return None;
    }
    let last_seen = servers.into_iter().filter(|s| registration.covers(&s.place)).map(|s| s.last_seen).max();
    if last_seen.is_some_and(|at| policy.presence.gone_after.after(at) > now) {
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
    if policy.sensing.blind_after.after(sight.last_heard) <= now {
        reasons.push(format!("nothing was heard of sensor `{}` since {}", sight.sensor, sight.last_heard));
    }
    for c in sight.coverage {
        let lost: u64 = c.unseen().fold(0, |sum, (_, n)| sum.saturating_add(n));
        let all = c.frames.saturating_add(lost);
        let by = |losses: &mut dyn Iterator<Item = (&str, u64)>| losses.map(|(why, n)| in_words(why, n)).collect::<Vec<_>>().join("; ");
        if all == 0 {
            if !PARTS.contains(&c.interface.as_str()) {
                reasons.push(format!("no frame came by on `{}`: is anything connected or mirrored to it?", c.interface));
            }
        } else if c.frames == 0 {
            let mut losses = c.lost.iter().map(|(why, n)| (why.as_str(), *n)).filter(|(_, n)| *n > 0);
            reasons.push(format!("`{}` sees nothing: {}", c.interface, by(&mut losses)));
        } else if u128::from(lost) * 100 > u128::from(all) * u128::from(policy.sensing.max_loss_percent) {
            reasons.push(format!("`{}` missed {lost} of {all} frames: {}", c.interface, by(&mut c.unseen())));
        }
    }
    let why = reasons.first()?;
    let severity = if why.starts_with("nothing was heard") { Severity::High } else { Severity::Medium };
    Some(finding(site, sight.sensor, severity, reasons, now))
}

/// Expected networks that no sensor heard of late. When no sensor speaks at all, that is what is wrong, and said by [`blind`].
pub fn unheard(site: &str, sights: &[Sight<'_>], policy: &Policy, now: Timestamp) -> Vec<Finding> {
    if !sights.iter().any(|s| policy.sensing.blind_after.after(s.last_heard) > now) {
        return Vec::new();
    }
    let within = |wide: &IpNet, narrow: &IpNet| wide.contains(narrow) || narrow.contains(wide);
    let heard = |net: &IpNet| sights.iter().flat_map(|s| s.coverage).flat_map(|c| &c.heard).any(|h| within(net, h));
    let say = |net: &IpNet| {
        let why = format!("nothing from {net} reached any sensor within the last hour: servers there would not be seen");
        finding(site, &format!("network {net}"), Severity::Medium, vec![why], now)
    };
    policy.sensing.expected.iter().filter(|net| !heard(net)).map(say).collect()
}

/// `what` names the finding: a sensor, or a network.
fn finding(site: &str, what: &str, severity: Severity, reasons: Vec<String>, now: Timestamp) -> Finding {
    Finding {
        id: FindingId::derive(FindingKind::Blind, &format!("{site}/{what}")),
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
    }
}

/// A counted loss as somebody would say it who has to do something about it.
fn in_words(why: &str, n: u64) -> String {
    let more = match why {
        "kernel-drop" => "the sensor was too slow or its ring too small: see threads and ring_bytes",
        "interface-drop" => "the interface had no room for them",
        "truncated" => "longer than snap_length",
        "gap" => "parts of connections that never came by: does the mirror lose frames?",
        "flow-evicted" => "connections forgotten to make room for newer ones",
        "reassembly-full" | "buffers-full" => "memory for unfinished messages was full",
        "queue-full" => "findings came faster than they could be written down",
        "ambiguous" => "copies of the same segment that contradict each other",
        "malformed" => "headers that contradict themselves",
        "fragment" => "pieces of datagrams without the rest",
        "not-opened" | "off" => "it could not be opened: the sensor's log says why",
        "not-there" => "this host has no interface of that name: is it spelt right?",
        "interface-gone" => "it went away",
        "unreadable" | "failed" => "it could not be read: the sensor's log says why",
        _ => return format!("{n} {why}"),
    };
    format!("{n} {why} ({more})")
}
