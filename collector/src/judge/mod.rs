//! Servers and registry in, cases moved on: runs inside the writer's transactions.
//!
//! The judgement is `rules::round`; here is only which sites are due for one, and that each result is stored, journalled and told
//! in one transaction. Nothing is timed by a process's life: restarting changes nothing.

mod rename;

use crate::{
    commit::{Outcome, Touched, Transaction},
    dispatch::{self, Signer},
    image::Image,
    journal::{self, Actor, Verb},
    notify,
    sensors::Role,
    site::for_one_round,
};
use rules::{
    Timestamp,
    admission::{Case, Effect},
    detect::Sight,
    endpoint::Endpoint,
    finding::FindingId,
    observation::Coverage,
    period::Period,
    policy::Policy,
    round::{Round, round},
    site::Matter,
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

/// A site with more servers than this is judged by the timer, not after every batch and every delivery.
const AT_ONCE: usize = 500;
/// Seconds. Time alone moves a case so often in the store; more often it moves in memory only. Well within [`Case::WATCH`], so that
/// a crash costs no waiting.
const STORE_TIME_EVERY: i64 = 600;

/// Stores what the jobs changed, judges it, and says what enforcers and gateways are to know.
pub(crate) fn settle(tx: &mut Transaction<'_>, signer: &Signer) -> Outcome<()> {
    let touched = std::mem::take(tx.touched);
    store_servers(tx, &touched.endpoints)?;
    for (site, from, to) in &touched.renamed {
        rename::rename(tx, site, from, to)?;
    }
    for site in due(tx.image, &touched) {
        judge_site(tx, &site, touched.let_pass.contains(&site))?;
        dispatch::issue_decisions(tx, signer, &site, touched.let_pass.contains(&site))?;
    }
    if touched.access || touched.registry || !tx.image.bundle.as_ref().is_some_and(|(_, signed)| signer.made(signed)) {
        dispatch::issue_bundle(tx, signer)?;
    }
    Ok(())
}

fn due(image: &Image, touched: &Touched) -> BTreeSet<String> {
    let everywhere = touched.tick || touched.registry;
    let small = |name: &String| image.sites.get(name).is_some_and(|s| s.inventory.len() <= AT_ONCE);
    let all = image.sites.keys().filter(|_| everywhere).cloned();
    let seen = touched.endpoints.iter().map(|(site, _)| site).chain(&touched.told).filter(|s| small(s)).cloned();
    all.chain(seen).chain(touched.sites.iter().cloned()).chain(touched.let_pass.iter().cloned()).collect()
}

fn store_servers(tx: &mut Transaction<'_>, endpoints: &BTreeSet<(String, Endpoint)>) -> Outcome<()> {
    for (site, endpoint) in endpoints {
        match tx.image.sites.get(site).and_then(|s| s.inventory.record(*endpoint)) {
            Some(record) => tx.records.put_server(site, *endpoint, record)?,
            None => tx.records.delete_server(site, *endpoint)?,
        }
    }
    Ok(())
}

/// One round of one site. `let_pass`: a person said that however many new blocks there are, they are meant.
fn judge_site(tx: &mut Transaction<'_>, name: &str, let_pass: bool) -> Outcome<()> {
    let Some(site) = tx.image.sites.get(name) else { return Ok(()) };
    let policy = for_one_round(tx.image.policy(site), let_pass);
    let coverage = coverage(tx.image, name, tx.now);
    let sights: Vec<Sight<'_>> =
        coverage.iter().map(|(sensor, heard, c)| Sight { sensor: sensor.as_str(), last_heard: *heard, coverage: c.as_slice() }).collect();
    let points = tx.image.points(name);
    let view = tx.image.view(name, site, &policy, &points);
    let Round { matters, effects, hold } = round(&view, site.inventory.servers(), &sights, &site.matters, tx.now);

    for (id, matter) in &matters {
        let known = site.matters.get(id);
        if known.is_none_or(|k| is_news(k, matter)) {
            tx.records.put_case(name, matter)?;
        }
    }
    let gone: Vec<FindingId> = site.matters.keys().filter(|id| !matters.contains_key(*id)).cloned().collect();
    let opened: Vec<Matter> = matters.iter().filter(|(id, _)| !site.matters.contains_key(*id)).map(|(_, m)| m.clone()).collect();
    let start = site.kept.first_used;
    if let Some(site) = tx.image.sites.get_mut(name) {
        site.matters = Arc::new(matters);
        site.hold = hold.map(Into::into);
    }
    for id in gone {
        tx.records.delete_case(&id)?;
        journal::write(tx, Actor::Judge, Verb::FindingForgotten, id.as_str(), "closed long ago", json!({}))?;
    }
    for matter in opened {
        journal_opened(tx, &matter)?;
    }
    for (id, effect) in effects {
        perform(tx, name, &id, effect, &policy, start)?;
    }
    Ok(())
}

fn coverage(image: &Image, site: &str, now: Timestamp) -> Vec<(String, Timestamp, Vec<Coverage>)> {
    let sensors = image.sensors.iter().filter(|(_, s)| s.site == site && s.role == Role::Sensor && s.revoked.is_none());
    sensors.filter_map(|(name, s)| Some((name.clone(), s.heard_at?, s.recent(now)))).collect()
}

fn is_news(known: &Matter, now: &Matter) -> bool {
    // The server's own row has when it was last seen.
    let seen = |m: &Matter| rules::finding::Finding { last_seen: Timestamp::UNIX_EPOCH, ..m.finding.clone() };
    let timeless =
        |c: &Case| Case { judged_at: Timestamp::UNIX_EPOCH, waited: Period::default(), presence: Default::default(), ..c.clone() };
    let slot = |c: &Case| c.judged_at.as_second() / STORE_TIME_EVERY;
    seen(known) != seen(now) || timeless(&known.case) != timeless(&now.case) || slot(&known.case) != slot(&now.case)
}

fn journal_opened(tx: &mut Transaction<'_>, matter: &Matter) -> Outcome<()> {
    let f = &matter.finding;
    let reason = f.reasons.first().cloned().unwrap_or_default();
    let place = f.place.as_ref().map(ToString::to_string);
    let detail = json!({"kind": f.kind, "place": place, "reasons": f.reasons, "corroborated": f.corroborated});
    journal::write(tx, Actor::Judge, Verb::FindingOpened, f.id.as_str(), &reason, detail)
}

fn perform(tx: &mut Transaction<'_>, site: &str, id: &FindingId, effect: Effect, policy: &Policy, start: Timestamp) -> Outcome<()> {
    let Some(matter) = tx.image.sites.get(site).and_then(|s| s.matters.get(id)).cloned() else { return Ok(()) };
    match effect {
        Effect::Moved { from, to, reason } => {
            let detail = json!({"from": from, "to": to, "deadline": matter.case.block_at(policy, start)});
            journal::write(tx, Actor::Judge, Verb::CaseMoved, id.as_str(), &reason, detail)
        }
        Effect::Tell { to, message, deadline } => notify::enqueue(tx, &matter, to, message, deadline),
    }
}

/// Changes a case by somebody's word; the site is judged again in the same transaction. `None`: no such finding.
pub(crate) fn amend<T>(
    tx: &mut Transaction<'_>,
    id: &FindingId,
    change: impl FnOnce(&mut Case, &Policy, Timestamp) -> T,
) -> Outcome<Option<T>> {
    let Some((site, result)) = alter(tx, id, change)? else { return Ok(None) };
    tx.touched.sites.insert(site);
    Ok(Some(result))
}

/// Notes that a notice reached somebody: the clock starts. False: it had, or the case is over.
pub(crate) fn delivered(tx: &mut Transaction<'_>, id: &FindingId) -> Outcome<bool> {
    let now = tx.now;
    let Some((site, started)) = alter(tx, id, |case, _, _| case.delivered(now))? else { return Ok(false) };
    tx.touched.told.insert(site);
    Ok(started)
}

type Altered<T> = Option<(String, T)>;

fn alter<T>(tx: &mut Transaction<'_>, id: &FindingId, change: impl FnOnce(&mut Case, &Policy, Timestamp) -> T) -> Outcome<Altered<T>> {
    let Some((name, site, matter)) = tx.image.matter(id) else { return Ok(None) };
    let (name, mut matter, start) = (name.to_owned(), matter.clone(), site.kept.first_used);
    let policy = tx.image.policy(site).clone();
    let result = change(&mut matter.case, &policy, start);
    tx.records.put_case(&name, &matter)?;
    if let Some(site) = tx.image.sites.get_mut(&name) {
        Arc::make_mut(&mut site.matters).insert(id.clone(), matter);
    }
    Ok(Some((name, result)))
}
