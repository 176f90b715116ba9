//! A server's path was learned, and with it its key: its cases keep their clocks under their new names.

use crate::{
    commit::{Outcome, Transaction},
    journal::{self, Actor, Verb},
};
use rules::{
    admission::{Case, Escalation},
    endpoint::Place,
    finding::FindingId,
};
use serde_json::json;
use std::sync::Arc;

pub(super) fn rename(tx: &mut Transaction<'_>, site: &str, from: &str, to: &str) -> Outcome<()> {
    let Some(known) = tx.image.sites.get(site) else { return Ok(()) };
    let place = known.inventory.find(to).map(|s| s.place.clone());
    let key = |p: &Place| format!("{site}/{p}");
    let about = |id: &FindingId| known.matters.get(id).and_then(|m| m.finding.place.as_ref()).is_some_and(|p| key(p) == from);
    let ids: Vec<FindingId> = known.matters.keys().filter(|id| about(id)).cloned().collect();
    for old in ids {
        let Some(mut matter) = tx.image.sites.get_mut(site).and_then(|s| Arc::make_mut(&mut s.matters).remove(&old)) else { continue };
        let new = FindingId::derive(matter.finding.kind, to);
        matter.finding.id = new.clone();
        matter.finding.place = place.clone().or(matter.finding.place);
        if let Some(known) = tx.image.sites.get_mut(site) {
            // Two records, one server: the clock that started first is the one its owner knows.
            if let Some(other) = known.matters.get(&new) {
                matter.case = earlier(matter.case, other.case.clone());
            }
            Arc::make_mut(&mut known.matters).insert(new.clone(), matter.clone());
        }
        tx.records.delete_case(&old)?;
        tx.records.readdress_letters(&old, &new)?;
        tx.records.put_case(site, &matter)?;
        let reason = format!("`{from}` turned out to be `{to}`; it goes on as {new}");
        journal::write(tx, Actor::Judge, Verb::FindingRenamed, old.as_str(), &reason, json!({"now": new}))?;
    }
    Ok(())
}

fn earlier(a: Case, b: Case) -> Case {
    let rank = |c: &Case| (c.escalation == Escalation::Closed, c.notified_at.is_none(), c.notified_at, c.opened_at);
    if rank(&a) <= rank(&b) { a } else { b }
}
