//! Is this process an MCP server? By its command line, its main script, or the words in its executable.
//!
//! What only has an SDK installed beside it (a client, a notebook) is not named: it has to run it.

use super::proc::Raw;
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// Words in an argument that name an MCP server or bridge.
const PROGRAMS: [&str; 18] = [
    "@modelcontextprotocol/",
    "mcp-server",
    "mcp_server",
    "server-everything",
    "supergateway",
    "mcp-proxy",
    "mcp_proxy",
    "fastmcp",
    "mcp-remote",
    "@playwright/mcp",
    "fastapi_mcp",
    "mcp-gateway",
    "mcpo",
    "mcp-framework",
    "/mcp/cli.js",
    "-mcp-server",
    "mcp-grafana",
    "context7-mcp",
];
/// Imports in a main script.
const IMPORTS: [&str; 9] = [
    "from mcp.",
    "from mcp import",
    "import mcp\n",
    "from fastmcp",
    "import fastmcp",
    "fastapi_mcp",
    "@modelcontextprotocol/",
    "mcp_server=True",
    "from 'mcp-framework'",
];
/// Strings only an MCP implementation has, all needed.
const COMPILED: [&[u8]; 2] = [b"notifications/initialized", b"resources/templates/list"];

const MAX_SCRIPT: u64 = 256 << 10;
const MAX_EXECUTABLE: u64 = 48 << 20;

/// Why it is one, in a few words; `None` when nothing says so. Reads at most the main script or the executable.
pub(super) fn recognise(process: &Raw) -> Option<String> {
    if let Some(word) = named(&process.arguments) {
        return Some(format!("its command line names {word}"));
    }
    if let Some(script) = main_script(process) {
        let import = imported(&bounded(&script, MAX_SCRIPT)?)?;
        return Some(format!("{} has `{}`", script.file_name()?.to_string_lossy(), import.trim()));
    }
    let own = Path::new(&process.executable);
    if is_ours_to_read(own) && has_all(&bounded(own, MAX_EXECUTABLE)?, &COMPILED) {
        return Some("its executable has MCP's method names".to_owned());
    }
    None
}

/// The MCP program a command line names: `@modelcontextprotocol/server-memory`, `mcp-proxy`. Options' values do not count.
pub(super) fn named(arguments: &[String]) -> Option<String> {
    let mut plain = arguments.iter().filter(|a| !a.starts_with('-') && !a.contains("://")).take(4);
    let argument = plain.find(|a| PROGRAMS.iter().any(|p| a.contains(p)))?;
    let package = argument.rsplit_once("node_modules/").map(|(_, package)| package).filter(|p| !p.starts_with(".bin/"));
    let scope = package.or(Some(argument)).filter(|p| p.starts_with('@'));
    let name = match (scope, package) {
        (Some(scoped), _) => scoped.splitn(3, '/').take(2).collect::<Vec<_>>().join("/"),
        (None, Some(package)) => package.split('/').next().unwrap_or_default().to_owned(),
        (None, None) => argument.rsplit('/').next().unwrap_or_default().to_owned(),
    };
    Some(rules::printable::printable(&name, 80))
}

fn imported(script: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(script);
    IMPORTS.iter().find(|i| text.contains(**i)).copied()
}

/// The script an interpreter runs.
fn main_script(process: &Raw) -> Option<PathBuf> {
    let program = Path::new(&process.executable).file_name()?.to_string_lossy().into_owned();
    let interpreter = ["python", "node", "deno", "bun", "ruby", "tsx"].iter().any(|i| program.starts_with(i));
    let script = process.arguments.iter().skip(1).find(|a| !a.starts_with('-'))?;
    let is_script = [".py", ".js", ".mjs", ".cjs", ".ts"].iter().any(|e| script.ends_with(e)) || script.contains("/bin/");
    (interpreter && is_script).then(|| process.directory.join(script))
}

/// Packaged executables are known to their package; what people build themselves lies elsewhere.
fn is_ours_to_read(path: &Path) -> bool {
    let system = ["/usr/bin", "/usr/sbin", "/usr/lib", "/bin", "/sbin", "/lib", "/snap", "/nix"];
    path.is_absolute() && !system.iter().any(|s| path.starts_with(s))
}

fn bounded(path: &Path, max: u64) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > max {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn has_all(bytes: &[u8], needles: &[&[u8]]) -> bool {
    needles.iter().all(|needle| {
        let first = needle.first().copied().unwrap_or_default();
        bytes.iter().enumerate().any(|(at, b)| *b == first && bytes.get(at..at + needle.len()) == Some(*needle))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_in(line: &str) -> Option<String> {
        named(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn programs_are_known_by_name_and_mentions_are_not() {
        assert_eq!(
            named_in("node /x/node_modules/@modelcontextprotocol/server-everything/dist/index.js sse").as_deref(),
            Some("@modelcontextprotocol/server-everything")
        );
        assert_eq!(named_in("/v/bin/python /v/bin/mcp-proxy --port 8096").as_deref(), Some("mcp-proxy"));
        assert_eq!(named_in("nginx -c /etc/mcp.conf"), None);
        assert_eq!(named_in("curl https://h.test/mcp-server"), None);
        assert_eq!(named_in("grep --regexp=fastmcp ."), None);
    }

    #[test]
    fn a_script_that_imports_an_sdk_is_a_server_and_one_beside_an_sdk_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.py"), "import os\nfrom mcp.server.fastmcp import FastMCP\n").unwrap();
        fs::write(dir.path().join("b.py"), "import os\nprint('mcp')\n").unwrap();
        let run = |script: &str| {
            let arguments = vec!["python".to_owned(), script.to_owned()];
            recognise(&Raw { arguments, executable: "/usr/bin/python3.11".into(), directory: dir.path().into(), ..Raw::default() })
        };
        assert_eq!(run("a.py").as_deref(), Some("a.py has `from mcp.`"));
        assert_eq!(run("b.py"), None);
        assert_eq!(run("missing.py"), None);
    }

    #[test]
    fn a_compiled_server_is_known_by_its_method_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        fs::write(&path, b"\x7fELF..notifications/initialized..resources/templates/list..").unwrap();
        let raw = Raw { executable: path.to_string_lossy().into_owned(), arguments: vec!["tool".into()], ..Raw::default() };
        assert!(recognise(&raw).is_some());
        fs::write(&path, b"\x7fELF..notifications/initialized..").unwrap();
        assert_eq!(recognise(&raw), None);
    }
}
