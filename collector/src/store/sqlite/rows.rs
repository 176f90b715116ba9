//! Nouns as rows: a name and a JSON body.

use super::Sql;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

/// A table of the form (key, body).
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    name: &'static str,
    key: &'static str,
}

pub(super) const SENSORS: Table = Table { name: "sensors", key: "name" };
pub(super) const SITES: Table = Table { name: "sites", key: "name" };
pub(super) const REGISTRATIONS: Table = Table { name: "registrations", key: "slug" };
pub(super) const TOKENS: Table = Table { name: "tokens", key: "hash" };
pub(super) const TENANTS: Table = Table { name: "tenants", key: "name" };
pub(super) const GRANTS: Table = Table { name: "grants", key: "id" };

impl Table {
    pub(super) fn put(self, db: &Connection, key: &str, body: &impl Serialize) -> Sql<()> {
        let sql = format!("INSERT INTO {} ({}, body) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = ?2", self.name, self.key);
        db.prepare_cached(&sql)?.execute(params![key, encode(body)?]).map(drop)
    }

    pub(super) fn delete(self, db: &Connection, key: &str) -> Sql<bool> {
        Ok(db.prepare_cached(&format!("DELETE FROM {} WHERE {} = ?1", self.name, self.key))?.execute([key])? > 0)
    }

    pub(super) fn get<T: DeserializeOwned>(self, db: &Connection, key: &str) -> Sql<Option<T>> {
        let sql = format!("SELECT body FROM {} WHERE {} = ?1", self.name, self.key);
        let body: Option<String> = db.prepare_cached(&sql)?.query_row([key], |r| r.get(0)).optional()?;
        body.map(|b| decode(&b)).transpose()
    }

    pub(super) fn all<T: DeserializeOwned>(self, db: &Connection) -> Sql<Vec<(String, T)>> {
        let mut ask = db.prepare(&format!("SELECT {}, body FROM {}", self.key, self.name))?;
        let rows = ask.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
        rows.map(|row| row.and_then(|(key, body)| Ok((key, decode(&body)?)))).collect()
    }
}

pub(super) fn encode(body: &impl Serialize) -> Sql<String> {
    serde_json::to_string(body).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

pub(super) fn decode<T: DeserializeOwned>(body: &str) -> Sql<T> {
    serde_json::from_str(body).map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}
