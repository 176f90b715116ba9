//! The real servers, and which clients each is to be spoken to by.

use super::rust;
use crate::lab;
use gnomon::demo::{
    stage::{READY_TIMEOUT, Stage, url, v4},
    world::Host,
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Python1,
    Python1Sse,
    Python2,
    TypeScript2,
    Everything,
    EverythingSse,
    Rust,
}

/// One server to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    kind: Kind,
    name: &'static str,
    n: u8,
}

pub(super) const ALL: [Planned; 7] = [
    Planned { kind: Kind::Python1, name: "py1", n: 31 },
    Planned { kind: Kind::Python1Sse, name: "py1sse", n: 32 },
    Planned { kind: Kind::Python2, name: "py2", n: 33 },
    Planned { kind: Kind::TypeScript2, name: "ts2", n: 34 },
    Planned { kind: Kind::Everything, name: "every", n: 35 },
    Planned { kind: Kind::EverythingSse, name: "everysse", n: 36 },
    Planned { kind: Kind::Rust, name: "rmcp", n: 37 },
];

/// One server that listens.
#[derive(Debug)]
pub(super) struct Real {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) n: u8,
    pub(super) port: u16,
    pub(super) path: &'static str,
    /// Part of the name or command line of its process.
    pub(super) program: &'static str,
    pub(super) host: Host,
}

impl Planned {
    pub(super) fn start(&self, stage: &mut Stage) -> Real {
        let host = stage.server(self.name, self.n).unwrap();
        let (path, program) = match self.kind {
            Kind::Python1 => ("/mcp", "server_1.py"),
            Kind::Python1Sse => ("/sse", "server_1.py"),
            Kind::Python2 => ("/mcp", "server_2.py"),
            Kind::TypeScript2 => ("/mcp", "server_2.mjs"),
            Kind::Everything => ("/mcp", "server-everything"),
            Kind::EverythingSse => ("/sse", "server-everything"),
            Kind::Rust => ("/mcp", "rust"),
        };
        // A binary that names no SDK is only noticed by its host where MCP servers usually listen; scripts are wherever they are.
        let port = if self.kind == Kind::Rust { 8000 } else { 8000 + u16::from(self.n) };
        let mut command = self.command(&host, port);
        let process = stage.spawn(&mut command, self.name).unwrap();
        let at = SocketAddr::new(v4(self.n), port);
        if let Err(why) = stage.world.wait_ready(&host, at, process, READY_TIMEOUT) {
            panic!("{}: {why}\n{}", self.name, stage.log(self.name));
        }
        Real { kind: self.kind, name: self.name, n: self.n, port, path, program, host }
    }

    fn command(&self, host: &Host, port: u16) -> Command {
        let (home, port) = (installed(), port.to_string());
        let script = |name: &str| sources().join(name);
        let everything = home.join("typescript/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
        let mut command = match self.kind {
            Kind::Python1 | Kind::Python1Sse => host.command(home.join("python-1.x/bin/python")),
            Kind::Python2 => host.command(home.join("python-2.x/bin/python")),
            Kind::Rust => host.command(std::env::current_exe().unwrap()),
            _ => host.command(home.join("bin/node")),
        };
        match self.kind {
            Kind::Python1 => command.arg(script("server_1.py")).args(["0.0.0.0", &port]),
            Kind::Python1Sse => command.arg(script("server_1.py")).args(["0.0.0.0", &port, "--sse"]),
            Kind::Python2 => command.arg(script("server_2.py")).args(["0.0.0.0", &port]),
            Kind::TypeScript2 => command.arg(home.join("typescript/server_2.mjs")).args(["0.0.0.0", &port]),
            Kind::Everything => command.arg(everything).arg("streamableHttp").env("PORT", &port),
            Kind::EverythingSse => command.arg(everything).arg("sse").env("PORT", &port),
            Kind::Rust => command.args(rust::AS_SERVER).env(rust::PORT, &port),
        };
        command
    }
}

impl Real {
    pub(super) fn url(&self) -> String {
        url(v4(self.n), self.port, self.path)
    }

    /// Command lines of clients that speak this server's eras; the URL and the key follow.
    pub(super) fn clients(&self) -> Vec<Vec<String>> {
        match self.kind {
            Kind::Python1 | Kind::Python1Sse => vec![python(1)],
            Kind::Python2 => vec![python(1), python(2), typescript("2")],
            Kind::TypeScript2 => vec![python(2), typescript("2")],
            Kind::Everything | Kind::EverythingSse => vec![typescript("1")],
            Kind::Rust => vec![python(1), typescript("2")],
        }
    }

    /// A tool that clients call.
    pub(super) fn tool(&self) -> &'static str {
        match self.kind {
            Kind::Everything | Kind::EverythingSse => "echo",
            _ => "find",
        }
    }

    /// The tools that a grant allows, sorted; the third of those that clients call is not among them.
    pub(super) fn granted(&self) -> &'static str {
        match self.kind {
            Kind::Everything | Kind::EverythingSse => "echo,trigger-long-running-operation",
            _ => "count,find",
        }
    }

    /// Whether its tool `count` tells how far it is.
    pub(super) fn counts(&self) -> bool {
        self.kind != Kind::Rust
    }
}

pub(super) fn python(version: u8) -> Vec<String> {
    let home = installed();
    vec![text(&home.join(format!("python-{version}.x/bin/python"))), text(&sources().join(format!("client_{version}.py")))]
}

pub(super) fn typescript(version: &str) -> Vec<String> {
    let home = installed();
    vec![text(&home.join("bin/node")), text(&home.join("typescript/client.mjs")), version.to_owned()]
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

/// Where `tests/servers/install` has put the SDKs; it installs what is missing.
fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        assert!(lab::asked_for());
        let done = Command::new(sources().join("install")).output().unwrap();
        assert!(done.status.success(), "tests/servers/install: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().into()
    })
}
