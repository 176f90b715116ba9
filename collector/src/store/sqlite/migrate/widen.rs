//! Step 2: a finding keeps its clock under its longer name.

use crate::store::sqlite::{Sql, rows};
use rules::{
    finding::{Finding, FindingId},
    site::Matter,
};
use rusqlite::{Connection, params};

/// A longer name begins with the shorter one: both are the same hash, cut.
pub(super) fn findings(db: &Connection) -> Sql<()> {
    let sensors: Vec<String> = db.prepare("SELECT name FROM sensors")?.query_map([], |r| r.get(0))?.collect::<Sql<_>>()?;
    let bodies: Vec<String> = db.prepare("SELECT body FROM cases")?.query_map([], |r| r.get(0))?.collect::<Sql<_>>()?;
    for body in bodies {
        let mut matter: Matter = rows::decode(&body)?;
        let old = matter.finding.id.clone();
        // What cannot be told keeps its name: it is still a name, and its clock runs on until its finding is over.
        let Some(new) = longer(&matter.finding, &sensors) else { continue };
        matter.finding.id = new.clone();
        let (old, new) = (old.as_str(), new.as_str());
        db.execute("UPDATE cases SET finding = ?2, body = ?3 WHERE finding = ?1", params![old, new, rows::encode(&matter)?])?;
        db.execute("UPDATE outbox SET finding = ?2, body = json_set(body, '$.finding', ?2) WHERE finding = ?1", [old, new])?;
    }
    Ok(())
}

fn longer(finding: &Finding, sensors: &[String]) -> Option<FindingId> {
    let site = &finding.site;
    let place = finding.place.as_ref().map(|p| format!("{site}/{p}"));
    let slug = finding.slug.as_ref().map(|s| format!("{site}/{s}"));
    let blind = sensors.iter().map(|s| format!("{site}/{s}"));
    let mut names = place.into_iter().chain(slug).chain(blind).map(|subject| FindingId::derive(finding.kind, &subject));
    names.find(|new| new.as_str().starts_with(finding.id.as_str()))
}
