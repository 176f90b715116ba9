//! What enforcers and gateways are to know: whole, numbered, signed.
//!
//! A generation is stored in the transaction that decided on it and shown after the commit, so no restart ever takes one back.

mod sign;
mod windows;

use crate::{
    journal,
    judge::effective,
    store::{Outcome, Turn, rows},
};
use rules::{
    access::Grant,
    compose::{Composition, compose},
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
    finding::FindingId,
    fleet::Wave,
    observation::Outcome as Applied,
    registry::Registry,
    wire::v1::{Bundle, Signed, Tenant},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::json;
pub(crate) use sign::Signer;
pub use sign::VerifyingKey;
use std::{collections::BTreeSet, sync::Arc};
pub(crate) use windows::{Shown, Windows};

/// The set a site's enforcers have been shown last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Issued {
    pub(crate) set: DecisionSet,
    pub(crate) signed: Arc<Signed>,
}

pub(crate) fn load(db: &Connection, site: &str) -> Outcome<Option<Issued>> {
    stored(db, Signed::DECISIONS, site)?.map(|(_, body)| rows::decode(&body)).transpose()
}

/// The gateways' bundle and its generation.
pub(crate) fn load_bundle(db: &Connection) -> Outcome<Option<(u64, Arc<Signed>)>> {
    let found = stored(db, Signed::BUNDLE, "")?;
    found.map(|(generation, body)| Ok((generation, Arc::new(rows::decode(&body)?)))).transpose()
}

fn stored(db: &Connection, domain: &str, site: &str) -> Outcome<Option<(u64, String)>> {
    let sql = "SELECT generation, body FROM signed WHERE domain = ?1 AND site = ?2";
    db.query_row(sql, [domain, site], |r| Ok((r.get::<_, i64>(0)?.unsigned_abs(), r.get(1)?))).optional()
}

fn keep(db: &Connection, domain: &str, site: &str, generation: u64, body: &impl Serialize) -> Outcome<()> {
    let sql = "INSERT INTO signed (domain, site, generation, body) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET generation = ?3, body = ?4 WHERE generation < ?3";
    let generation = i64::try_from(generation).unwrap_or(i64::MAX);
    db.execute(sql, params![domain, site, generation, rows::encode(body)?]).map(drop)
}

/// A new set when there is something new to say, half the validity of the last one is over, or another key signed that one.
pub(crate) fn issue_decisions(turn: &mut Turn<'_>, signer: &Signer, name: &str, let_pass: bool) -> Outcome<()> {
    let Some(site) = turn.state.sites.get(name) else { return Ok(()) };
    let policy = effective(turn.state.policy(site), let_pass);
    let previous = site.issued.as_ref().map(|i| &i.set);
    let points = turn.state.points(name);
    let view = turn.state.view(name, site, &policy, &points);
    let others = site.issued.as_ref().filter(|i| !signer.made(&i.signed)).map_or(0, |i| i.set.generation.saturating_add(1));
    let floor = floor(turn.state, name).max(others);
    let Composition { set, news, held, wave } = compose(&view, site.matters.values(), previous, floor, turn.now);
    let newly_held = !held.is_empty() && held != site.held;
    if newly_held {
        let reason = held.first().map(|h| h.reason.clone()).unwrap_or_default();
        journal::write(turn, "judge", "blocks-held", name, &reason, json!({"held": held}))?;
    }
    let issued = news.then(|| Issued { signed: Arc::new(signer.sign(Signed::DECISIONS, &set)), set });
    if let Some(issued) = &issued {
        keep(turn.db, Signed::DECISIONS, name, issued.set.generation, issued)?;
        let detail = difference(turn.state.sites.get(name).and_then(|s| s.issued.as_ref()).map(|i| &i.set), &issued.set);
        let reason = format!("{} decisions, valid until {}", issued.set.decisions.len(), issued.set.not_after);
        journal::write(turn, "judge", "set-issued", &format!("generation {}", issued.set.generation), &reason, detail)?;
    }
    note_wave(turn, name, wave)?;
    if let Some(site) = turn.state.sites.get_mut(name) {
        site.held = held;
        site.issued = issued.or(site.issued.take());
    }
    Ok(())
}

/// Where the wave of new blocks stands, stored and journalled when it moved.
fn note_wave(turn: &mut Turn<'_>, name: &str, wave: Option<Wave>) -> Outcome<()> {
    let Some(site) = turn.state.sites.get_mut(name).filter(|s| s.kept.wave != wave) else { return Ok(()) };
    let reason = match &wave {
        None => "over: all enforcement points make the new blocks, or none are left".to_owned(),
        Some(Wave { held: Some(why), .. }) => format!("stands still: {why}"),
        Some(w) => format!("{} new blocks at {} enforcement points, in generation {}", w.blocks.len(), w.points.len(), w.generation),
    };
    site.kept.wave = wave;
    let kept = site.kept.clone();
    rows::SITES.put(turn.db, name, &kept)?;
    // Who is in it, as far as a row should be long.
    let points: Vec<_> = kept.wave.iter().flat_map(|w| &w.points).take(200).collect();
    let detail = json!({"stage": kept.wave.as_ref().map(|w| w.stage), "points": points});
    journal::write(turn, "judge", "wave", name, &reason, detail)
}

/// What a set says that the one before it did not, and the other way round: the journal holds changes, not states.
fn difference(before: Option<&DecisionSet>, now: &DecisionSet) -> serde_json::Value {
    /// Most that one row names; the rest is counted.
    const NAMED: usize = 200;
    let said = |set: Option<&DecisionSet>| -> BTreeSet<(Endpoint, Action, FindingId)> {
        set.into_iter().flat_map(|s| &s.decisions).map(|d| (d.endpoint, d.action, d.finding.clone())).collect()
    };
    let (old, new) = (said(before), said(Some(now)));
    let named = |some: Vec<&(Endpoint, Action, FindingId)>| {
        let list: Vec<_> = some.iter().take(NAMED).map(|(e, a, f)| json!({"endpoint": e.to_string(), "action": a, "finding": f})).collect();
        json!({"count": some.len(), "first": list})
    };
    let (added, removed) = (named(new.difference(&old).collect()), named(old.difference(&new).collect()));
    json!({"site": now.site, "added": added, "removed": removed})
}

/// What is absurdly far ahead is not believed: a liar could make the numbers run out.
const BELIEVED: u64 = 1 << 48;

/// What an enforcer of the site says it has applied: this database may be older than that.
fn floor(state: &crate::state::State, site: &str) -> u64 {
    let applied = state.sensors.values().filter(|s| s.site == site).filter_map(|s| s.applied.as_ref());
    let believed = applied.filter(|a| matches!(a.outcome, Applied::Applied | Applied::DryRun)).map(|a| a.generation);
    believed.filter(|g| *g < BELIEVED).max().unwrap_or(0)
}

/// Whether a gateway that has bundle `after` has a newer one than we ever made: our database is older than that.
pub(crate) fn is_behind(state: &crate::state::State, after: u64) -> bool {
    after < BELIEVED && state.bundle.as_ref().is_some_and(|(ours, _)| *ours < after)
}

/// The next bundle is made now, with a number above the one that this gateway has; it would refuse all others.
pub(crate) fn raise_bundle(turn: &mut Turn<'_>, gateway: &str, after: u64) -> Outcome<()> {
    if !is_behind(turn.state, after) {
        return Ok(());
    }
    turn.state.bundle_floor = turn.state.bundle_floor.max(after);
    turn.state.touched.access = true;
    let reason = format!("it has bundle {after}, newer than ours: this database is older than that");
    journal::write(turn, &format!("gateway:{gateway}"), "bundle-raised", &format!("generation {after}"), &reason, json!({}))
}

/// A new bundle: the registry, a grant, a tenant or the key that signs changed.
pub(crate) fn issue_bundle(turn: &mut Turn<'_>, signer: &Signer) -> Outcome<()> {
    let generation = turn.state.bundle.as_ref().map_or(0, |(g, _)| *g).max(turn.state.bundle_floor).saturating_add(1);
    let registry: Registry = turn.state.registry.clone();
    let grants: Vec<Grant> = turn.state.grants.values().cloned().collect();
    let tenants: Vec<Tenant> = turn.state.tenants.iter().map(|(name, t)| t.for_gateway(name)).collect();
    let signed = Arc::new(signer.sign(Signed::BUNDLE, &Bundle { generation, registry, grants, tenants }));
    keep(turn.db, Signed::BUNDLE, "", generation, &signed)?;
    turn.state.bundle = Some((generation, signed));
    Ok(())
}
