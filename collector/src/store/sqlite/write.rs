//! Changes, in SQL.

use super::{
    Outcome, Records, Sqlite,
    rows::{GRANTS, REGISTRATIONS, SENSORS, SITES, TENANTS, TOKENS, encode},
};
use crate::{
    access::Tenancy,
    dispatch::Issued,
    enrol::Token,
    inventory::EndpointRecord,
    journal::{Text, Tip},
    notify::letter::{Channel, Letter, Step},
    sensors::Sensor,
    site::SiteSettings,
    store::{LetterOutcome, Setting},
};
use rules::{
    Timestamp,
    access::Grant,
    endpoint::Endpoint,
    finding::FindingId,
    registry::Registration,
    site::Matter,
    wire::v1::{Record, Signed},
};
use rusqlite::{Params, params};
use serde::Serialize;

impl Sqlite {
    /// Gives how many rows it changed.
    fn change(&self, sql: &str, with: impl Params) -> Outcome<usize> {
        Ok(self.db.prepare_cached(sql)?.execute(with)?)
    }

    fn put_signed(&self, domain: &str, site: &str, generation: u64, body: &impl Serialize) -> Outcome<()> {
        let sql = "INSERT INTO signed (domain, site, generation, body) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET generation = ?3, body = ?4 WHERE generation < ?3";
        self.change(sql, params![domain, site, whole(generation), encode(body)?]).map(drop)
    }
}

/// SQLite's integers have a sign.
fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Records for Sqlite {
    fn set_setting(&self, setting: Setting, value: &str) -> Outcome<()> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
        self.change(sql, [setting.as_str(), value]).map(drop)
    }

    fn put_site(&self, name: &str, site: &SiteSettings) -> Outcome<()> {
        Ok(SITES.put(&self.db, name, site)?)
    }

    fn put_server(&self, site: &str, at: Endpoint, record: &EndpointRecord) -> Outcome<()> {
        let sql = "INSERT INTO servers (site, endpoint, body) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = ?3";
        self.change(sql, params![site, at.to_string(), encode(record)?]).map(drop)
    }

    fn delete_server(&self, site: &str, at: Endpoint) -> Outcome<()> {
        self.change("DELETE FROM servers WHERE site = ?1 AND endpoint = ?2", params![site, at.to_string()]).map(drop)
    }

    fn delete_servers_at(&self, at: Endpoint) -> Outcome<usize> {
        self.change("DELETE FROM servers WHERE endpoint = ?1", [at.to_string()])
    }

    fn put_case(&self, site: &str, matter: &Matter) -> Outcome<()> {
        let sql = "INSERT INTO cases (finding, site, body) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = ?3";
        self.change(sql, params![matter.finding.id.as_str(), site, encode(matter)?]).map(drop)
    }

    fn delete_case(&self, finding: &FindingId) -> Outcome<()> {
        self.change("DELETE FROM cases WHERE finding = ?1", [finding.as_str()]).map(drop)
    }

    fn readdress_letters(&self, from: &FindingId, to: &FindingId) -> Outcome<()> {
        self.change("UPDATE OR IGNORE outbox SET finding = ?2 WHERE finding = ?1", [from.as_str(), to.as_str()]).map(drop)
    }

    fn put_issued(&self, site: &str, issued: &Issued) -> Outcome<()> {
        self.put_signed(Signed::DECISIONS, site, issued.set.generation, issued)
    }

    fn put_bundle(&self, generation: u64, signed: &Signed) -> Outcome<()> {
        self.put_signed(Signed::BUNDLE, "", generation, signed)
    }

    fn put_sensor(&self, name: &str, sensor: &Sensor) -> Outcome<()> {
        Ok(SENSORS.put(&self.db, name, sensor)?)
    }

    fn put_registration(&self, registration: &Registration) -> Outcome<()> {
        Ok(REGISTRATIONS.put(&self.db, &registration.slug, registration)?)
    }

    fn delete_registration(&self, slug: &str) -> Outcome<bool> {
        Ok(REGISTRATIONS.delete(&self.db, slug)?)
    }

    fn put_tenant(&self, name: &str, tenancy: &Tenancy) -> Outcome<()> {
        Ok(TENANTS.put(&self.db, name, tenancy)?)
    }

    fn put_grant(&self, grant: &Grant) -> Outcome<()> {
        Ok(GRANTS.put(&self.db, &grant.id, grant)?)
    }

    fn delete_grant(&self, id: &str) -> Outcome<bool> {
        Ok(GRANTS.delete(&self.db, id)?)
    }

    fn put_token(&self, hash: &str, token: &Token) -> Outcome<()> {
        Ok(TOKENS.put(&self.db, hash, token)?)
    }

    fn delete_token(&self, hash: &str) -> Outcome<()> {
        Ok(TOKENS.delete(&self.db, hash).map(drop)?)
    }

    fn put_observation(&self, sensor: &str, epoch: u64, record: &Record, now: Timestamp) -> Outcome<()> {
        let sql = "INSERT INTO observations (sensor, epoch, seq, stored_ms, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        self.change(sql, params![sensor, whole(epoch), whole(record.seq), now.as_millisecond(), encode(record)?]).map(drop)
    }

    fn forget_observations_before(&self, before: Timestamp, limit: u64) -> Outcome<u64> {
        let sql = "DELETE FROM observations WHERE (sensor, epoch, seq) IN
                   (SELECT sensor, epoch, seq FROM observations WHERE stored_ms < ?1 ORDER BY stored_ms LIMIT ?2)";
        Ok(self.change(sql, params![before.as_millisecond(), whole(limit)])? as u64)
    }

    fn forget_oldest_observations(&self, number: u64) -> Outcome<u64> {
        let sql = "DELETE FROM observations WHERE (sensor, epoch, seq) IN
                   (SELECT sensor, epoch, seq FROM observations ORDER BY stored_ms LIMIT ?1)";
        Ok(self.change(sql, [whole(number)])? as u64)
    }

    fn append_journal(&self, tip: &Tip, text: &Text) -> Outcome<()> {
        let sql = "INSERT INTO journal (id, at, actor, verb, subject, reason, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let Text { at, actor, verb, subject, reason, detail } = text;
        self.change(sql, params![tip.id, at, actor, verb, subject, reason, detail, tip.hash]).map(drop)
    }

    fn put_letter(&self, letter: &Letter, step: &Step, channel: &Channel, now: Timestamp) -> Outcome<()> {
        let sql = "INSERT INTO outbox (finding, step, channel, body, state, attempts, next_ms, last_error)
                   VALUES (?1, ?2, ?3, ?4, 'waiting', 0, ?5, '') ON CONFLICT DO NOTHING";
        let (step, now) = (step.to_string(), now.as_millisecond());
        self.change(sql, params![letter.finding, step, channel.as_str(), encode(letter)?, now]).map(drop)
    }

    fn note_letter(&self, id: i64, outcome: &LetterOutcome) -> Outcome<()> {
        let (state, attempt) = match outcome {
            LetterOutcome::Delivered => {
                let sql = "UPDATE outbox SET state = 'delivered', attempts = attempts + 1, last_error = '' WHERE id = ?1";
                return self.change(sql, [id]).map(drop);
            }
            LetterOutcome::Later(attempt) => ("waiting", attempt),
            LetterOutcome::Dropped(attempt) => ("dropped", attempt),
        };
        let sql = "UPDATE outbox SET state = ?2, attempts = ?3, next_ms = ?4, last_error = ?5 WHERE id = ?1";
        self.change(sql, params![id, state, attempt.number, attempt.next.as_millisecond(), attempt.error]).map(drop)
    }

    fn forget_letters_before(&self, before: Timestamp) -> Outcome<()> {
        self.change("DELETE FROM outbox WHERE state <> 'waiting' AND next_ms < ?1", [before.as_millisecond()]).map(drop)
    }
}
