//! May this server be on the network? The grace ladder: one pure step at a time.
//!
//! `open -> notified -> reminded -> due -> blocked`, left by *registered*, *gone*, *exempted*; *acknowledged* silences it
//! for a while. Read [`Case`] first, then [`step`].

use crate::{
    Timestamp,
    finding::Finding,
    period::Period,
    policy::{Corroboration, Mode, Policy},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

mod case;

pub use case::{Audience, Case, Closure, End, Escalation, Exemption, Occupant, Presence, Unacceptable};

/// What the step wants done. Performed by the collector, in one transaction with the case; each is journalled with its
/// reason, and each is asked for once: whoever delivers tries again by himself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Effect {
    /// Send this. When a notice was delivered, [`Case::delivered`] starts the clock.
    Tell { to: Audience, message: Message, deadline: Option<Timestamp> },
    /// `from` and `to` may be equal: something else about the case changed, for this reason.
    Moved { from: Escalation, to: Escalation, reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "message", content = "before", rename_all = "kebab-case")]
pub enum Message {
    Notice,
    Reminder(Period),
    Blocked,
    Released,
}

/// The circumstances of one step.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    pub policy: &'a Policy,
    /// When this site was first used: the soft phase runs from here.
    pub soft_phase_start: Timestamp,
    /// What `detect` says now about the same subject; `None`: no longer found.
    pub finding: Option<&'a Finding>,
    /// Why it is no longer found, when it is not.
    pub closure: Closure,
    /// Why this address must not be blocked whatever its clock says: see [`crate::site::Site::veto`].
    pub veto: Option<&'a str>,
    /// Why no new block is made in this round, for example that there would be too many at once. What is blocked stays so.
    pub hold: Option<&'a str>,
    /// How often the server was seen so far: [`crate::server::Server::sightings`].
    pub sightings: u64,
    /// Whether anybody who could see the server is watching: silence before a deaf sensor says nothing.
    pub watched: bool,
    /// A probe found nothing there, and nothing was seen since.
    pub missed: bool,
    /// What the server that answers there calls itself.
    pub identity: Option<&'a str>,
}

/// One step of one case. Stepping again with the same arguments changes nothing and asks for nothing.
pub fn step(case: &Case, now: Timestamp, c: &Circumstances<'_>) -> (Case, Vec<Effect>) {
    let mut next = Step { case: case.clone(), effects: Vec::new(), audience: audience(c.finding) };
    // In observe mode no clock runs; it goes on where it stood when the mode changes.
    let elapsed = next.case.live(now, c.policy.mode != Mode::Observe);
    match c.finding {
        None => next.close(c.closure, now),
        Some(finding) => {
            next.case.look(c.sightings, if c.watched { elapsed } else { Duration::ZERO });
            if finding.place.is_some() && is_gone(&next.case, c) {
                next.close(Closure::Gone, now);
            } else {
                next.climb(finding, now, c);
            }
        }
    }
    (next.case, next.effects)
}

/// Not seen for long enough, or for a while after a probe found nothing: a restart is not a departure. Silence that a block may
/// have made counts only from when the block was taken back, which is after one such while.
fn is_gone(case: &Case, c: &Circumstances<'_>) -> bool {
    let patience = if case.hushed { c.policy.presence.gone_after.0.saturating_mul(2) } else { c.policy.presence.gone_after.0 };
    case.presence.unseen.0 >= patience || (c.missed && case.presence.unseen >= c.policy.presence.gone_confirmed_after)
}

/// Why a due finding must not be blocked now.
pub fn objection(finding: &Finding, policy: &Policy) -> Option<&'static str> {
    let endpoint = finding.place.as_ref().map(|p| p.endpoint);
    if policy.mode != Mode::Hard {
        Some("the site is not in hard mode")
    } else if !finding.corroborated {
        Some("one sensor's word is not enough: it needs a second witness or an active confirmation")
    } else if policy.blocking.corroboration == Corroboration::Sensor && finding.sensors < 2 {
        Some("one sensor's word is not enough at this site (corroboration = \"sensor\"): a second sensor has to say so too")
    } else if !finding.shared_with.is_empty() {
        Some("other names or paths answer at the same address and port")
    } else if policy.agents.is_empty() {
        Some("no agent identity ranges are configured, so a block would bind nobody")
    } else if endpoint.is_none_or(|e| e.address.is_loopback() || e.address.is_unspecified() || e.address.is_multicast()) {
        Some("the address is not one that agents reach over the network")
    } else if endpoint.is_some_and(|e| policy.protected.iter().any(|net| net.contains(&e.address))) {
        Some("the address is in a protected network")
    } else {
        None
    }
}

/// What an open case waits for, or why nothing more happens, in words for people.
pub fn status(case: &Case, finding: &Finding, policy: &Policy, soft_phase_start: Timestamp, now: Timestamp) -> String {
    if let Some(closure) = case.end.closed {
        return format!("closed: {}", closure.says());
    }
    if let Some(e) = &case.exemption {
        return format!("exempted until {} by {}: {}", e.until, e.approved_by, e.reason);
    }
    if policy.mode == Mode::Observe {
        return "the site is in observe mode: nobody is told, no clock runs".to_owned();
    }
    if case.notified_at.is_none() {
        let to = match (case.asked.contains_key(&Audience::Owner), case.asked.contains_key(&Audience::SecurityQueue)) {
            (true, true) => "the owner or the site's security queue",
            (true, false) => "the owner",
            (false, true) => "the site's security queue",
            (false, false) => "anybody",
        };
        return format!("waiting for proof that a notice reached {to}: until then no clock runs");
    }
    if !finding.kind.enforceable() {
        return format!("told; {} findings never end in a block", finding.kind);
    }
    if let Some(since) = case.blocked_at {
        return format!("blocked since {since}");
    }
    let why_not = objection(finding, policy).map(str::to_owned).or_else(|| case.why_not.clone());
    match (case.block_at(policy, soft_phase_start), why_not) {
        (Some(deadline), None) if now < deadline => format!("to be blocked at {deadline}"),
        (Some(deadline), Some(why)) if now < deadline => format!("due at {deadline}; as things stand no block will follow: {why}"),
        (_, Some(why)) => format!("due, and not blocked: {why}"),
        (_, None) => "due, to be blocked in the next round".to_owned(),
    }
}

/// A name that only the network gave chooses nobody: it could be anybody's invention.
fn audience(finding: Option<&Finding>) -> Audience {
    match finding.and_then(|f| f.owner.as_ref()) {
        Some(owner) if owner.source.accountable() => Audience::Owner,
        _ => Audience::SecurityQueue,
    }
}

struct Step {
    case: Case,
    effects: Vec<Effect>,
    audience: Audience,
}

impl Step {
    fn close(&mut self, closure: Closure, now: Timestamp) {
        if self.case.escalation == Escalation::Closed {
            return;
        }
        self.move_to(Escalation::Closed, closure.says());
        self.case.end = End { closed: Some(closure), closed_at: Some(now) };
        self.case.blocked_at = None;
        self.case.why_not = None;
        if self.case.notified_at.is_some() {
            // Whoever was told that it began is told that it is over: the owner, unless nobody ever addressed one.
            let to = self.case.asked.keys().next().copied().unwrap_or(self.audience);
            self.effects.push(Effect::Tell { to, message: Message::Released, deadline: None });
        }
    }

    fn climb(&mut self, finding: &Finding, now: Timestamp, c: &Circumstances<'_>) {
        if self.case.escalation == Escalation::Closed {
            // The old name and a new clock: its owner was told that it was over.
            self.restart(now, "found again");
        }
        if self.case.exemption.as_ref().is_some_and(|e| e.until <= now) {
            // A new clock as well: nobody was warned while the exemption stood.
            self.case.exemption = None;
            self.restart(now, "the exemption ended");
        }
        let deadline = |case: &Case| if finding.kind.enforceable() { case.block_at(c.policy, c.soft_phase_start) } else { None };
        if let Some(identity) = c.identity {
            self.recognise(identity, deadline(&self.case), now);
        }
        if self.case.exemption.is_some() {
            self.release("exempted");
            return;
        }
        if c.policy.mode == Mode::Observe {
            self.release("the site is in observe mode");
            return;
        }
        if self.case.snoozed_until.is_some_and(|until| until <= now) {
            self.case.snoozed_until = None;
        }
        let deadline = deadline(&self.case);
        self.give_notice(now, deadline, c.policy);
        if self.case.notified_at.is_none() {
            return;
        }
        if self.case.escalation == Escalation::Open {
            self.move_to(Escalation::Notified, "a notice was delivered");
        }
        if let Some(deadline) = deadline {
            self.approach(deadline, finding, now, c);
        }
    }

    /// Addresses are given to others: whoever was told of one server was not told of the next, so that nobody is blocked for another's
    /// neglect. Versions do not count, a server may be upgraded.
    fn recognise(&mut self, identity: &str, deadline: Option<Timestamp>, now: Timestamp) {
        if self.case.occupant.replaced {
            return self.contest(identity, deadline, now);
        }
        let Some(before) = self.case.occupant.identity.replace(identity.to_owned()).filter(|before| before != identity) else { return };
        if self.case.notified_at.is_none() {
            return;
        }
        let why = format!("another server answers there: {identity}, where {before} was; the clock starts anew, this once");
        self.release(&why);
        self.restart(now, &why);
        self.case.occupant.identity = Some(identity.to_owned());
        self.case.occupant.replaced = true;
    }

    /// Whoever comes third has the second's clock: names are cheap. It may be somebody who was told of nothing all the same, so the security
    /// queue hears of it; once, however often two servers behind one door take turns.
    fn contest(&mut self, identity: &str, deadline: Option<Timestamp>, now: Timestamp) {
        let Some(before) = self.case.occupant.identity.clone().filter(|before| before != identity && !self.case.occupant.contested) else {
            return;
        };
        self.case.occupant.contested = true;
        self.stay(&format!("yet another server answers there: {identity}, where {before} was; the clock goes on, a person has to look"));
        if self.case.asked.insert(Audience::SecurityQueue, now).is_none() {
            self.effects.push(Effect::Tell { to: Audience::SecurityQueue, message: Message::Notice, deadline });
        }
    }

    /// The owner, as soon as there is one to be believed, if need be with a clock that runs already; the security queue when
    /// there is none, or when nothing reached him. Each once.
    fn give_notice(&mut self, now: Timestamp, deadline: Option<Timestamp>, policy: &Policy) {
        let waits = self.case.notified_at.is_none();
        let owner = self.case.asked.get(&Audience::Owner).copied();
        let queue = self.case.asked.contains_key(&Audience::SecurityQueue);
        let to = match (self.audience, owner) {
            (Audience::Owner, None) => Audience::Owner,
            (_, Some(since)) if waits && !queue && policy.grace.escalate_after.after(since) <= now => {
                self.stay("no notice reached the owner: the security queue is told as well");
                Audience::SecurityQueue
            }
            (Audience::SecurityQueue, None) if !queue => Audience::SecurityQueue,
            _ => return,
        };
        self.case.asked.insert(to, now);
        self.effects.push(Effect::Tell { to, message: Message::Notice, deadline });
    }

    fn approach(&mut self, deadline: Timestamp, finding: &Finding, now: Timestamp, c: &Circumstances<'_>) {
        if now < deadline {
            self.case.why_not = None;
            self.release("the deadline moved");
            if self.case.escalation == Escalation::Due {
                self.move_to(Escalation::Notified, "the deadline moved");
            }
            return self.remind(now, deadline, c.policy);
        }
        if self.case.escalation < Escalation::Due {
            self.move_to(Escalation::Due, "the grace period is over");
        }
        // An address may be somebody else's by now.
        let stale = c.policy.presence.gone_after.after(finding.last_seen) <= now;
        let unsure = stale.then_some("it was not seen lately, so nobody can say that it is still there");
        let why_not = objection(finding, c.policy).or(c.veto).or(unsure);
        if let Some(why) = why_not {
            if self.release(why) {
                self.case.why_not = Some(why.to_owned());
            }
        } else if self.case.escalation == Escalation::Due && c.hold.is_none() {
            self.move_to(Escalation::Blocked, "due, corroborated, and the site is in hard mode");
            self.case.blocked_at = Some(now);
            self.case.hushed = true;
            self.effects.push(Effect::Tell { to: self.audience, message: Message::Blocked, deadline: Some(deadline) });
        }
        self.note(why_not.or(c.hold.filter(|_| self.case.escalation == Escalation::Due)));
    }

    /// Why it is due and nothing happens, said when it changes.
    fn note(&mut self, why_not: Option<&str>) {
        if self.case.why_not.as_deref() != why_not {
            if let Some(why) = why_not {
                self.stay(why);
            }
            self.case.why_not = why_not.map(str::to_owned);
        }
    }

    fn remind(&mut self, now: Timestamp, deadline: Timestamp, policy: &Policy) {
        // A deadline that moved away calls for its reminders anew.
        self.case.reminded.retain(|before| before.before(deadline) <= now);
        if self.case.snoozed_until.is_some() {
            return;
        }
        let started = self.case.started();
        let fell_due = |before: &Period| (started..=now).contains(&before.before(deadline));
        let due: Vec<Period> = policy.grace.reminders.iter().copied().filter(fell_due).collect();
        let Some(latest) = due.iter().copied().min().filter(|_| due.iter().any(|p| !self.case.reminded.contains(p))) else { return };
        // Several fell due while nobody looked: one message, the most urgent.
        self.case.reminded = due;
        if self.case.escalation < Escalation::Reminded {
            self.move_to(Escalation::Reminded, "a reminder fell due");
        }
        self.effects.push(Effect::Tell { to: self.audience, message: Message::Reminder(latest), deadline: Some(deadline) });
    }

    /// Takes a block back, if there is one.
    fn release(&mut self, why: &str) -> bool {
        let blocked = self.case.escalation == Escalation::Blocked;
        if blocked {
            self.move_to(Escalation::Due, why);
            self.case.blocked_at = None;
            self.effects.push(Effect::Tell { to: self.audience, message: Message::Released, deadline: None });
        }
        blocked
    }

    fn restart(&mut self, now: Timestamp, why: &str) {
        self.move_to(Escalation::Open, why);
        let Case { exemption, presence, hushed, .. } = self.case.clone();
        self.case = Case { exemption, presence, hushed, ..Case::open(now) };
    }

    fn move_to(&mut self, to: Escalation, reason: &str) {
        self.effects.push(Effect::Moved { from: self.case.escalation, to, reason: reason.to_owned() });
        self.case.escalation = to;
    }

    fn stay(&mut self, reason: &str) {
        self.move_to(self.case.escalation, reason);
    }
}

#[cfg(test)]
mod tests;
