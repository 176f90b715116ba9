//! May this server be on the network? The grace ladder: one pure step at a time.

use crate::{
    Timestamp,
    finding::Finding,
    period::Period,
    policy::{Mode, Policy},
};
use serde::{Deserialize, Serialize};

/// A finding's rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    Open,
    Notified,
    Reminded,
    Due,
    Blocked,
    /// Left the ladder; it comes back to `Open` if the trouble does.
    Closed,
}

/// Why a finding left the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closure {
    Registered,
    Gone,
    NotDetected,
}

/// Somebody's word that a finding may stand for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    pub requested_by: String,
    /// Never the requester.
    pub approved_by: String,
    pub reason: String,
    pub until: Timestamp,
}

/// What has happened to one finding so far. Stored; the clock lives here and survives everything the store survives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub rung: Rung,
    pub opened_at: Timestamp,
    /// Proof that a notice reached somebody. No proof, no clock.
    pub notified_at: Option<Timestamp>,
    /// Reminders already due and sent, by how long before the block they were to go out.
    pub reminded: Vec<Period>,
    pub blocked_at: Option<Timestamp>,
    pub closed: Option<Closure>,
    pub closed_at: Option<Timestamp>,
    pub exemption: Option<Exemption>,
    /// Silenced until then: no messages, but the clock runs.
    pub snoozed_until: Option<Timestamp>,
    /// The latest time this case was judged at: time never runs backwards here.
    pub judged_at: Timestamp,
}

impl Case {
    pub fn open(at: Timestamp) -> Case {
        Case {
            rung: Rung::Open,
            opened_at: at,
            notified_at: None,
            reminded: Vec::new(),
            blocked_at: None,
            closed: None,
            closed_at: None,
            exemption: None,
            snoozed_until: None,
            judged_at: at,
        }
    }

    /// When the block falls due: the grace period after the first delivered notice, and not before the soft phase ends.
    pub fn block_at(&self, policy: &Policy, soft_phase_start: Timestamp) -> Option<Timestamp> {
        let hard_from = policy.hard_from.unwrap_or_else(|| policy.soft_phase.after(soft_phase_start));
        self.notified_at.map(|n| policy.grace.after(n).max(hard_from))
    }
}

/// What the step wants done. Performed by the collector; each is journalled with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Effect {
    /// Send this; the answer comes back as `notified_at` (for a notice) when it was delivered.
    Tell {
        message: Message,
        deadline: Option<Timestamp>,
    },
    Moved {
        from: Rung,
        to: Rung,
        reason: String,
    },
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
}

/// One step of one case. Calling it twice with the same arguments gives no second effect; a clock that jumped back
/// changes nothing until it has caught up.
pub fn step(case: &Case, now: Timestamp, c: &Circumstances<'_>) -> (Case, Vec<Effect>) {
    let mut next = case.clone();
    let mut effects = Vec::new();
    let now = now.max(case.judged_at);
    next.judged_at = now;

    let Some(finding) = c.finding else {
        if case.rung != Rung::Closed {
            let was_told = case.notified_at.is_some();
            move_to(&mut next, Rung::Closed, closure_reason(c.closure), &mut effects);
            next.closed = Some(c.closure);
            next.closed_at = Some(now);
            next.blocked_at = None;
            if was_told {
                effects.push(Effect::Tell { message: Message::Released, deadline: None });
            }
        }
        return (next, effects);
    };

    if case.rung == Rung::Closed {
        // The trouble is back. It has its old name and a new clock: its owner was told that it was over.
        let exemption = next.exemption.take();
        next = Case { exemption, ..Case::open(now) };
        effects.push(Effect::Moved { from: Rung::Closed, to: Rung::Open, reason: "found again".to_owned() });
    }

    if next.exemption.as_ref().is_some_and(|e| e.until <= now) {
        let reason = "the exemption ended".to_owned();
        next.exemption = None;
        effects.push(Effect::Moved { from: next.rung, to: next.rung, reason });
    }
    if next.exemption.is_some() {
        if next.rung == Rung::Blocked {
            move_to(&mut next, Rung::Due, "exempted", &mut effects);
            next.blocked_at = None;
            effects.push(Effect::Tell { message: Message::Released, deadline: None });
        }
        return (next, effects);
    }
    if c.policy.mode == Mode::Observe {
        return (next, effects);
    }

    if next.snoozed_until.is_some_and(|until| until <= now) {
        next.snoozed_until = None;
    }
    let deadline = if finding.kind.enforceable() { next.block_at(c.policy, c.soft_phase_start) } else { None };
    if next.notified_at.is_none() {
        effects.push(Effect::Tell { message: Message::Notice, deadline: None });
        return (next, effects);
    }
    if next.rung == Rung::Open {
        move_to(&mut next, Rung::Notified, "a notice was delivered", &mut effects);
    }
    let Some(deadline) = deadline else { return (next, effects) };

    if now < deadline {
        remind(&mut next, now, deadline, c.policy, &mut effects);
        return (next, effects);
    }
    if next.rung < Rung::Due {
        move_to(&mut next, Rung::Due, "the grace period is over", &mut effects);
    }
    let objection = objection(finding, c.policy);
    match (next.rung, objection) {
        (Rung::Due, None) => {
            move_to(&mut next, Rung::Blocked, "due, corroborated, and the site is in hard mode", &mut effects);
            next.blocked_at = Some(now);
            effects.push(Effect::Tell { message: Message::Blocked, deadline: Some(deadline) });
        }
        (Rung::Blocked, Some(why)) => {
            move_to(&mut next, Rung::Due, why, &mut effects);
            next.blocked_at = None;
            effects.push(Effect::Tell { message: Message::Released, deadline: None });
        }
        _ => {}
    }
    (next, effects)
}

/// Why a due finding must not be blocked now.
pub fn objection(finding: &Finding, policy: &Policy) -> Option<&'static str> {
    if policy.mode != Mode::Hard {
        Some("the site is not in hard mode")
    } else if !finding.corroborated {
        Some("one sensor's word is not enough: it needs a second witness or an active confirmation")
    } else if !finding.shared_with.is_empty() {
        Some("other names or paths answer at the same address and port")
    } else {
        None
    }
}

/// What an open case waits for, or why nothing more happens, in words for people.
pub fn standing(case: &Case, finding: &Finding, policy: &Policy, soft_phase_start: Timestamp, now: Timestamp) -> String {
    if let Some(closure) = case.closed {
        return format!("closed: {}", closure_reason(closure));
    }
    if let Some(e) = &case.exemption {
        return format!("exempted until {} by {}: {}", e.until, e.approved_by, e.reason);
    }
    if policy.mode == Mode::Observe {
        return "the site is in observe mode: nobody is told, no clock runs".to_owned();
    }
    if case.notified_at.is_none() {
        return "waiting for proof that a notice was delivered: until then no clock runs".to_owned();
    }
    if !finding.kind.enforceable() {
        return format!("told; a {} finding never ends in a block", finding.kind);
    }
    if let Some(since) = case.blocked_at {
        return format!("blocked since {since}");
    }
    match (case.block_at(policy, soft_phase_start), objection(finding, policy)) {
        (Some(deadline), None) => format!("to be blocked at {deadline}"),
        (Some(deadline), Some(why)) if now < deadline => format!("due at {deadline}; as things stand no block will follow: {why}"),
        (_, Some(why)) => format!("due, and not blocked: {why}"),
        (None, None) => "waiting".to_owned(),
    }
}

fn remind(case: &mut Case, now: Timestamp, deadline: Timestamp, policy: &Policy, effects: &mut Vec<Effect>) {
    let due: Vec<Period> = policy.reminders.iter().copied().filter(|before| before.before(deadline) <= now).collect();
    let Some(latest) = due.iter().copied().min() else { return };
    let new = due.iter().any(|p| !case.reminded.contains(p));
    if !new || case.snoozed_until.is_some() {
        return;
    }
    // Several fell due while nobody looked: one message, the most urgent.
    case.reminded = due;
    if case.rung < Rung::Reminded {
        move_to(case, Rung::Reminded, "a reminder fell due", effects);
    }
    effects.push(Effect::Tell { message: Message::Reminder(latest), deadline: Some(deadline) });
}

fn move_to(case: &mut Case, to: Rung, reason: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::Moved { from: case.rung, to, reason: reason.to_owned() });
    case.rung = to;
}

fn closure_reason(closure: Closure) -> &'static str {
    match closure {
        Closure::Registered => "registered",
        Closure::Gone => "nothing answers there any more",
        Closure::NotDetected => "no longer found",
    }
}
