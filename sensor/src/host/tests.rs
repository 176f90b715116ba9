//! A host made of files.

use super::*;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Made {
        let made = Made { dir: tempfile::tempdir().unwrap() };
        made.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n");
        made.file("etc/hosts", "127.0.0.1 localhost\n10.0.0.9 tools.corp # x\n");
        made.file("proc/self/net/route", "Iface\tDestination\neth0\t00000000\n");
        made
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, pid: u32, parent: u32, exe: &str, command: &str, fds: &[(&str, &str)]) {
        let dir = format!("proc/{pid}");
        self.file(&format!("{dir}/status"), &format!("Name:\tx\nPPid:\t{parent}\nUid:\t1000\t1000\t1000\t1000\n"));
        self.file(&format!("{dir}/cmdline"), &command.replace(' ', "\0"));
        self.file(&format!("{dir}/cgroup"), "0::/system.slice/tools.service\n");
        fs::create_dir_all(self.path(&format!("{dir}/fd"))).unwrap();
        symlink(exe, self.path(&format!("{dir}/exe"))).unwrap();
        symlink(self.path("home/alice"), self.path(&format!("{dir}/cwd"))).unwrap();
        for (fd, target) in fds {
            symlink(target, self.path(&format!("{dir}/fd/{fd}"))).unwrap();
        }
    }

    fn listen(&self, rows: &[(&str, u32)]) {
        let row = |(local, inode): &(&str, u32)| format!("0: {local} 00000000:0000 0A 0:0 00:0 0 1000 0 {inode} 1\n");
        self.file("proc/self/net/tcp", &format!("header\n{}", rows.iter().map(row).collect::<String>()));
    }

    fn report(&self) -> HostReport {
        let held = [addresses::InterfaceAddress { interface: "eth0".into(), address: "10.0.0.5".parse().unwrap() }];
        inventory_of(self.dir.path(), &held, Timestamp::UNIX_EPOCH)
    }

    fn lines(&self) -> Vec<String> {
        let line = |e: &Evidence| format!("{} {} {}", e.signature, e.place, e.detail);
        self.report().evidence.iter().map(line).collect()
    }
}

#[test]
fn a_listening_sdk_process_is_told_with_its_owner_and_binding() {
    let made = Made::new();
    made.listen(&[("00000000:0BB9", 4711), ("0100007F:1F40", 4712), ("00000000:0016", 4713)]);
    made.process(
        10,
        1,
        "/usr/bin/node",
        "node /x/node_modules/@modelcontextprotocol/server-everything/dist/index.js --token S",
        &[("3", "socket:[4711]")],
    );
    made.process(11, 1, "/usr/bin/nginx", "nginx", &[("3", "socket:[4712]")]);
    made.file("home/alice/.git/config", "[remote \"origin\"]\nurl = git@git.test:team/tool.git\n");
    let report = made.report();
    let sdk: Vec<_> = report.evidence.iter().filter(|e| e.signature == "host.context.sdk-process").collect();
    assert_eq!(sdk[0].place.to_string(), "10.0.0.5:3001");
    assert!(sdk[0].facts.exposures.contains(&Exposure::WildcardBind));
    let process = sdk[0].facts.process.as_ref().unwrap();
    assert_eq!((process.user.as_str(), process.unit.as_deref(), process.bound.is_unspecified()), ("alice", Some("tools.service"), true));
    assert!(process.command.ends_with("--token ***"));
    let owners: Vec<_> = sdk.iter().filter_map(|e| e.facts.owner.as_ref()).map(|o| o.name.as_str()).collect();
    assert_eq!(owners, ["alice", "tools.service", "git@git.test:team/tool.git"]);
    let others: BTreeSet<_> = made.lines().into_iter().filter(|l| !l.contains("sdk-process")).collect();
    assert_eq!(
        others.into_iter().collect::<Vec<_>>(),
        ["host.context.listener 127.0.0.1:8000 process 11 (nginx) listens on 127.0.0.1:8000"],
        "port 22 is nobody's business"
    );
}

#[test]
fn a_server_on_pipes_is_told_once_for_its_launcher_and_itself() {
    let made = Made::new();
    made.listen(&[]);
    let pipes = [("0", "pipe:[1]"), ("1", "pipe:[2]")];
    made.process(5, 1, "/opt/claude", "claude", &[]);
    made.process(6, 5, "/usr/bin/node", "npm exec @modelcontextprotocol/server-memory", &pipes);
    made.process(7, 6, "/usr/bin/node", "node /x/@modelcontextprotocol/server-memory/dist/index.js", &pipes);
    let lines = made.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("host.context.stdio-process 10.0.0.5:0/stdio/@modelcontextprotocol/server-memory process 6"), "{lines:?}");
    assert!(lines[0].contains("started by claude"));
}

#[test]
fn configurations_of_users_and_their_projects_are_read_without_secrets() {
    let made = Made::new();
    made.listen(&[]);
    made.file(
        "home/alice/.cursor/mcp.json",
        r#"{"mcpServers":{"a":{"url":"http://10.0.0.7:3001/mcp?k=SECRET"},"n":{"url":"https://far.test/mcp"}}}"#,
    );
    made.file("home/alice/.claude.json", r#"{"projects":{"/home/alice/p":{}},"mcpServers":{"t":{"url":"http://tools.corp:8000/sse"}}}"#);
    made.file("home/alice/p/.mcp.json", r#"{"mcpServers":{"fs":{"command":"npx","args":["server-fs","--api-key=SECRET"]}}}"#);
    made.file("home/alice/.gemini/settings.json", "{ not json");
    let report = made.report();
    let text = format!("{report:?}");
    assert!(!text.contains("SECRET"));
    let shown: Vec<String> = report.evidence.iter().map(|e| format!("{} {}", e.signature, e.place)).collect();
    assert_eq!(
        shown,
        [
            "host.context.client-config 10.0.0.9:8000/sse",
            "host.context.client-config 10.0.0.7:3001/mcp",
            "host.context.stdio-config 10.0.0.5:0/stdio/fs"
        ]
    );
    assert_eq!(report.off.len(), 2, "{:?}", report.off);
    assert!(report.off[1].contains("far.test"));
}

#[test]
fn a_host_that_shows_nothing_says_so() {
    let empty = tempfile::tempdir().unwrap();
    let report = inventory_of(empty.path(), &[], Timestamp::UNIX_EPOCH);
    assert_eq!((report.evidence.len(), report.off.len()), (0, 2), "{:?}", report.off);
    let _ = inventory(Timestamp::UNIX_EPOCH);
    assert!(Path::new("/proc").exists());
}
