//! The executable with the arguments of its systemd unit, below a directory of its own.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

const UNIT: &str = include_str!("../../systemd/gnomon-enforcer.service");

/// The unit's command line, with every path below `root`.
fn unit(root: &Path) -> Command {
    let line = UNIT.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/bin/gnomon-enforcer ")).expect("ExecStart");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-enforcer"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    for word in line.split_whitespace() {
        command.arg(if word.starts_with('/') { format!("{}{word}", root.display()) } else { word.to_owned() });
    }
    command
}

fn with_settings(text: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["etc/gnomon", "run/gnomon"] {
        fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    fs::write(root.path().join("etc/gnomon/gnomon.toml"), text).unwrap();
    root
}

fn refused(output: &Output, what: &str, fix: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.starts_with("error: ") && error.contains("\nwhere: ") && error.contains(what) && error.contains(fix), "{error}");
}

#[test]
fn it_starts_as_its_unit_starts_it_and_ends_when_asked() {
    let root = with_settings(&format!("[collector]\nsite = \"hq\"\n[enforcer]\ntrusted_keys = [\"{}=\"]\n", "A".repeat(43)));
    let mut child = unit(root.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("enforcer: dry run of the sets in ") && line.contains("/run/gnomon/set.json"), "{line}");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let data = root.path().join("var/lib/gnomon-enforcer");
    assert_eq!(fs::read_to_string(data.join("decisions.pub")).unwrap(), format!("{}=\n", "A".repeat(43)));
}

#[test]
fn a_misspelt_key_and_a_missing_one_are_refused() {
    let misspelt = with_settings("[enforcer]\ntrusted_key = []\n");
    refused(&unit(misspelt.path()).output().unwrap(), "gnomon.toml:2:1: unknown key `trusted_key`", "did you mean `trusted_keys`?");
    let without = with_settings("");
    refused(&unit(without.path()).output().unwrap(), "trusts nobody", "--trust KEY");
    refused(&unit(without.path()).arg("--nope").output().unwrap(), "unexpected argument '--nope'", "Usage: gnomon-enforcer");
}

#[test]
fn an_error_is_an_object_where_json_is_asked_for() {
    let root = with_settings("");
    let output = unit(root.path()).arg("--json").output().unwrap();
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((error["exit"].as_u64(), error["where"].as_str()), (Some(2), Some("this command line")), "{error}");
}
