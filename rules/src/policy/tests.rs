use super::*;
use serde_json::{Value, json};

/// A policy as an earlier release stored it.
const STORED: &str = r#"{"mode":"hard","grace":"7d","reminders":["3d","1d"],"hard_from":"2026-12-24T00:00:00Z","soft_phase":"0s","gone_after":"14d","gone_confirmed_after":"1d","escalate_after":"3d","max_snooze":"14d","max_exemption":"180d","blind_after":"15m","max_loss_percent":2,"expected":["10.0.0.0/8"],"client_certificates":true,"agents":["10.9.0.0/16"],"naming":{"convention":["mcp-*.svc.example"]},"protected":["10.0.0.0/24"],"lease":"15m","validity":"7d","max_new_blocks":5,"waves":[1,10],"wave_hold":"10m","point_silence":"5m","coverage_patience":"10m","groups":[{"servers":["10.3.0.0/16"],"kinds":["shadow"],"points":["edge"]}],"corroboration":"sensor"}"#;

#[test]
fn a_stored_policy_is_read_and_written_as_it_was() {
    let policy: Policy = serde_json::from_str(STORED).unwrap();
    assert_eq!((policy.grace.period, policy.blocking.max_new_blocks), (Period::days(7), 5));
    assert_eq!((policy.blocking.corroboration, policy.sensing.max_loss_percent), (Corroboration::Sensor, 2));
    assert_eq!(serde_json::to_string(&policy).unwrap(), STORED);
}

#[test]
fn a_missing_key_has_its_default_and_every_key_is_written() {
    assert_eq!(serde_json::from_value::<Policy>(json!({})).unwrap(), Policy::default());
    let Value::Object(keys) = serde_json::to_value(Policy::default()).unwrap() else { panic!("a table") };
    assert_eq!(keys.len(), 26);
    assert!(keys.values().all(|v| !v.is_object() || v.get("convention").is_some()), "one flat table");
}

#[test]
fn an_unknown_key_is_refused_and_the_known_ones_are_named() {
    let error = |text: Value| serde_json::from_value::<Policy>(text).unwrap_err().to_string();
    let said = error(json!({"graces": "3d"}));
    assert!(said.starts_with("unknown field `graces`, expected one of `mode`, `grace`, "), "{said}");
    assert!(error(json!({"presence": {}})).starts_with("unknown field `presence`"), "the parts are no keys");
    assert!(error(json!({"naming": {"conventions": []}})).contains("conventions"));
}

#[test]
fn the_first_group_that_matches_a_server_chooses_the_points() {
    let policy: Policy = serde_json::from_str(STORED).unwrap();
    let points = |at: &str, kind| policy.points_for(at.parse().unwrap(), kind);
    assert_eq!(points("10.3.0.1:80", FindingKind::Shadow), ["edge"]);
    assert_eq!(points("10.3.0.1:80", FindingKind::Exposed), [""; 0]);
    assert_eq!(points("10.4.0.1:80", FindingKind::Shadow), [""; 0]);
}
