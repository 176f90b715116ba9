//! `gnomon up` as a child process: starts, answers, ends when asked, forgets nothing, and tolerates no second one.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

fn gnomon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon"));
    command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

/// A running `gnomon up --json` on free ports; killed when dropped.
struct Up {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The first line: what was started, and where.
    started: Value,
}

impl Up {
    fn start(data: &Path) -> Up {
        Up::spawn(gnomon(&arguments(data)))
    }

    fn spawn(mut command: Command) -> Up {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Ok(started) = serde_json::from_str(&line) else {
            let mut why = String::new();
            drop(child.stderr.take().unwrap().read_to_string(&mut why));
            panic!("it did not start: {line}{why}");
        };
        Up { child, out, started }
    }

    fn ask(&self, args: &[&str], data: &Path) -> Output {
        let api = self.started["admin"].as_str().unwrap();
        gnomon(args).env("GNOMON_API", api).env("GNOMON_DATA", data).output().unwrap()
    }

    /// Ctrl-C. Gives the exit code and the last line; a role that did not end in its time is in both.
    fn end(mut self) -> (i32, String) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, rest.lines().last().unwrap_or_default().to_owned())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn arguments(data: &Path) -> [&str; 8] {
    ["up", "--json", "--data", data.to_str().unwrap(), "--admin", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn it_starts_answers_ends_cleanly_and_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("state");
    let up = Up::start(&data);
    let add =
        ["registry", "add", "--slug", "files", "--owner", "ada", "--contact", "ada@corp.example", "--url", "http://192.0.2.7:3001/mcp"];
    let added = up.ask(&add, &data);
    assert_eq!(added.status.code(), Some(0), "{}", said(&added));
    let (code, last) = up.end();
    assert_eq!(code, 0, "{last}");
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["event"], "ended", "{last}");

    let again = Up::start(&data);
    let shown = again.ask(&["registry", "list", "--json"], &data);
    assert!(said(&shown).contains("\"slug\":\"files\""), "{}", said(&shown));
    assert_eq!(again.end().0, 0);
}

#[test]
fn a_second_one_on_the_same_directory_is_refused_and_told_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path());
    let second = gnomon(&arguments(dir.path())).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(said(&second).contains(&format!("process {}", up.child.id())), "{}", said(&second));
}

#[test]
fn a_busy_port_is_named_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    for flag in ["--admin", "--gateway"] {
        let mut args = arguments(dir.path()).to_vec();
        let at = args.iter().position(|a| *a == flag).unwrap();
        args[at + 1] = &busy;
        let refused = gnomon(&args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(&busy) && said(&refused).contains("ss -ltnp"), "{}", said(&refused));
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let refused = gnomon(&arguments(&file.join("state"))).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("--data DIR"), "{}", said(&refused));
}

#[test]
fn killed_at_any_moment_it_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut up = Up::start(dir.path());
        up.child.kill().unwrap();
    }
    assert_eq!(Up::start(dir.path()).end().0, 0);
}

/// The capture threads of quiet interfaces sleep in the kernel: a shutdown that comes while they start must find each of them.
#[test]
fn asked_to_end_while_it_starts_it_ends_every_time() {
    let ended = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..5).map(|_| Up::start(tempfile::tempdir().unwrap().path()).end()).collect::<Vec<_>>()))
            .collect();
        crowd.into_iter().flat_map(|c| c.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(ended.iter().all(|(code, _)| *code == 0), "{ended:?}");
}

#[test]
fn with_every_source_off_it_still_runs() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gnomon.toml");
    std::fs::write(&config, "[sensor.capture]\nenabled = false\n[sensor.host]\nenabled = false\n").unwrap();
    let data = dir.path().join("state");
    let mut command = gnomon(&arguments(&data));
    let mut up = Up::spawn({
        command.arg("--config").arg(&config);
        command
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(up.child.try_wait().unwrap(), None, "it ended by itself");
    assert_eq!(up.ask(&["servers"], &data).status.code(), Some(0));
    let (code, last) = up.end();
    assert_eq!((code, serde_json::from_str::<Value>(&last).unwrap()["event"].clone()), (0, "ended".into()), "{last}");
}

#[test]
fn without_privileges_it_says_what_is_off_and_runs_the_rest() {
    if !nix::unistd::Uid::effective().is_root() {
        // Then every other test here is this one.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("state");
    std::fs::create_dir(&data).unwrap();
    for path in [dir.path(), &data] {
        nix::unistd::chown(path, Some(65534.into()), Some(65534.into())).unwrap();
    }
    // The command itself, where somebody without privileges can reach it.
    let program = dir.path().join("gnomon");
    std::fs::copy(env!("CARGO_BIN_EXE_gnomon"), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]).arg(&program).args(arguments(&data));
    let up = Up::spawn(command);
    let parts = up.started["parts"].as_array().unwrap();
    let wire = parts.iter().find(|p| p["part"] == "wire").unwrap();
    assert_eq!(wire["on"], false, "{wire}");
    assert!(wire["says"].as_str().unwrap().contains("CAP_NET_RAW"), "{wire}");
    assert_eq!(up.ask(&["servers"], &data).status.code(), Some(0));
    assert_eq!(up.end().0, 0);
}
