//! Questions, in SQL.

use super::{
    Outcome, Read, Sql, Sqlite,
    rows::{GRANTS, REGISTRATIONS, SENSORS, SITES, TENANTS, TOKENS, decode},
};
use crate::{
    access::Tenancy,
    dispatch::Issued,
    enrol::Token,
    inventory::EndpointRecord,
    journal::{Broken, Row, Text, Tip},
    notify::letter::Waiting,
    sensors::Sensor,
    site::SiteSettings,
    store::Setting,
};
use rules::{
    Timestamp, access::Grant, endpoint::Endpoint, finding::FindingId, printable::printable, registry::Registration, site::Matter,
    wire::v1::Signed,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

type Named<T> = Vec<(String, T)>;

impl Read for Sqlite {
    fn setting(&self, setting: Setting) -> Outcome<Option<String>> {
        let ask = "SELECT value FROM meta WHERE key = ?1";
        Ok(self.db.prepare_cached(ask)?.query_row([setting.as_str()], |r| r.get(0)).optional()?)
    }

    fn sites(&self) -> Outcome<Named<SiteSettings>> {
        Ok(SITES.all(&self.db)?)
    }

    fn servers(&self, site: &str) -> Outcome<Vec<(Endpoint, EndpointRecord)>> {
        let mut ask = self.db.prepare("SELECT endpoint, body FROM servers WHERE site = ?1")?;
        let rows = ask.query_map([site], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
        let read = |row: Sql<(String, String)>| -> Sql<Option<(Endpoint, EndpointRecord)>> {
            let (endpoint, body) = row?;
            let Ok(endpoint) = endpoint.parse() else { return Ok(None) };
            Ok(Some((endpoint, decode(&body)?)))
        };
        Ok(rows.filter_map(|row| read(row).transpose()).collect::<Sql<_>>()?)
    }

    fn cases(&self, site: &str) -> Outcome<Vec<Matter>> {
        let mut ask = self.db.prepare("SELECT body FROM cases WHERE site = ?1")?;
        let rows = ask.query_map([site], |r| r.get::<_, String>(0))?;
        Ok(rows.map(|row| decode(&row?)).collect::<Sql<_>>()?)
    }

    fn issued(&self, site: &str) -> Outcome<Option<Issued>> {
        Ok(signed(&self.db, Signed::DECISIONS, site)?.map(|(_, body)| decode(&body)).transpose()?)
    }

    fn bundle(&self) -> Outcome<Option<(u64, Arc<Signed>)>> {
        let found = signed(&self.db, Signed::BUNDLE, "")?;
        Ok(found.map(|(generation, body)| Sql::Ok((generation, Arc::new(decode(&body)?)))).transpose()?)
    }

    fn sensors(&self) -> Outcome<Named<Sensor>> {
        Ok(SENSORS.all(&self.db)?)
    }

    fn registrations(&self) -> Outcome<Named<Registration>> {
        Ok(REGISTRATIONS.all(&self.db)?)
    }

    fn tenants(&self) -> Outcome<Named<Tenancy>> {
        Ok(TENANTS.all(&self.db)?)
    }

    fn grants(&self) -> Outcome<Named<Grant>> {
        Ok(GRANTS.all(&self.db)?)
    }

    fn token(&self, hash: &str) -> Outcome<Option<Token>> {
        Ok(TOKENS.get(&self.db, hash)?)
    }

    fn tokens(&self) -> Outcome<Named<Token>> {
        Ok(TOKENS.all(&self.db)?)
    }

    fn observations(&self) -> Outcome<u64> {
        count(&self.db, "SELECT count(*) FROM observations")
    }

    fn journal_tip(&self) -> Outcome<Tip> {
        let ask = "SELECT id, hash FROM journal ORDER BY id DESC LIMIT 1";
        let tip = self.db.query_row(ask, [], |r| Ok(Tip { id: r.get(0)?, hash: r.get(1)? })).optional()?;
        Ok(tip.unwrap_or_default())
    }

    fn journal_after(&self, after: i64, subject: Option<&str>, limit: u32) -> Outcome<Vec<Row>> {
        let shorter = subject.map(|s| FindingId::parse(s).map_or_else(|| s.to_owned(), |id| id.short().to_owned()));
        let sql = "SELECT id, at, actor, verb, subject, reason, detail, hash FROM journal
                   WHERE id > ?1 AND (?2 IS NULL OR subject IN (?2, ?4)) ORDER BY id LIMIT ?3";
        let mut ask = self.db.prepare_cached(sql)?;
        Ok(ask.query_map(params![after, subject, limit, shorter], journal_row)?.collect::<Sql<_>>()?)
    }

    fn journal_latest(&self, limit: u32) -> Outcome<Vec<Row>> {
        let sql = "SELECT id, at, actor, verb, subject, reason, detail, hash FROM journal ORDER BY id DESC LIMIT ?1";
        Ok(self.db.prepare_cached(sql)?.query_map([limit], journal_row)?.collect::<Sql<_>>()?)
    }

    fn verify_journal(&self) -> Result<i64, Broken> {
        let unreadable = |e: rusqlite::Error| Broken::Unreadable(printable(&e.to_string(), 200));
        let sql = "SELECT id, at, actor, verb, subject, reason, detail, hash FROM journal ORDER BY id";
        let mut ask = self.db.prepare(sql).map_err(unreadable)?;
        let mut rows = ask.query([]).map_err(unreadable)?;
        let mut before = Tip::default();
        while let Some(row) = rows.next().map_err(unreadable)? {
            let (stored, text) = journal_text(row).map_err(unreadable)?;
            let next = text.after(&before);
            if stored.id != next.id {
                return Err(Broken::Missing(next.id));
            }
            if stored.hash != next.hash {
                return Err(Broken::Changed(stored.id));
            }
            before = next;
        }
        Ok(before.id)
    }

    fn letters_waiting(&self) -> Outcome<u64> {
        count(&self.db, "SELECT count(*) FROM outbox WHERE state = 'waiting'")
    }

    fn letters_due(&self, now: Timestamp, limit: u32) -> Outcome<Vec<Waiting>> {
        let sql =
            "SELECT id, step, channel, attempts, body FROM outbox WHERE state = 'waiting' AND next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2";
        let mut ask = self.db.prepare(sql)?;
        let found = ask.query_map(params![now.as_millisecond(), limit], |r| {
            let (step, channel) = (r.get::<_, String>(1)?.into(), r.get::<_, String>(2)?.into());
            Ok(Waiting { id: r.get(0)?, step, channel, attempts: r.get(3)?, letter: decode(&r.get::<_, String>(4)?)? })
        })?;
        Ok(found.collect::<Sql<_>>()?)
    }
}

fn count(db: &Connection, sql: &str) -> Outcome<u64> {
    Ok(db.query_row(sql, [], |r| r.get::<_, i64>(0)).map(i64::unsigned_abs)?)
}

fn signed(db: &Connection, domain: &str, site: &str) -> Sql<Option<(u64, String)>> {
    let sql = "SELECT generation, body FROM signed WHERE domain = ?1 AND site = ?2";
    db.query_row(sql, [domain, site], |r| Ok((r.get::<_, i64>(0)?.unsigned_abs(), r.get(1)?))).optional()
}

fn journal_text(r: &rusqlite::Row<'_>) -> Sql<(Tip, Text)> {
    let text = Text { at: r.get(1)?, actor: r.get(2)?, verb: r.get(3)?, subject: r.get(4)?, reason: r.get(5)?, detail: r.get(6)? };
    Ok((Tip { id: r.get(0)?, hash: r.get(7)? }, text))
}

fn journal_row(r: &rusqlite::Row<'_>) -> Sql<Row> {
    let (tip, text) = journal_text(r)?;
    Ok(text.into_row(&tip))
}
