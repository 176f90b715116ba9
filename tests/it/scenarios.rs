//! Tier 2: every script of `tests/scenarios` says what its file says it says. `UPDATE_EXPECT=1` writes the files anew.

use std::{fs, path::Path};

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    paths.sort();
    assert!(paths.len() > 10, "the scenarios are gone");
    for path in paths {
        let script = fs::read_to_string(&path).unwrap();
        let played = tests::scenario::play(&script);
        assert!(!played.contains("NOT UNDERSTOOD"), "{}:\n{played}", path.display());
        expect_test::expect_file![path].assert_eq(&played);
    }
}

#[test]
fn a_word_that_is_not_understood_says_so() {
    assert!(tests::scenario::play("block everything\n").contains("NOT UNDERSTOOD: `block everything`"));
}
