//! The house's promises about itself, checked by machine: who may need whom, and what never appears where.

mod broken;
mod code;
mod layout;
mod shape;
mod sizes;
mod words;

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROLES: [&str; 4] = ["sensor", "collector", "enforcer", "gateway"];
/// How a role joins, reports and follows: the one crate that roles share beside `rules`.
const SHARED: &str = "collector-client";
/// They see more than one role.
const ROOFS: [&str; 2] = ["gnomon", "tests"];

/// Where bytes from strangers are touched. Each says itself that it cannot panic on them, or its crate says it for all.
const STRANGERS: [&str; 22] = [
    "collector/client/src/connection",
    "sensor/src/decode",
    "sensor/src/flow",
    "sensor/src/dissect",
    "sensor/src/probe",
    "sensor/src/host",
    "collector/src/intake",
    "collector/src/api",
    "collector/src/enrol",
    "gateway/src/authenticate",
    "gateway/src/forward",
    "gateway/src/validate",
    "enforcer/src/intake",
    "enforcer/src/netlink",
    "rules/src/wire/v1/admit",
    "rules/src/wire/v1/signed",
    "rules/src/wire/v1/decisions",
    "sensor/src/reset",
    "sensor/src/capture/file",
    "sensor/src/http1",
    "sensor/src/json",
    "sensor/src/watch",
];
const LINTS: [&str; 4] = ["clippy::unwrap_used", "clippy::expect_used", "clippy::panic", "clippy::indexing_slicing"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let done = Command::new(env!("CARGO")).args(arguments).arg("--offline").current_dir(root()).output().unwrap();
    assert!(done.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Every Rust file below a folder or file of the workspace, with its text.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    assert!(!found.is_empty(), "{below} has moved: tell this test where");
    found
}

/// The text without comments: what is promised there is not done there.
fn code_of(text: &str) -> String {
    text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests")
}

/// Package -> the packages of ours that it needs, also for its own tests.
fn ours() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |p: &Value| p["name"].as_str().unwrap().to_owned();
    let all: BTreeSet<String> = packages.iter().map(name).collect();
    let needs = |p: &Value| p["dependencies"].as_array().unwrap().iter().map(name).filter(|n| all.contains(n)).collect();
    packages.iter().map(|p| (name(p), needs(p))).collect()
}

#[test]
fn roles_know_rules_and_never_each_other() {
    let needs = ours();
    for role in ROLES {
        let mut others = needs[role].clone();
        // The process that may change the firewall opens no connection.
        if role != "enforcer" {
            others.remove(SHARED);
        }
        assert_eq!(others, BTreeSet::from(["rules".to_owned()]), "{role}");
    }
    assert!(needs["rules"].is_empty(), "rules needs {:?}", needs["rules"]);
    assert_eq!(needs[SHARED], BTreeSet::from(["rules".to_owned()]));
    let roles_of = |package: &str| needs[package].iter().filter(|n| ROLES.contains(&n.as_str())).count();
    for package in needs.keys().filter(|p| !ROOFS.contains(&p.as_str())) {
        assert!(roles_of(package) <= 1, "only {ROOFS:?} may know more than one role, not {package}");
    }
}

#[test]
fn the_client_of_the_collector_knows_shapes_and_no_judgement() {
    for (path, text) in sources("collector/client/src").iter().filter(|(p, _)| !is_test(p)) {
        let code = code_of(text);
        // `use rules::{…}` would hide what it brings.
        for named in code.split("rules::").skip(1) {
            assert!(named.starts_with("wire"), "{}: rules::{}", path.display(), named.split([';', '\n']).next().unwrap_or_default());
        }
    }
}

#[test]
fn rules_knows_no_clock_no_io_no_chance_and_no_environment() {
    let never = [
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
        "TcpStream",
        "UdpSocket",
        "tokio",
        "rand::",
        "println!",
        "eprintln!",
    ];
    for (path, text) in sources("rules/src").iter().filter(|(p, _)| !is_test(p)) {
        let code = code_of(text);
        for word in never {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
    let tree = cargo(&["tree", "-p", "rules", "-e", "normal", "--prefix", "none"]);
    for crate_name in ["tokio", "rand", "hyper", "reqwest", "tracing"] {
        assert!(!tree.lines().any(|l| l.split(' ').next() == Some(crate_name)), "rules needs {crate_name}");
    }
}

#[test]
fn the_enforcer_carries_nothing_that_talks_to_the_network() {
    let tree = cargo(&["tree", "-p", "enforcer", "-e", "normal", "--prefix", "none"]);
    let all: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    for name in ["hyper", "reqwest", "axum", "h2", "http", "rustls", "tokio-rustls", "hickory-proto", "httparse", "pcap", "rusqlite"] {
        assert!(!all.contains(name), "the enforcer needs {name}");
    }
    let direct = cargo(&["tree", "-p", "enforcer", "-e", "normal", "--prefix", "none", "--depth", "1"]);
    let mut direct: Vec<&str> = direct.lines().skip(1).filter_map(|l| l.split(' ').next()).collect();
    direct.sort_unstable();
    let known = [
        "caps",
        "ipnet",
        "jiff",
        "landlock",
        "nix",
        "ring",
        "rules",
        "seccompiler",
        "serde",
        "serde_json",
        "thiserror",
        "tokio",
        "tokio-util",
        "tracing",
    ];
    assert_eq!(direct, known, "whoever adds one to the process that may change the firewall says so here");
    // Not a goal in itself; a jump is worth a look at what came in.
    assert!(all.len() < 120, "the enforcer's tree has grown to {} crates", all.len());
}

#[test]
fn rooms_where_strangers_speak_cannot_panic() {
    for room in STRANGERS {
        let own = [format!("{room}.rs"), format!("{room}/mod.rs")];
        let whole = format!("{}/src/lib.rs", room.split("/src/").next().unwrap());
        let says = |path: &String| {
            let text = fs::read_to_string(root().join(path)).unwrap_or_default();
            text.contains("deny(") && LINTS.iter().all(|lint| text.contains(lint))
        };
        assert!(own.iter().any(|p| root().join(p).exists()), "{room} has moved: tell this test where");
        assert!(own.iter().any(says) || says(&whole), "{room} does not deny {LINTS:?}");
    }
}

#[test]
fn no_line_is_unsafe_and_no_package_leaves_the_lints_of_the_house() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let path = package["manifest_path"].as_str().unwrap();
        let manifest = fs::read_to_string(path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path} has no [lints] workspace = true");
    }
    for room in ROLES.iter().chain(&["rules", "packaging", "collector/client"]) {
        for (path, text) in sources(&format!("{room}/src")) {
            assert!(!code_of(&text).contains("allow(unsafe_code"), "{}", path.display());
        }
    }
}

#[test]
fn only_one_crate_does_the_cryptography() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{other}\"")), "{other} came in beside ring");
    }
}

#[test]
fn nothing_goes_to_a_backend_without_a_permit() {
    // Only `rules::access::decide` makes one: its fields are private there.
    let door = code_of(&fs::read_to_string(root().join("gateway/src/forward/mod.rs")).unwrap());
    let asking: Vec<&str> = door.split("pub(crate) async fn ").skip(1).collect();
    assert!(!asking.is_empty(), "the way to a backend has moved: tell this test where");
    for function in asking {
        let signature = function.split('{').next().unwrap_or_default();
        assert!(signature.contains("&Permit"), "reaches a backend without a permit: {signature}");
    }
    for inside in ["mod dial;", "mod pool;"] {
        assert!(door.contains(&format!("\n{inside}")), "`{inside}` must stay private to forward");
    }
    for (path, text) in sources("gateway/src").iter().filter(|(p, _)| !is_test(p) && !p.to_string_lossy().contains("/forward/")) {
        let code = code_of(text);
        let shipped = code.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["TcpStream::connect", "hyper::client", "legacy::Client", "reqwest"] {
            assert!(!shipped.contains(word), "{}: {word} is a second way to a backend", path.display());
        }
    }
}
