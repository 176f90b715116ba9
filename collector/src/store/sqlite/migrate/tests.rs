use super::*;
use crate::store::sqlite::rows;
use rules::{
    finding::{FindingId, FindingKind},
    site::Matter,
};
use serde_json::json;

fn at_first_schema() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(include_str!("../steps/1.sql")).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db
}

/// As the first version stored it.
fn old_matter(id: &str, kind: &str, place: serde_json::Value, slug: Option<&str>) -> String {
    json!({
        "finding": {
            "id": id, "kind": kind, "severity": "high", "site": "default", "place": place, "slug": slug, "owner": null,
            "reasons": ["because"], "corroborated": true, "shared_with": [], "last_seen": "2026-11-01T00:00:00Z",
        },
        "case": rules::admission::Case::open("2026-11-01T00:00:00Z".parse().unwrap()),
    })
    .to_string()
}

#[test]
fn a_new_database_takes_all_steps_and_then_none() {
    let mut db = Connection::open_in_memory().unwrap();
    forward(&mut db).unwrap();
    assert_eq!(at(&db).unwrap(), SCHEMA);
    forward(&mut db).unwrap();
    assert_eq!(at(&db).unwrap(), SCHEMA);
}

#[test]
fn from_the_first_schema_a_case_goes_on_under_its_longer_name_and_so_do_its_letters() {
    let mut db = at_first_schema();
    let place = rules::endpoint::Place::new("10.0.0.5:3001".parse().unwrap()).with_target("/mcp");
    let wanted = [
        (FindingId::derive(FindingKind::Shadow, "default/10.0.0.5:3001/mcp"), "shadow", json!(place), None),
        (FindingId::derive(FindingKind::Dead, "default/files"), "dead", json!(null), Some("files")),
        (FindingId::derive(FindingKind::Blind, "default/s1"), "blind", json!(null), None),
    ];
    db.execute("INSERT INTO sensors (name, body) VALUES ('s1', '{}')", []).unwrap();
    for (id, kind, place, slug) in &wanted {
        let old = &id.as_str()[..10];
        let body = old_matter(old, kind, place.clone(), *slug);
        db.execute("INSERT INTO cases (finding, site, body) VALUES (?1, 'default', ?2)", [old, &body]).unwrap();
        let letter = "INSERT INTO outbox (finding, step, channel, body, state, attempts, next_ms, last_error)
                      VALUES (?1, 'notice', 'log', json_object('finding', ?1), 'waiting', 0, 0, '')";
        db.execute(letter, [old]).unwrap();
    }
    let stranger = old_matter("F-00000000", "shadow", json!(null), None);
    db.execute("INSERT INTO cases (finding, site, body) VALUES ('F-00000000', 'default', ?1)", [stranger]).unwrap();
    forward(&mut db).unwrap();

    let body = |id: &str| db.query_row("SELECT body FROM cases WHERE finding = ?1", [id], |r| r.get::<_, String>(0)).unwrap();
    for (id, ..) in &wanted {
        let matter: Matter = rows::decode(&body(id.as_str())).unwrap();
        assert_eq!(&matter.finding.id, id);
        let sql = "SELECT count(*) FROM outbox WHERE finding = ?1 AND body ->> 'finding' = ?1";
        assert_eq!(db.query_row(sql, [id.as_str()], |r| r.get::<_, i64>(0)).unwrap(), 1);
    }
    let kept: Matter = rows::decode(&body("F-00000000")).unwrap();
    assert_eq!(kept.finding.id.as_str(), "F-00000000", "what nobody can name is not lost");
}

#[test]
fn a_step_that_fails_leaves_the_database_as_it_was() {
    let mut db = at_first_schema();
    db.execute("INSERT INTO cases (finding, site, body) VALUES ('F-00000000', 'default', 'no json')", []).unwrap();
    forward(&mut db).unwrap_err();
    assert_eq!(at(&db).unwrap(), 1);
}
