//! The shape of the code: no circles, small files, short functions, few fields, one place for SQL, chosen words.

use super::{
    code::{Krate, circles},
    is_test, root, sizes, sources, words,
};
use std::{collections::BTreeMap, path::Path};

/// Every crate of the product, by the folder of its manifest.
const CRATES: [&str; 7] = ["rules", "sensor", "collector", "collector/client", "enforcer", "gateway", "packaging"];

const LINES_OF_A_FUNCTION: usize = 60;
const FIELDS_OF_A_STATE: usize = 15;
const MEDIAN_FILE: usize = 140;
const NINE_IN_TEN_FILES: usize = 300;

/// Findings that are known and still stand; whoever mends one lowers the number.
const KNOWN_CIRCLES: usize = 4;
const KNOWN_SIZES: usize = 4;
const KNOWN_SQL: usize = 0;
const KNOWN_DEBUG: usize = 33;

fn at_most(known: usize, found: &[String]) {
    assert!(found.len() <= known, "{} findings, {known} known:\n{}", found.len(), found.join("\n"));
}

fn krates() -> BTreeMap<&'static str, Krate> {
    CRATES.iter().map(|c| (*c, Krate::read(&root().join(c).join("src/lib.rs")))).collect()
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn no_files_need_each_other_in_a_circle() {
    let mut found = Vec::new();
    for (name, krate) in krates() {
        for ring in circles(&krate) {
            found.push(format!("{name}: {} files in a circle\n    {}", ring.len(), ring.join("\n    ")));
        }
    }
    at_most(KNOWN_CIRCLES, &found);
}

#[test]
fn functions_are_under_a_screen_and_states_have_few_fields() {
    let mut found = Vec::new();
    for krate in krates().values() {
        for module in krate.modules.values() {
            let long = sizes::functions(&module.syntax).into_iter().filter(|f| f.lines > LINES_OF_A_FUNCTION);
            found.extend(long.map(|f| format!("{}: {} has {} lines", short(&module.file), f.name, f.lines)));
        }
        found.extend(sizes::laden(krate, FIELDS_OF_A_STATE).into_iter().map(|s| s.replace(&format!("{}/", root().display()), "")));
    }
    at_most(KNOWN_SIZES, &found);
}

#[test]
fn files_are_small() {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for room in CRATES.iter().chain(&["tests/it", "tests/src"]) {
        let below = if room.starts_with("tests") { (*room).to_owned() } else { format!("{room}/src") };
        lines.extend(sources(&below).into_iter().map(|(path, text)| (text.lines().count(), short(&path))));
    }
    lines.sort();
    let at = |share: usize| &lines[lines.len() * share / 100];
    assert!(at(50).0 <= MEDIAN_FILE, "the median file has {} lines", at(50).0);
    let long: Vec<String> = lines.iter().rev().take(lines.len() / 10).map(|(n, f)| format!("{n} {f}")).collect();
    assert!(at(90).0 <= NINE_IN_TEN_FILES, "nine in ten files have up to {} lines; the others:\n{}", at(90).0, long.join("\n"));
}

#[test]
fn only_the_store_speaks_sql() {
    let signatures = ["rusqlite", "SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "PRAGMA ", "SAVEPOINT"];
    let mut found = Vec::new();
    for room in CRATES {
        for (path, text) in sources(&format!("{room}/src")) {
            if short(&path).starts_with("collector/src/store") || is_test(&path) {
                continue;
            }
            let code = super::code_of(&text);
            let said: Vec<&str> = signatures.into_iter().filter(|signature| code.contains(signature)).collect();
            if !said.is_empty() {
                found.push(format!("{}: {}", short(&path), said.join(", ")));
            }
        }
    }
    at_most(KNOWN_SQL, &found);
}

#[test]
fn no_user_reads_the_debug_format() {
    let mut found = Vec::new();
    for krate in krates().values() {
        for module in krate.modules.values() {
            let said = words::debug_for_users(&module.syntax);
            found.extend(said.into_iter().map(|(line, text)| format!("{}:{line}: {text}", short(&module.file))));
        }
    }
    at_most(KNOWN_DEBUG, &found);
}
