//! Servers and registry in, cases moved on: runs inside the writer's transactions.
//!
//! The judgement is `rules::round`; here is only which sites are due for one, and that each result is stored, journalled and told
//! in one transaction. Nothing is timed by a process's life: restarting changes nothing.

mod rename;

use crate::{
    dispatch::{self, Signer},
    journal, notify,
    sensors::Role,
    state::State,
    store::{Outcome, Turn, rows},
};
use rules::{
    Timestamp,
    admission::{Case, Effect},
    detect::Sight,
    finding::FindingId,
    observation::Coverage,
    period::Period,
    policy::Policy,
    round::{Round, round},
    site::Matter,
};
use rusqlite::params;
use serde_json::json;
use std::collections::BTreeSet;

/// A site with more servers than this is judged by the timer, not after every batch and every delivery.
const AT_ONCE: usize = 500;
/// Seconds. Time alone moves a case so often in the store; more often it moves in memory only. Well within [`Case::WATCH`], so that
/// a crash costs no waiting.
const STORE_TIME_EVERY: i64 = 600;

/// Stores what the jobs changed, judges it, and says what enforcers and gateways are to know.
pub(crate) fn settle(turn: &mut Turn<'_>, signer: &Signer) -> Outcome<()> {
    let touched = std::mem::take(&mut turn.state.touched);
    store_doors(turn, &touched.doors)?;
    for (site, from, to) in &touched.renamed {
        rename::rename(turn, site, from, to)?;
    }
    for site in due(turn.state, &touched) {
        judge_site(turn, &site, touched.let_pass.contains(&site))?;
        dispatch::issue_decisions(turn, signer, &site, touched.let_pass.contains(&site))?;
    }
    if touched.access || touched.registry || !turn.state.bundle.as_ref().is_some_and(|(_, signed)| signer.made(signed)) {
        dispatch::issue_bundle(turn, signer)?;
    }
    Ok(())
}

fn due(state: &State, touched: &crate::state::Touched) -> BTreeSet<String> {
    let everywhere = touched.tick || touched.registry;
    let small = |name: &String| state.sites.get(name).is_some_and(|s| s.inventory.len() <= AT_ONCE);
    let all = state.sites.keys().filter(|_| everywhere).cloned();
    let seen = touched.doors.iter().map(|(site, _)| site).chain(&touched.told).filter(|s| small(s)).cloned();
    all.chain(seen).chain(touched.sites.iter().cloned()).chain(touched.let_pass.iter().cloned()).collect()
}

fn store_doors(turn: &mut Turn<'_>, doors: &BTreeSet<(String, rules::endpoint::Endpoint)>) -> Outcome<()> {
    for (site, endpoint) in doors {
        match turn.state.sites.get(site).and_then(|s| s.inventory.door(*endpoint)) {
            Some(door) => {
                let sql = "INSERT INTO servers (site, endpoint, body) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = ?3";
                turn.db.prepare_cached(sql)?.execute(params![site, endpoint.to_string(), rows::encode(door)?])?;
            }
            None => {
                let sql = "DELETE FROM servers WHERE site = ?1 AND endpoint = ?2";
                turn.db.prepare_cached(sql)?.execute(params![site, endpoint.to_string()])?;
            }
        }
    }
    Ok(())
}

/// One round of one site. `let_pass`: a person said that however many new blocks there are, they are meant.
fn judge_site(turn: &mut Turn<'_>, name: &str, let_pass: bool) -> Outcome<()> {
    let Some(site) = turn.state.sites.get(name) else { return Ok(()) };
    let policy = effective(turn.state.policy(site), let_pass);
    let coverage = coverage(turn.state, name, turn.now);
    let sights: Vec<Sight<'_>> =
        coverage.iter().map(|(sensor, heard, c)| Sight { sensor: sensor.as_str(), last_heard: *heard, coverage: c.as_slice() }).collect();
    let points = turn.state.points(name);
    let view = turn.state.view(name, site, &policy, &points);
    let Round { matters, effects, hold } = round(&view, site.inventory.servers(), &sights, &site.matters, turn.now);

    for (id, matter) in &matters {
        let known = site.matters.get(id);
        if known.is_none_or(|k| is_news(k, matter)) {
            store(turn, name, matter)?;
        }
    }
    let gone: Vec<FindingId> = site.matters.keys().filter(|id| !matters.contains_key(*id)).cloned().collect();
    let opened: Vec<Matter> = matters.iter().filter(|(id, _)| !site.matters.contains_key(*id)).map(|(_, m)| m.clone()).collect();
    let start = site.kept.first_used;
    if let Some(site) = turn.state.sites.get_mut(name) {
        site.matters = matters;
        site.hold = hold;
    }
    for id in gone {
        turn.db.execute("DELETE FROM cases WHERE finding = ?1", [id.as_str()])?;
        journal::write(turn, "judge", "finding-forgotten", id.as_str(), "closed long ago", json!({}))?;
    }
    for matter in opened {
        journal_opened(turn, &matter)?;
    }
    for (id, effect) in effects {
        perform(turn, name, &id, effect, &policy, start)?;
    }
    Ok(())
}

/// The policy of one round; a person's word lifts the limit on new blocks for once.
pub(crate) fn effective(policy: &Policy, let_pass: bool) -> Policy {
    let mut effective = policy.clone();
    if let_pass {
        effective.blocking.max_new_blocks = u32::MAX;
    }
    effective
}

fn coverage(state: &State, site: &str, now: Timestamp) -> Vec<(String, Timestamp, Vec<Coverage>)> {
    let sensors = state.sensors.iter().filter(|(_, s)| s.site == site && s.role == Role::Sensor && s.revoked.is_none());
    sensors.filter_map(|(name, s)| Some((name.clone(), s.heard_at?, s.recent(now)))).collect()
}

fn is_news(known: &Matter, now: &Matter) -> bool {
    // The server's own row has when it was last seen.
    let seen = |m: &Matter| rules::finding::Finding { last_seen: Timestamp::UNIX_EPOCH, ..m.finding.clone() };
    let timeless =
        |c: &Case| Case { judged_at: Timestamp::UNIX_EPOCH, waited: Period::default(), seen: 0, unseen: Period::default(), ..c.clone() };
    let slot = |c: &Case| c.judged_at.as_second() / STORE_TIME_EVERY;
    seen(known) != seen(now) || timeless(&known.case) != timeless(&now.case) || slot(&known.case) != slot(&now.case)
}

fn store(turn: &Turn<'_>, site: &str, matter: &Matter) -> Outcome<()> {
    let sql = "INSERT INTO cases (finding, site, body) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = ?3";
    turn.db.prepare_cached(sql)?.execute(params![matter.finding.id.as_str(), site, rows::encode(matter)?]).map(drop)
}

fn journal_opened(turn: &mut Turn<'_>, matter: &Matter) -> Outcome<()> {
    let f = &matter.finding;
    let reason = f.reasons.first().cloned().unwrap_or_default();
    let place = f.place.as_ref().map(ToString::to_string);
    let detail = json!({"kind": f.kind, "place": place, "reasons": f.reasons, "corroborated": f.corroborated});
    journal::write(turn, "judge", "finding-opened", f.id.as_str(), &reason, detail)
}

fn perform(turn: &mut Turn<'_>, site: &str, id: &FindingId, effect: Effect, policy: &Policy, start: Timestamp) -> Outcome<()> {
    let Some(matter) = turn.state.sites.get(site).and_then(|s| s.matters.get(id)).cloned() else { return Ok(()) };
    match effect {
        Effect::Moved { from, to, reason } => {
            let detail = json!({"from": from, "to": to, "deadline": matter.case.block_at(policy, start)});
            journal::write(turn, "judge", "case-moved", id.as_str(), &reason, detail)
        }
        Effect::Tell { to, message, deadline } => notify::enqueue(turn, &matter, to, message, deadline),
    }
}

/// Changes a case by somebody's word; the site is judged again in the same transaction. `None`: no such finding.
pub(crate) fn amend<T>(turn: &mut Turn<'_>, id: &FindingId, change: impl FnOnce(&mut Case, &Policy, Timestamp) -> T) -> Outcome<Option<T>> {
    let Some((site, result)) = alter(turn, id, change)? else { return Ok(None) };
    turn.state.touched.sites.insert(site);
    Ok(Some(result))
}

/// Notes that a notice reached somebody: the clock starts. False: it had, or the case is over.
pub(crate) fn delivered(turn: &mut Turn<'_>, id: &FindingId) -> Outcome<bool> {
    let now = turn.now;
    let Some((site, started)) = alter(turn, id, |case, _, _| case.delivered(now))? else { return Ok(false) };
    turn.state.touched.told.insert(site);
    Ok(started)
}

type Altered<T> = Option<(String, T)>;

fn alter<T>(turn: &mut Turn<'_>, id: &FindingId, change: impl FnOnce(&mut Case, &Policy, Timestamp) -> T) -> Outcome<Altered<T>> {
    let Some((name, site, matter)) = turn.state.matter(id) else { return Ok(None) };
    let (name, mut matter, start) = (name.to_owned(), matter.clone(), site.kept.first_used);
    let policy = turn.state.policy(site).clone();
    let result = change(&mut matter.case, &policy, start);
    store(turn, &name, &matter)?;
    if let Some(site) = turn.state.sites.get_mut(&name) {
        site.matters.insert(id.clone(), matter);
    }
    Ok(Some((name, result)))
}
