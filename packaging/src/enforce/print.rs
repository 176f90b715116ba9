//! Plans and states, for people.

use super::Broken;
use crate::{
    failure::Failure,
    out::{self, BOLD, DIM, ERROR, GOOD, WARN},
    table::{Table, ago, moment, some, word},
};
use enforcer::operator::{Plan, Status};
use launch::global::command;
use rules::{
    observation::{Applied, Outcome},
    printable::printable,
};

pub(super) fn plan(plan: &Plan, nft: bool) -> Result<(), Failure> {
    out::line(format!("{BOLD}Set {} at {}{BOLD:#}, in {}", plan.generation, plan.point, some(plan.hooks.iter().map(|h| h.as_str()), 3)))?;
    let agents = if plan.agents.is_empty() { "nobody: no agent range is set, so nothing is cut".to_owned() } else { some(&plan.agents, 8) };
    out::line(format!("binds traffic from {agents}\n"))?;
    let mut table = Table::new(&["", "ENDPOINT", "ACTION", "FINDING", "SINCE", "REASON"]);
    for b in &plan.blocks {
        let signature = if b.new { "+" } else { "=" };
        table.row([
            signature.to_owned(),
            b.endpoint.to_string(),
            word(&b.action),
            b.finding.short().to_owned(),
            day(b.since),
            b.reason.clone(),
        ]);
    }
    for endpoint in &plan.lifted {
        table.row(["-".to_owned(), endpoint.to_string(), "lifted".to_owned(), String::new(), String::new(), String::new()]);
    }
    table.print("nothing is to be blocked")?;
    for w in &plan.withheld {
        out::line(format!("{WARN}withheld{WARN:#} {} ({}): {}", w.endpoint, w.finding.short(), printable(&w.why, 300)))?;
    }
    for unknown in &plan.unknown {
        out::line(format!("{WARN}not known{WARN:#} {}", printable(unknown, 300)))?;
    }
    for objection in &plan.objections {
        out::line(format!("{ERROR}objection{ERROR:#} {}", printable(objection, 300)))?;
    }
    match (plan.objections.is_empty(), plan.nft.is_empty()) {
        (false, _) => out::line("\nAs it is, nothing would be applied.")?,
        (true, true) => out::line("\nThe kernel already holds this: nothing to do.")?,
        (true, false) => out::line(format!("\nNothing was changed. To apply it: {}", command("enforce apply --confirm-within 5m")))?,
    }
    if nft && !plan.nft.is_empty() {
        // Rendered from checked values only: no stranger's byte is in it.
        out::line(format!("\n{DIM}# nft -f -{DIM:#}\n{}", plan.nft.trim_end()))?;
    }
    Ok(())
}

/// Whom the blocks would break, as the collector saw it.
pub(super) fn blast(radius: &[Broken]) -> Result<(), Failure> {
    if radius.is_empty() {
        return Ok(());
    }
    out::line(format!("\n{BOLD}Whom it breaks{BOLD:#}"))?;
    for b in radius {
        let whom = b.breaks.iter().map(|c| match &c.software {
            Some(software) => format!("{} ({}, last {})", c.address, printable(software, 40), day(c.last_seen)),
            None => format!("{} (last {})", c.address, day(c.last_seen)),
        });
        let whom = some(whom, 8);
        let whom = if whom.is_empty() { "no agent was seen there".to_owned() } else { whom };
        let others = if b.unaffected.is_empty() { String::new() } else { format!("; not bound: {}", some(&b.unaffected, 4)) };
        let at = if b.at.is_empty() { String::new() } else { format!("; only at {}", some(&b.at, 4)) };
        out::line(format!("  {:<24} {whom}{others}{at}", b.endpoint.to_string()))?;
        if let Some(why) = b.why.first() {
            out::line(format!("  {:<24} {DIM}because: {}{DIM:#}", "", printable(why, 200)))?;
        }
        for t in b.tried.iter().take(8) {
            let did = if t.action == rules::decision::Action::Block { "was stopped" } else { "would have been stopped" };
            out::line(format!("  {:<24} {} {did} {} times, last {}", "", t.client, t.count, ago(t.last)))?;
        }
        let more = b.tried.len().saturating_sub(8) + b.tried_more;
        if more > 0 {
            out::line(format!("  {:<24} and {more} more clients tried", ""))?;
        }
    }
    Ok(())
}

pub(super) fn status(s: &Status) -> Result<(), Failure> {
    let state = match (&s.agents, &s.stopped, &s.unavailable) {
        (_, Some(why), _) => format!("{WARN}stopped by a person{WARN:#}: {} ({})", printable(why, 200), command("enforce resume")),
        (_, _, Some(why)) => format!("{ERROR}the kernel could not be asked{ERROR:#}: {}", printable(why, 300)),
        (None, ..) if s.desired == 0 => "nothing is to be blocked, and our table is not in the kernel".to_owned(),
        (None, ..) => format!("{ERROR}our table is not in the kernel{ERROR:#}"),
        (Some(_), ..) if s.enforced < s.desired => format!("{ERROR}{} of {} blocks are in the kernel{ERROR:#}", s.enforced, s.desired),
        (Some(agents), ..) => format!("{GOOD}{} blocks in the kernel{GOOD:#}, for traffic from {}", s.enforced, some(agents, 8)),
    };
    out::line(format!("{BOLD}{}{BOLD:#}, generation {}: {state}", s.point, s.generation))?;
    if let Some(by) = s.confirm_by {
        out::line(format!("{WARN}on trial{WARN:#}: lapses at {} unless confirmed ({})", moment(by), command("enforce confirm")))?;
    }
    if s.waits_for_health {
        out::line(format!("{WARN}new blocks have a short lease{WARN:#} until the health checks are answered"))?;
    }
    if let Some(why) = &s.held_back {
        out::line(format!("{WARN}new blocks are held back{WARN:#}: {}", printable(why, 300)))?;
    }
    if s.desired * 10 >= s.max_blocks * 9 || s.new_this_hour * 10 >= s.max_new_per_hour * 9 {
        let (blocks, new) = (s.max_blocks, s.max_new_per_hour);
        out::line(format!(
            "{WARN}near a limit{WARN:#}: {} of max_blocks = {blocks}, {} of max_new_per_hour = {new}",
            s.desired, s.new_this_hour
        ))?;
    }
    if let Some(act) = s.acts.last() {
        out::line(format!("{DIM}last by hand: {}, {}{DIM:#}", printable(&act.what, 200), ago(act.at)))?;
    }
    for w in s.withheld.iter().take(20) {
        out::line(format!("{WARN}withheld here{WARN:#}: {} ({}): {}", w.endpoint, w.finding.short(), printable(&w.why, 300)))?;
    }
    if s.withheld.len() > 20 {
        out::line(format!("and {} more withheld here", s.withheld.len() - 20))?;
    }
    for way in &s.bypasses {
        out::line(format!("{WARN}passes by{WARN:#}: {}", printable(way, 300)))?;
    }
    if let Some(c) = &s.confinement {
        out::line(format!("process {}: {}", c.pid, printable(&c.to_string(), 400)))?;
    }
    if let Some(end) = s.set_not_after {
        out::line(format!("the set is good until {}", moment(end)))?;
    }
    elements(s)?;
    attempts(s)
}

fn elements(s: &Status) -> Result<(), Failure> {
    let mut table = Table::new(&["ENDPOINT", "ACTION", "FINDING", "LEASE", "PACKETS", "BYTES"]);
    for e in &s.elements {
        let finding = e.finding.as_ref().map(|f| f.short().to_owned()).unwrap_or_default();
        table.row([e.endpoint.to_string(), word(&e.action), finding, e.lease_left.to_string(), e.packets.to_string(), e.bytes.to_string()]);
    }
    if s.elements.is_empty() { Ok(()) } else { table.print("") }
}

/// The clients that a block stopped, or would have.
fn attempts(s: &Status) -> Result<(), Failure> {
    for a in s.attempts.iter().take(20) {
        let did = if a.action == rules::decision::Action::Block { "was stopped" } else { "would have been stopped" };
        out::line(format!("{} {did} {} times at {}, last {}", a.client, a.count, a.endpoint, ago(a.last)))?;
    }
    let more = s.attempts.len().saturating_sub(20) as u64 + s.attempts_lost;
    if more > 0 {
        out::line(format!("and {more} more clients tried"))?;
    }
    Ok(())
}

pub(super) fn applied(a: &Applied) -> Result<(), Failure> {
    let (style, text) = match a.outcome {
        Outcome::Applied => (GOOD, "applied, read back and equal"),
        Outcome::DryRun => (GOOD, "checked and rendered; nothing was changed"),
        Outcome::RolledBack => (GOOD, "rolled back"),
        Outcome::Refused => (WARN, "refused; the last good set stays"),
        Outcome::Failed => (ERROR, "failed; the last good set stays"),
    };
    let why = if a.reason.is_empty() { String::new() } else { format!(": {}", printable(&a.reason, 300)) };
    out::line(format!("{style}{text}{style:#}{why} (generation {}, {} elements, at {})", a.generation, a.elements, a.point))
}

fn day(at: rules::Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}
