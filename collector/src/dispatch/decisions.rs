//! The decision set of a site's enforcers.

use super::{BELIEVED, Issued, Signer};
use crate::{
    commit::{Outcome, Transaction},
    image::Image,
    journal::{self, Actor, Verb},
    site::for_one_round,
};
use rules::{
    compose::{Composition, compose},
    decision::{Action, DecisionSet},
    endpoint::Endpoint,
    finding::FindingId,
    fleet::Wave,
    observation::Outcome as Applied,
    wire::v1::Signed,
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

/// A new set when there is something new to say, half the validity of the last one is over, or another key signed that one.
pub(crate) fn issue_decisions(tx: &mut Transaction<'_>, signer: &Signer, name: &str, let_pass: bool) -> Outcome<()> {
    let Some(site) = tx.image.sites.get(name) else { return Ok(()) };
    let policy = for_one_round(tx.image.policy(site), let_pass);
    let previous = site.issued.as_ref().map(|i| &i.set);
    let points = tx.image.points(name);
    let view = tx.image.view(name, site, &policy, &points);
    let others = site.issued.as_ref().filter(|i| !signer.made(&i.signed)).map_or(0, |i| i.set.generation.saturating_add(1));
    let floor = floor(tx.image, name).max(others);
    let Composition { set, news, held, wave } = compose(&view, site.matters.values(), previous, floor, tx.now);
    let newly_held = !held.is_empty() && held != *site.held;
    if newly_held {
        let reason = held.first().map(|h| h.reason.clone()).unwrap_or_default();
        journal::write(tx, Actor::Judge, Verb::BlocksHeld, name, &reason, json!({"held": held}))?;
    }
    let issued = news.then(|| Issued { signed: Arc::new(signer.sign(Signed::DECISIONS, &set)), set });
    if let Some(issued) = &issued {
        tx.records.put_issued(name, issued)?;
        let detail = difference(tx.image.sites.get(name).and_then(|s| s.issued.as_ref()).map(|i| &i.set), &issued.set);
        let reason = format!("{} decisions, valid until {}", issued.set.decisions.len(), issued.set.not_after);
        journal::write(tx, Actor::Judge, Verb::SetIssued, &format!("generation {}", issued.set.generation), &reason, detail)?;
    }
    note_wave(tx, name, wave)?;
    if let Some(site) = tx.image.sites.get_mut(name) {
        site.held = Arc::new(held);
        site.issued = issued.map(Arc::new).or(site.issued.take());
    }
    Ok(())
}

/// Where the wave of new blocks stands, stored and journalled when it moved.
fn note_wave(tx: &mut Transaction<'_>, name: &str, wave: Option<Wave>) -> Outcome<()> {
    let Some(site) = tx.image.sites.get_mut(name).filter(|s| s.kept.wave != wave) else { return Ok(()) };
    let reason = match &wave {
        None => "over: all enforcement points make the new blocks, or none are left".to_owned(),
        Some(Wave { held: Some(why), .. }) => format!("stands still: {why}"),
        Some(w) => format!("{} new blocks at {} enforcement points, in generation {}", w.blocks.len(), w.points.len(), w.generation),
    };
    site.change(tx.records, name, |kept| kept.wave = wave)?;
    let kept = site.kept.clone();
    // The points in it, up to a bound.
    let points: Vec<_> = kept.wave.iter().flat_map(|w| &w.points).take(200).collect();
    let detail = json!({"stage": kept.wave.as_ref().map(|w| w.stage), "points": points});
    journal::write(tx, Actor::Judge, Verb::Wave, name, &reason, detail)
}

/// The decisions that a set adds and removes: the journal holds changes, not whole sets.
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

/// The generation that an enforcer of the site reports as applied: this database may be older than that.
fn floor(image: &Image, site: &str) -> u64 {
    let applied = image.sensors.values().filter(|s| s.site == site).filter_map(|s| s.applied.as_ref());
    let believed = applied.filter(|a| matches!(a.outcome, Applied::Applied | Applied::DryRun)).map(|a| a.generation);
    believed.filter(|g| *g < BELIEVED).max().unwrap_or(0)
}
