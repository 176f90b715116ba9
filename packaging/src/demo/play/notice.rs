//! The owner is told, reminded, and the plan says whom a block would break.

use super::{NOTES, Play, SEARCH, SOON, Teller, agent, day, unset, until, v4, v6};
use crate::failure::Failure;
use rules::{Timestamp, period::Period, policy::Mode, wire::v1::FindingReport};
use serde_json::Value;
use std::{net::IpAddr, time::Duration};

/// Connections the agent holds open through everything that follows.
pub(super) struct Streams(pub(super) Vec<(IpAddr, agent::Stream)>);

/// The site turns from watching to enforcing; owners are told, and from the proof of it their clocks run.
pub(super) fn notice(play: &mut Play, teller: &mut Teller) -> Result<Streams, Failure> {
    teller.scene("The notice: the clock starts when it was delivered")?;
    let mut streams = Vec::new();
    for address in [v4(NOTES), v6(SEARCH)] {
        let stream = agent::listen(&play.stage.agent, &play.direct(address)).map_err(unset)?;
        let heard = stream.next(SOON).map(|n| format!("{n} bytes")).map_err(|t| t.to_string());
        teller.claim(&format!("the agent opens a stream to {address} and hears from it"), heard)?;
        streams.push((address, stream));
    }
    let silent = play.finding(v4(NOTES)).and_then(|f| match (f.notified_at, play.letterbox.letters().len()) {
        (None, 0) => Ok(f.status),
        (told, letters) => Err(format!("told {}, {letters} letters", told.map_or_else(|| "nobody".to_owned(), |at| at.to_string()))),
    });
    teller.claim("so far nobody was told: the site only observes", silent)?;
    teller.say("the policy changes  mode: observe -> hard")?;
    play.product.set_policy(|p| p.mode = Mode::Hard).map_err(|why| play.stuck("the policy was not taken", why))?;
    for address in [v4(NOTES), v6(SEARCH)] {
        let finding = until(SOON, || {
            let found = play.finding(address)?;
            if found.notified_at.is_some() { Ok(found) } else { Err(format!("{}: {}", found.id, found.status)) }
        });
        let seen = finding.as_ref().map_err(Clone::clone).and_then(|f| {
            let letter = letter(play, f, "notice", Duration::ZERO)?;
            Ok(format!("{}, to {}: {}", f.id, text(&letter, "to"), text(&letter, "text")))
        });
        teller.claim(&format!("a notice about {address} reached the webhook"), seen)?;
        let clock = finding.and_then(|f| clock(&f, play.day));
        teller.claim("its deadline is 30 days after the delivery", clock)?;
    }
    plan(play, teller)?;
    Ok(Streams(streams))
}

fn clock(f: &FindingReport, one_day: Duration) -> Result<String, String> {
    let (Some(told), Some(deadline)) = (f.notified_at, f.deadline) else { return Err(f.status.clone()) };
    let grace = deadline.duration_since(told);
    let wanted = jiff::SignedDuration::try_from(day(30.0, one_day)).map_err(|e| e.to_string())?;
    // The notice was delivered, and its delivery was noted a moment later.
    let close = (grace - wanted).abs() < jiff::SignedDuration::from_secs(2);
    if close { Ok(format!("told {told}, due {deadline}")) } else { Err(format!("told {told}, due {deadline}: {grace:#}")) }
}

/// Before anything is cut: what would be, and whom it would break.
fn plan(play: &Play, teller: &mut Teller) -> Result<(), Failure> {
    teller.say("$ gnomon enforce plan        and its blast radius, from the collector")?;
    let agent = IpAddr::from([10, 97, 2, 5]);
    let breaks = until(SOON, || {
        let plan: Value = play.product.get(&["enforce", "plan"])?;
        let entries = plan.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
        let about = |e: &&Value| e.pointer("/endpoint/address") == Some(&Value::from(v4(NOTES).to_string()));
        let entry = entries.iter().find(about).ok_or_else(|| format!("notes is not in the plan: {plan}"))?;
        let broken = entry.get("breaks").and_then(Value::as_array).cloned().unwrap_or_default();
        let hit = broken.iter().find(|c| text(c, "address") == agent.to_string());
        let hit = hit.ok_or_else(|| format!("the agent is not named: {entry}"))?;
        let action = text(entry, "action");
        if action != "shadow" {
            return Err(format!("action {action} before the deadline"));
        }
        Ok(format!("a block of {} would break {agent} ({}); so far it only counts", v4(NOTES), text(hit, "software")))
    });
    teller.claim("the plan names the agent that a block would break, and cuts nothing yet", breaks)?;
    Ok(())
}

/// 14, 7 and 1 days before, in that order; traffic flows all the while.
pub(super) fn reminders(play: &mut Play, teller: &mut Teller, streams: &Streams) -> Result<(), Failure> {
    teller.scene("The days go by, with reminders")?;
    let finding = play.finding(v4(NOTES)).map_err(|why| play.stuck("the finding is gone", why))?;
    for days in [14_u32, 7, 1] {
        let said = reminder(play, &finding, days);
        teller.claim(&format!("a reminder {days} days before the deadline, and not earlier"), said)?;
        if days == 7 {
            let flows = streams.0.iter().try_for_each(|(a, s)| s.next(SOON).map(drop).map_err(|t| format!("stream from {a}: {t}")));
            let flows = flows.and_then(|()| play.call(&play.direct(v4(NOTES)), "read-note"));
            let flows = flows.and_then(|said| before(&finding).map(|left| format!("{said}, {left} left")));
            teller.claim("before the deadline nothing is cut: streams and calls go on", flows)?;
        }
    }
    Ok(())
}

/// How long until a finding's deadline; an error when it has passed.
fn before(finding: &FindingReport) -> Result<String, String> {
    let left = finding.deadline.ok_or("no deadline")?.duration_since(Timestamp::now());
    if left.is_positive() { Ok(format!("{:.1} s", left.as_secs_f64())) } else { Err(format!("the deadline was {left:#} ago")) }
}

fn reminder(play: &Play, finding: &FindingReport, days: u32) -> Result<String, String> {
    let deadline = finding.deadline.ok_or("no deadline")?;
    let ahead = Period(day(f64::from(days), play.day));
    let due = ahead.before(deadline);
    let subject = format!("{ahead} left");
    let arrived = || {
        let letters = play.letterbox.letters();
        letters.into_iter().find(|l| text(l, "finding") == finding.id.as_str() && text(l, "subject").starts_with(&subject))
    };
    if Timestamp::now() < due && arrived().is_some() {
        return Err(format!("`{subject}` came before {due}"));
    }
    let wait = due.duration_since(Timestamp::now()).max(jiff::SignedDuration::ZERO).unsigned_abs();
    let letter = until(wait + SOON, || arrived().ok_or_else(|| format!("no letter `{subject}`")))?;
    Ok(text(&letter, "subject"))
}

/// The letter of this step about a finding.
pub(super) fn letter(play: &Play, finding: &FindingReport, step: &str, within: Duration) -> Result<Value, String> {
    let is_it = |l: &Value| text(l, "finding") == finding.id.as_str() && text(l, "step") == step;
    let found = play.letterbox.wait(within, is_it);
    found.ok_or_else(|| format!("no {step} about {} among {} letters", finding.id, play.letterbox.letters().len()))
}

pub(super) fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
