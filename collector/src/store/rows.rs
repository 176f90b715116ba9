//! Nouns as rows: a name and a JSON body.

use rusqlite::{Connection, OptionalExtension, Result, params};
use serde::{Serialize, de::DeserializeOwned};

/// A table of the form (key, body).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
}

pub(crate) const SENSORS: Table = Table { name: "sensors", key: "name" };
pub(crate) const SITES: Table = Table { name: "sites", key: "name" };
pub(crate) const REGISTRATIONS: Table = Table { name: "registrations", key: "slug" };
pub(crate) const TOKENS: Table = Table { name: "tokens", key: "hash" };
pub(crate) const TENANTS: Table = Table { name: "tenants", key: "name" };
pub(crate) const GRANTS: Table = Table { name: "grants", key: "id" };

impl Table {
    pub(crate) fn put(self, db: &Connection, key: &str, body: &impl Serialize) -> Result<()> {
        let sql = format!("INSERT INTO {} ({}, body) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = ?2", self.name, self.key);
        db.prepare_cached(&sql)?.execute(params![key, encode(body)?]).map(drop)
    }

    pub(crate) fn delete(self, db: &Connection, key: &str) -> Result<bool> {
        Ok(db.prepare_cached(&format!("DELETE FROM {} WHERE {} = ?1", self.name, self.key))?.execute([key])? > 0)
    }

    pub(crate) fn get<T: DeserializeOwned>(self, db: &Connection, key: &str) -> Result<Option<T>> {
        let sql = format!("SELECT body FROM {} WHERE {} = ?1", self.name, self.key);
        let body: Option<String> = db.prepare_cached(&sql)?.query_row([key], |r| r.get(0)).optional()?;
        body.map(|b| decode(&b)).transpose()
    }

    pub(crate) fn all<T: DeserializeOwned>(self, db: &Connection) -> Result<Vec<(String, T)>> {
        let mut ask = db.prepare(&format!("SELECT {}, body FROM {}", self.key, self.name))?;
        let rows = ask.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
        rows.map(|row| row.and_then(|(key, body)| Ok((key, decode(&body)?)))).collect()
    }
}

pub(crate) fn meta(db: &Connection, key: &str) -> Result<Option<String>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |r| r.get(0)).optional()
}

pub(crate) fn set_meta(db: &Connection, key: &str, value: &str) -> Result<()> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
    db.prepare_cached(sql)?.execute([key, value]).map(drop)
}

pub(crate) fn encode(body: &impl Serialize) -> Result<String> {
    serde_json::to_string(body).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

pub(crate) fn decode<T: DeserializeOwned>(body: &str) -> Result<T> {
    serde_json::from_str(body).map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}
