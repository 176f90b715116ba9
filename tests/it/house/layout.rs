//! What stands where: the top level, a README in every folder, and which executable a unit starts.

use super::root;
use std::{collections::BTreeSet, fs, process::Command};

/// The folders of the top level; beside them stand pages and dot folders alone.
const FOLDERS: [&str; 7] = ["sensor", "collector", "enforcer", "gateway", "rules", "tests", "packaging"];
/// A screen.
const LINES_OF_A_README: usize = 60;

/// Folders of the top level that do not belong there, of these paths.
pub(super) fn strangers<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let folders: BTreeSet<&str> = paths.filter_map(|p| p.split_once('/')).map(|(folder, _)| folder).collect();
    folders.into_iter().filter(|f| !f.starts_with('.') && !FOLDERS.contains(f)).map(str::to_owned).collect()
}

/// The executable that a systemd unit starts.
pub(super) fn started(unit: &str) -> Option<&str> {
    unit.lines().find_map(|l| l.strip_prefix("ExecStart="))?.split_whitespace().next()
}

/// What belongs to the project: tracked files, or, in a copy without its history, all but what is built.
fn files() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output();
    if let Ok(done) = listed
        && done.status.success()
    {
        return String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect();
    }
    let folders = fs::read_dir(root()).unwrap().map(|e| e.unwrap()).filter(|e| e.path().is_dir() && e.file_name() != "target");
    folders.map(|e| format!("{}/", e.file_name().to_string_lossy())).collect()
}

#[test]
fn the_top_level_is_settled() {
    assert_eq!(strangers(files().iter().map(String::as_str)), Vec::<String>::new(), "belongs into one of {FOLDERS:?}");
}

#[test]
fn every_readme_is_a_screen_and_every_folder_has_one() {
    for folder in FOLDERS {
        assert!(root().join(folder).join("README.md").exists(), "{folder} has no README.md");
    }
    for path in files().iter().filter(|p| p.rsplit('/').next() == Some("README.md")) {
        let lines = fs::read_to_string(root().join(path)).unwrap().lines().count();
        assert!((5..=LINES_OF_A_README).contains(&lines), "{path} has {lines} lines; what is looked up belongs into docs/ beside it");
    }
}

/// A unit with a capability starts the small executable of its role, and each executable that a unit names is built and installed.
#[test]
fn units_start_the_audited_executables() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut seen = 0;
    for unit in fs::read_dir(root().join("packaging/systemd")).unwrap().map(|e| e.unwrap().path()) {
        if unit.extension().is_none_or(|e| e != "service") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&unit).unwrap();
        let name = unit.file_stem().unwrap().to_str().unwrap().to_owned();
        let program = started(&text).unwrap_or_else(|| panic!("{name} starts nothing"));
        let privileged = text.lines().any(|l| l.strip_prefix("AmbientCapabilities=").is_some_and(|c| !c.trim().is_empty()));
        let small = ["gnomon-sensor", "gnomon-enforcer"].contains(&name.as_str());
        assert_eq!(privileged, small, "{name}: a capability is for the two small executables alone");
        let expected = if small { format!("/usr/bin/{name}") } else { "/usr/bin/gnomon".to_owned() };
        assert_eq!(program, expected, "{name}");
        let built = program.rsplit('/').next().unwrap();
        assert!(makefile.contains(&format!("-p {built}")), "make build does not build {built}");
    }
    assert_eq!(seen, 5, "a unit came or went: tell this test what it may start");
}
