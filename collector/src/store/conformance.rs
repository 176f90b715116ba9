//! What every engine has to do. A new one is added to [`engines`], and passes all of this.

use super::{Attempt, Engine, LetterOutcome, Records, Setting, open};
use crate::{
    access::Tenancy,
    enrol::Token,
    inventory::EndpointRecord,
    journal::{Text, Tip, Verb},
    notify::letter::{Channel, Letter, LetterKind, Step},
    sensors::{Role, Sensor},
    site::SiteSettings,
};
use rules::{
    Timestamp,
    finding::{FindingId, FindingKind},
    observation::Said,
    site::Matter,
    wire::v1::{Record, Signed},
};
use serde_json::json;

fn at(n: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + n).unwrap()
}

/// On an empty database of each engine, which `test` finds in a transaction.
fn engines(test: impl Fn(&mut dyn Engine)) {
    let data = tempfile::tempdir().unwrap();
    let mut sqlite = open(&super::database(data.path()), None).unwrap();
    sqlite.begin().unwrap();
    test(&mut sqlite);
    sqlite.commit().unwrap();
}

fn matter(subject: &str) -> Matter {
    let id = FindingId::derive(FindingKind::Shadow, subject);
    let finding = json!({
        "id": id, "kind": "shadow", "severity": "high", "site": "lab", "place": null, "slug": null, "owner": null,
        "reasons": [subject], "corroborated": true, "shared_with": [], "last_seen": at(0),
    });
    Matter { finding: serde_json::from_value(finding).unwrap(), case: rules::admission::Case::open(at(0)) }
}

fn letter(about: LetterKind, finding: &FindingId) -> Letter {
    Letter {
        about,
        finding: finding.to_string(),
        kind: FindingKind::Shadow,
        site: "lab".to_owned(),
        to: "ada".to_owned(),
        subject: String::new(),
        text: String::new(),
        place: None,
        deadline: None,
        reasons: Vec::new(),
        is_proof: true,
    }
}

#[test]
fn a_setting_is_the_last_that_was_set() {
    engines(|engine| {
        let records = engine.records();
        assert_eq!(records.setting(Setting::Root), Ok(None));
        for value in ["one", "two"] {
            records.set_setting(Setting::Root, value).unwrap();
        }
        assert_eq!(records.setting(Setting::Root), Ok(Some("two".to_owned())));
        assert_eq!(records.setting(Setting::SigningKey), Ok(None));
    });
}

#[test]
fn sites_and_servers_come_back_and_are_deleted() {
    engines(|engine| {
        let records = engine.records();
        let site = SiteSettings::new(at(0));
        records.put_site("lab", &site).unwrap();
        assert_eq!(records.sites().unwrap(), [("lab".to_owned(), site)]);
        let endpoint = "10.0.0.5:3001".parse().unwrap();
        for site in ["lab", "office"] {
            records.put_server(site, endpoint, &EndpointRecord::default()).unwrap();
        }
        assert_eq!(records.servers("lab").unwrap(), [(endpoint, EndpointRecord::default())]);
        records.delete_server("lab", endpoint).unwrap();
        assert_eq!((records.servers("lab").unwrap().len(), records.servers("office").unwrap().len()), (0, 1));
        assert_eq!((records.delete_servers_at(endpoint), records.delete_servers_at(endpoint)), (Ok(1), Ok(0)));
    });
}

#[test]
fn cases_are_of_their_site() {
    engines(|engine| {
        let records = engine.records();
        let (one, two) = (matter("one"), matter("two"));
        records.put_case("lab", &one).unwrap();
        records.put_case("lab", &one).unwrap();
        records.put_case("office", &two).unwrap();
        assert_eq!((records.cases("lab").unwrap(), records.cases("office").unwrap()), (vec![one.clone()], vec![two]));
        records.delete_case(&one.finding.id).unwrap();
        assert_eq!(records.cases("lab").unwrap(), []);
    });
}

#[test]
fn a_bundle_gives_way_to_a_higher_generation_only() {
    engines(|engine| {
        let records = engine.records();
        let signed = |payload: &str| Signed {
            domain: Signed::BUNDLE.to_owned(),
            key_id: "k".to_owned(),
            payload: payload.to_owned(),
            signature: String::new(),
        };
        for (generation, payload) in [(2, "two"), (1, "one"), (2, "again")] {
            records.put_bundle(generation, &signed(payload)).unwrap();
        }
        let (generation, kept) = records.bundle().unwrap().unwrap();
        assert_eq!((generation, kept.payload.as_str()), (2, "two"));
        assert!(records.issued("lab").unwrap().is_none(), "a bundle is no decision set");
    });
}

#[test]
fn whoever_speaks_and_joins_is_kept_by_name() {
    engines(|engine| {
        let records = engine.records();
        records.put_sensor("s1", &Sensor::new("lab", Role::Sensor)).unwrap();
        records.put_sensor("s1", &Sensor::new("lab", Role::Enforcer)).unwrap();
        assert_eq!(records.sensors().unwrap().iter().map(|(n, s)| (n.as_str(), s.role)).collect::<Vec<_>>(), [("s1", Role::Enforcer)]);
        let token = Token { site: "lab".into(), role: Role::Sensor, name: None, created_at: at(0), expires_at: at(9), uses_left: 2 };
        records.put_token("hash", &token).unwrap();
        assert_eq!(records.token("hash").unwrap().map(|t| t.uses_left), Some(2));
        records.delete_token("hash").unwrap();
        assert!(records.token("hash").unwrap().is_none() && records.tokens().unwrap().is_empty());
        records.put_tenant("research", &Tenancy::default()).unwrap();
        assert_eq!(records.tenants().unwrap().len(), 1);
        let grant = serde_json::from_value(json!({"id": "g1", "tenant": "research", "slug": "tools", "tools": ["*"]})).unwrap();
        records.put_grant(&grant).unwrap();
        assert_eq!(records.grants().unwrap(), [("g1".to_owned(), grant)]);
        assert_eq!((records.delete_grant("g1"), records.delete_grant("g1")), (Ok(true), Ok(false)));
        assert_eq!(records.delete_registration("none"), Ok(false));
    });
}

#[test]
fn an_observation_is_kept_once_and_the_oldest_go_first() {
    engines(|engine| {
        let records = engine.records();
        for seq in [1, 2, 2, 3] {
            let said = Said::Gap { from_seq: seq, to_seq: seq, reason: String::new() };
            records.put_observation("s1", 1, &Record { seq, at: at(0), said }, at(seq as i64)).unwrap();
        }
        assert_eq!(records.observations(), Ok(3));
        assert_eq!(records.forget_observations_before(at(2), 10), Ok(1));
        assert_eq!(records.forget_oldest_observations(1), Ok(1));
        assert_eq!(records.observations(), Ok(1));
    });
}

fn append(records: &dyn Records, verb: &str, subject: &str) -> Tip {
    let text = |part: &str| part.to_owned();
    let row = Text {
        at: at(0).to_string(),
        actor: text("odd"),
        verb: text(verb),
        subject: text(subject),
        reason: text("why"),
        detail: text("{}"),
    };
    let tip = row.after(&records.journal_tip().unwrap());
    records.append_journal(&tip, &row).unwrap();
    tip
}

#[test]
fn the_journal_is_a_chain_and_verbs_of_other_versions_are_readable() {
    engines(|engine| {
        let records = engine.records();
        assert_eq!(records.journal_tip(), Ok(Tip::default()));
        append(records, "gap", "a");
        append(records, "of-another-version", "b");
        let tip = append(records, "revoked", "a");
        assert_eq!((records.journal_tip(), records.verify_journal()), (Ok(tip), Ok(3)));
        let verbs = |rows: Vec<crate::journal::Row>| rows.into_iter().map(|r| r.verb).collect::<Vec<_>>();
        let other = Verb::Other("of-another-version".to_owned());
        assert_eq!(verbs(records.journal_after(0, None, 10).unwrap()), [Verb::Gap, other.clone(), Verb::Revoked]);
        assert_eq!(verbs(records.journal_after(1, Some("a"), 10).unwrap()), [Verb::Revoked]);
        assert_eq!(verbs(records.journal_latest(2).unwrap()), [Verb::Revoked, other]);
    });
}

#[test]
fn a_letter_waits_once_per_step_and_channel_until_it_is_delivered_or_dropped() {
    engines(|engine| {
        let records = engine.records();
        let (one, two) = (matter("one").finding.id, matter("two").finding.id);
        let (step, old) = (Step::Notice(at(0)), Step::Other("digest".to_owned()));
        for step in [&step, &step, &old] {
            records.put_letter(&letter(LetterKind::Notice, &one), step, &Channel::Log, at(0)).unwrap();
        }
        assert_eq!(records.letters_waiting(), Ok(2));
        let due = records.letters_due(at(0), 10).unwrap();
        assert_eq!(due.iter().map(|w| &w.step).collect::<Vec<_>>(), [&step, &old]);
        records.readdress_letters(&one, &two).unwrap();
        records.note_letter(due[0].id, &LetterOutcome::Later(Attempt { number: 1, next: at(60), error: "no".to_owned() })).unwrap();
        records.note_letter(due[1].id, &LetterOutcome::Dropped(Attempt { number: 9, next: at(1), error: String::new() })).unwrap();
        assert_eq!((records.letters_due(at(59), 10).unwrap().len(), records.letters_waiting()), (0, Ok(1)));
        assert_eq!(records.letters_due(at(60), 10).unwrap().first().map(|w| w.attempts), Some(1));
        records.note_letter(due[0].id, &LetterOutcome::Delivered).unwrap();
        records.put_letter(&letter(LetterKind::Notice, &two), &step, &Channel::Log, at(0)).unwrap();
        assert_eq!(records.letters_waiting(), Ok(0), "it was told, under its other name");
        records.forget_letters_before(at(100)).unwrap();
        records.put_letter(&letter(LetterKind::Notice, &two), &step, &Channel::Log, at(0)).unwrap();
        assert_eq!(records.letters_waiting(), Ok(1));
    });
}

#[test]
fn a_job_is_undone_alone_and_a_transaction_as_a_whole() {
    engines(|engine| {
        engine.commit().unwrap();
        engine.begin().unwrap();
        for (name, keep) in [("a", true), ("b", false), ("c", true)] {
            engine.begin_job().unwrap();
            engine.records().put_site(name, &SiteSettings::new(at(0))).unwrap();
            if keep { engine.keep_job().unwrap() } else { engine.undo_job().unwrap() }
        }
        engine.commit().unwrap();
        let names = |engine: &dyn Engine| engine.records().sites().unwrap().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(names(engine), ["a", "c"]);
        engine.begin().unwrap();
        engine.records().put_site("d", &SiteSettings::new(at(0))).unwrap();
        engine.roll_back();
        // Without a transaction there is nothing to do.
        engine.roll_back();
        assert_eq!(names(engine), ["a", "c"]);
        engine.begin().unwrap();
    });
}
