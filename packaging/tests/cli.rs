//! What the command says and how it ends, as a script would see it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

fn gnomon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon"));
    // Nothing of the machine that runs the test may leak in.
    command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    gnomon(args).output().expect("the command starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file(dir: &Path, name: &str, content: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::File::create(&path).and_then(|mut f| f.write_all(content)).expect("a temporary file");
    path.display().to_string()
}

/// Exit code 2, nothing on standard output, and the three parts of an error.
#[track_caller]
fn refused(output: &Output, what: &str, todo: &str) {
    let error = text(&output.stderr);
    assert_eq!((code(output), text(&output.stdout).as_str()), (2, ""), "{error}");
    assert!(error.starts_with("error: ") && error.contains("\nwhere: ") && error.contains("\n  fix: "), "{error}");
    assert!(error.contains(what) && error.contains(todo), "{error}");
    assert!(!error.contains('\u{1b}'), "colours only on a terminal: {error}");
}

/// The same for a program: one object on standard error.
#[track_caller]
fn refused_in_json(output: &Output, what: &str, fix: &str) {
    let error = text(&output.stderr);
    assert_eq!((code(output), text(&output.stdout).as_str(), error.lines().count()), (2, "", 1), "{error}");
    let object: serde_json::Value = serde_json::from_str(&error).expect("an object");
    assert!(object["error"].as_str().unwrap().contains(what) && object["fix"].as_str().unwrap().contains(fix), "{error}");
    assert!(object["where"].is_string() && object["exit"] == 2, "{error}");
}

#[test]
fn wrong_usage_is_an_object_too_where_json_is_asked_for() {
    refused_in_json(&run(&["servers", "--nope", "--json"]), "unexpected argument '--nope' found", "Usage: gnomon servers");
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let output = run(&["--help"]);
    let help = text(&output.stdout);
    assert_eq!(code(&output), 0);
    let commands = [
        "up",
        "demo",
        "sensor",
        "collector",
        "enforcer",
        "courier",
        "gateway",
        "watch",
        "scan",
        "inventory",
        "servers",
        "findings",
        "registry",
        "enforce",
        "explain",
        "keys",
        "sensors",
        "tokens",
        "doctor",
        "config",
    ];
    for command in commands {
        assert!(help.lines().any(|l| l.split_whitespace().next() == Some(command)), "{command} is missing:\n{help}");
    }
    for part in ["Exit codes:", "--json", "--data"] {
        assert!(help.contains(part), "{part} is missing:\n{help}");
    }
}

#[test]
fn every_command_has_help_with_an_example_or_needs_none() {
    fn walk(command: &clap::Command, path: &[String]) {
        for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let path = [path, &[sub.get_name().to_owned()]].concat();
            assert!(sub.get_about().is_some(), "`gnomon {}` has no description", path.join(" "));
            walk(sub, &path);
        }
    }
    walk(&gnomon::cli::tree(), &[]);
}

#[test]
fn a_slip_in_a_command_is_answered_with_the_nearest_one_and_code_2() {
    let output = run(&["doctr"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("'doctor'"), "{}", text(&output.stderr));
    assert_eq!(code(&run(&[])), 2);
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "gnomon.toml", b"[policy]\n\ngraze = \"3d\"\n");
    refused(&run(&["config", "check", &config]), "gnomon.toml:3:1: unknown key `graze`", "did you mean `grace`?");
    refused(&run(&["config", "check", "/nowhere/gnomon.toml"]), "cannot read /nowhere/gnomon.toml", "check the path");
}

#[test]
fn a_configuration_cannot_write_to_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "gnomon.toml", b"[\"\\u001b[2Jpolicy\"]\n");
    refused(&run(&["config", "check", &config]), "unknown key", "");
}

#[test]
fn doctor_prints_one_object_per_line() {
    let output = run(&["doctor", "demo", "--json"]);
    let lines = text(&output.stdout);
    assert!(lines.lines().count() > 5, "{lines}");
    for line in lines.lines() {
        let object = serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
        assert!(object["name"].is_string() && object["state"].is_string(), "{line}");
    }
}

#[test]
fn doctor_says_what_to_do_about_a_data_directory_that_cannot_be_used_and_exits_1() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = file(dir.path(), "occupied", b"");
    let output = run(&["doctor", "collector", "--json", "--data", &blocked]);
    let lines = text(&output.stdout);
    let line = lines.lines().find(|l| l.contains("data directory")).expect("a line about it");
    assert_eq!(code(&output), 1);
    assert!(line.contains("is not a directory") && line.contains("--data DIR"), "{line}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = gnomon(&["doctor", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr).as_str()), (0, ""));
}

#[test]
fn a_malformed_capture_is_the_files_fault_and_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in
        [("empty.pcap", b"".as_slice()), ("cut.pcap", b"\xd4\xc3\xb2\xa1\x02\x00"), ("text.pcap", b"hello, not a capture at all ....")]
    {
        let path = file(dir.path(), name, content);
        refused(&run(&["watch", "--pcap", &path]), name, "pcap or pcapng");
        refused_in_json(&run(&["watch", "--json", "--pcap", &path]), name, "pcap or pcapng");
    }
    refused(&run(&["watch", "--pcap", "/nowhere/x.pcap"]), "/nowhere/x.pcap", "");
}

#[test]
fn a_sites_packs_weigh_in_a_watch_and_a_broken_one_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let packs = dir.path().display().to_string();
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces/pos-py2-modern.pcap");
    let signatures = rules::pack::Pack::shipped();
    let mut weak = String::from("marks:\n");
    for signature in signatures.iter().filter(|m| m.id.starts_with("wire.") && m.strength != rules::pack::Strength::Against) {
        weak.push_str(&format!("  - id: {}\n    strength: weak\n", signature.id));
    }
    file(dir.path(), "10-site.yaml", weak.as_bytes());
    assert_eq!(code(&run(&["watch", "--pcap", capture])), 1);
    assert_eq!(code(&run(&["watch", "--pcap", capture, "--packs", &packs])), 0, "nothing weighs enough here");
    let config = file(dir.path(), "gnomon.toml", format!("[collector]\npacks = {packs:?}\n").as_bytes());
    let doctor = || text(&run(&["doctor", "collector", "--json", "--config", &config]).stdout);
    let said = doctor();
    assert!(said.contains("10-site.yaml from") && said.contains(&rules::pack::Pack::shipped_digest()), "{said}");

    file(dir.path(), "20-broken.yaml", b"marks:\n- id: wire.server.meta\n  strenght: weak\n");
    refused(
        &run(&["watch", "--pcap", capture, "--packs", &packs]),
        "20-broken.yaml:3:3: unknown key `strenght`",
        "names the packs in force",
    );
    refused(&run(&["scan", "127.0.0.1", "--ports", "9", "--packs", &packs]), "20-broken.yaml:3:3", "names the packs in force");
    let said = doctor();
    assert!(said.contains("refused: ") && said.contains("20-broken.yaml:3:3"), "{said}");
}

#[test]
fn a_scan_asks_nobody_that_it_may_not() {
    refused(&run(&["scan", "8.8.8.8"]), "8.8.8.8", "--help");
    for bad in [&["scan"][..], &["scan", "127.0.0.1", "--ports", "0"], &["scan", "127.0.0.1", "--ports", "9-1"]] {
        assert_eq!(code(&run(bad)), 2, "{bad:?}");
    }
}

#[test]
fn a_scan_of_a_closed_port_finds_nothing_and_says_so() {
    // Bound and dropped: nothing listens there now.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).unwrap().port().to_string();
    let output = run(&["scan", "127.0.0.1", "--ports", &port]);
    assert_eq!((code(&output), text(&output.stdout).as_str()), (0, "no MCP server seen\n"), "{}", text(&output.stderr));
    assert_eq!(text(&run(&["scan", "127.0.0.1", "--ports", &port, "--json"]).stdout), "");
}

#[test]
fn without_a_collector_each_command_says_so_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    refused(&run(&["servers", "--data", &data]), "admin.token", "--data DIR");
    // Bound and dropped: nobody answers there.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).unwrap().port();
    let api = format!("http://127.0.0.1:{port}");
    for args in [&["servers"][..], &["findings"], &["registry", "list"], &["keys", "list"], &["sensors"], &["explain", "10.0.0.5"]] {
        let output = run(&[args, &["--api", &api, "--token", "x"]].concat());
        refused(&output, "no collector answers", "gnomon up");
    }
}

#[test]
fn the_printed_defaults_are_a_good_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "gnomon.toml", &run(&["config", "defaults"]).stdout);
    assert_eq!(text(&run(&["config", "check", &config]).stdout), format!("{config} is good\n"));
}

#[test]
fn wrong_usage_has_the_shape_of_every_error() {
    refused(&run(&["servers", "--nope"]), "unexpected argument '--nope' found", "Usage: gnomon servers");
    refused(&run(&["findngs"]), "unrecognized subcommand 'findngs'", "findings");
    refused(&run(&["findings", "show", "F-xyz"]), "F-xyz", "--help");
    refused(&run(&["policy", "set"]), "required arguments were not provided", "Usage: gnomon policy set");
    refused(&run(&["up", "--new-site", "--new-keys"]), "cannot be used with", "Usage: gnomon up");
}

#[test]
fn config_speaks_json_where_it_is_asked_to() {
    let output = run(&["config", "defaults", "--json"]);
    let defaults: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &defaults["collector"]["policy"]["mode"]), (0, &serde_json::json!("soft")));
}

/// In an emergency nobody should have to find out which options a stop tolerates.
#[test]
fn a_scan_is_stopped_whatever_else_is_set() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().to_str().expect("a path in UTF-8");
    for (stop, says) in [("--stop", "stopped"), ("--go", "may run")] {
        let by_flag = run(&["scan", stop, "--data", data]);
        let by_environment = gnomon(&["scan", stop])
            .env("GNOMON_DATA", data)
            .env("GNOMON_CONTACT", "sec@corp.example")
            .output()
            .expect("the command starts");
        for said in [by_flag, by_environment] {
            assert_eq!(code(&said), 0, "{}", text(&said.stderr));
            assert!(text(&[said.stdout, said.stderr].concat()).contains(says));
        }
    }
    refused(&run(&["scan", "--stop", "--go", "--data", data]), "cannot be used with", "Usage");
}

#[test]
fn who_an_enforcer_was_told_to_trust_is_known_to_the_commands_beside_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (data, sets) = (dir.path().join("data"), dir.path().join("set.json"));
    let key = format!("{}=", "A".repeat(43));
    let arguments = ["enforcer", "--data", data.to_str().unwrap(), "--sets", sets.to_str().unwrap(), "--trust", &key];
    let mut enforcer = gnomon(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    let kept = data.join("decisions.pub");
    let known = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::read_to_string(&kept).ok()
    });
    let removed = run(&["enforce", "remove", "--data", data.to_str().unwrap()]);
    drop(enforcer.kill());
    drop(enforcer.wait());
    refused(&removed, "still enforces", "stop it first");
    assert_eq!(known, Some(format!("{key}\n")), "`gnomon enforce` is not given --trust, and has to find it");
}
