//! The executable with the arguments of its systemd unit, below a directory of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

const UNIT: &str = include_str!("../../systemd/gnomon-sensor.service");

/// The unit's command line, with every path below `root`.
fn unit(root: &Path) -> Command {
    let line = UNIT.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/bin/gnomon-sensor ")).expect("ExecStart");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-sensor"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    for word in line.split_whitespace() {
        command.arg(if word.starts_with('/') { format!("{}{word}", root.display()) } else { word.to_owned() });
    }
    command
}

fn with_settings(text: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/gnomon")).unwrap();
    fs::write(root.path().join("etc/gnomon/gnomon.toml"), text).unwrap();
    root
}

fn refused(output: &Output, what: &str, fix: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.starts_with("error: ") && error.contains("\nwhere: ") && error.contains(what) && error.contains(fix), "{error}");
}

#[test]
fn without_an_identity_it_says_how_to_join() {
    let root = with_settings("[enforcer]\nconfine = false\n");
    refused(&unit(root.path()).output().unwrap(), "holds no identity", "--collector URL --token TOKEN");
}

/// The unit's environment file gives both.
#[test]
fn it_joins_by_what_its_environment_says() {
    let root = with_settings("");
    let join =
        |token: &str| unit(root.path()).env("GNOMON_COLLECTOR", "https://127.0.0.1:9").env("GNOMON_JOIN_TOKEN", token).output().unwrap();
    refused(&join("nonsense"), "token", "copy the whole token");
}

#[test]
fn a_misspelt_key_is_refused() {
    let root = with_settings("[sensor.capture]\nenabledd = true\n");
    refused(&unit(root.path()).output().unwrap(), "gnomon.toml:2:1: unknown key `enabledd`", "did you mean `enabled`?");
}

#[test]
fn an_error_is_an_object_where_json_is_asked_for() {
    let root = with_settings("");
    let output = unit(root.path()).arg("--json").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.starts_with("{\"error\":") && error.contains("\"where\":\"this command line\"") && error.contains("\"exit\":2"),
        "{error}"
    );
}
