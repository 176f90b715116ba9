//! A server's path was learned, and with it its key: its cases keep their clocks under their new names.

use super::store;
use crate::{
    journal,
    store::{Outcome, Turn},
};
use rules::{
    admission::{Case, Escalation},
    endpoint::Place,
    finding::FindingId,
};
use serde_json::json;

pub(super) fn rename(turn: &mut Turn<'_>, site: &str, from: &str, to: &str) -> Outcome<()> {
    let Some(room) = turn.state.sites.get(site) else { return Ok(()) };
    let place = room.inventory.find(to).map(|s| s.place.clone());
    let key = |p: &Place| format!("{site}/{p}");
    let about = |id: &FindingId| room.matters.get(id).and_then(|m| m.finding.place.as_ref()).is_some_and(|p| key(p) == from);
    let ids: Vec<FindingId> = room.matters.keys().filter(|id| about(id)).cloned().collect();
    for old in ids {
        let Some(mut matter) = turn.state.sites.get_mut(site).and_then(|s| s.matters.remove(&old)) else { continue };
        let new = FindingId::derive(matter.finding.kind, to);
        matter.finding.id = new.clone();
        matter.finding.place = place.clone().or(matter.finding.place);
        if let Some(room) = turn.state.sites.get_mut(site) {
            // Two records, one server: the clock that started first is the one its owner knows.
            if let Some(other) = room.matters.get(&new) {
                matter.case = earlier(matter.case, other.case.clone());
            }
            room.matters.insert(new.clone(), matter.clone());
        }
        turn.db.execute("DELETE FROM cases WHERE finding = ?1", [old.as_str()])?;
        turn.db.execute("UPDATE OR IGNORE outbox SET finding = ?2 WHERE finding = ?1", [old.as_str(), new.as_str()])?;
        store(turn, site, &matter)?;
        let reason = format!("`{from}` turned out to be `{to}`; it goes on as {new}");
        journal::write(turn, "judge", "finding-renamed", old.as_str(), &reason, json!({"now": new}))?;
    }
    Ok(())
}

fn earlier(a: Case, b: Case) -> Case {
    let rank = |c: &Case| (c.escalation == Escalation::Closed, c.notified_at.is_none(), c.notified_at, c.opened_at);
    if rank(&a) <= rank(&b) { a } else { b }
}
