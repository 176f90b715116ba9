//! Which MCP servers the clients of this host's users are configured to use. Parsing is pure; secrets are never kept.

use jsonc_parser::ParseOptions;
use rules::printable::printable;
use serde_json::{Map, Value};

/// A configuration file, relative to a home directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigFile {
    pub(super) path: &'static str,
    pub(super) client: &'static str,
}

const fn known(client: &'static str, path: &'static str) -> ConfigFile {
    ConfigFile { path, client }
}

/// Where MCP clients keep their servers on Linux.
pub(super) const KNOWN: [ConfigFile; 30] = [
    known("claude-desktop", ".config/Claude/claude_desktop_config.json"),
    known("claude-desktop", ".config/claude/claude_desktop_config.json"),
    known("claude-desktop", ".config/claude-desktop/claude_desktop_config.json"),
    known("claude-code", ".claude.json"),
    known("claude-code", ".mcp.json"),
    known("cursor", ".cursor/mcp.json"),
    known("vscode", ".config/Code/User/mcp.json"),
    known("vscode", ".config/Code/User/settings.json"),
    known("vscode-insiders", ".config/Code - Insiders/User/mcp.json"),
    known("vscode-server", ".vscode-server/data/User/mcp.json"),
    known("copilot-cli", ".copilot/mcp-config.json"),
    known("windsurf", ".codeium/windsurf/mcp_config.json"),
    known("windsurf", ".codeium/mcp_config.json"),
    known("zed", ".config/zed/settings.json"),
    known("codex", ".codex/config.toml"),
    known("gemini-cli", ".gemini/settings.json"),
    known("antigravity", ".gemini/antigravity/mcp_config.json"),
    known("cline", ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
    known("roo-code", ".config/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json"),
    known("junie", ".junie/mcp/mcp.json"),
    known("kiro", ".kiro/settings/mcp.json"),
    known("amazon-q", ".aws/amazonq/mcp.json"),
    known("lm-studio", ".lmstudio/mcp.json"),
    known("opencode", ".config/opencode/opencode.json"),
    known("crush", ".config/crush/crush.json"),
    known("amp", ".config/amp/settings.json"),
    known("trae", ".config/Trae/User/mcp.json"),
    known("kimi-cli", ".kimi/mcp.json"),
    known("factory", ".factory/mcp.json"),
    known("mistral-vibe", ".vibe/config.toml"),
];

/// Configurations beside a project, relative to its directory.
pub(super) const IN_PROJECTS: [ConfigFile; 4] = [
    known("claude-code", ".mcp.json"),
    known("cursor", ".cursor/mcp.json"),
    known("vscode", ".vscode/mcp.json"),
    known("gemini-cli", ".gemini/settings.json"),
];

/// JSON as editors write it: with comments and trailing commas, otherwise strict. The parser keeps to 512 levels.
const COMMENTED: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Entries kept of one file.
const MAX_ENTRIES: usize = 128;
const MAX_DEPTH: usize = 4;

/// One configured server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfiguredServer {
    pub(super) name: String,
    pub(super) reach: Reach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Without user, password, query and fragment.
    Url(url::Url),
    /// Redacted command line.
    Stdio(String),
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) entries: Vec<ConfiguredServer>,
    /// Directories of projects it names.
    pub(super) projects: Vec<String>,
}

/// Reads JSON, JSON with comments, or TOML (by the file's name). `None`: unreadable.
pub(super) fn parse(path: &str, text: &str) -> Option<Contents> {
    let value: Value = if path.ends_with(".toml") {
        let table: toml::Value = toml::from_str(text).ok()?;
        serde_json::to_value(table).ok()?
    } else {
        jsonc_parser::parse_to_serde_value(text.trim_start_matches('\u{feff}'), &COMMENTED).ok()?
    };
    let mut contents = Contents::default();
    collect(&value, 0, &mut contents);
    Some(contents)
}

fn collect(value: &Value, depth: usize, contents: &mut Contents) {
    let Some(map) = value.as_object().filter(|_| depth <= MAX_DEPTH) else { return };
    for (key, inner) in map {
        let lists = matches!(key.as_str(), "mcpServers" | "servers" | "context_servers" | "mcp_servers" | "amp.mcpServers" | "mcp");
        match inner {
            Value::Object(servers) if lists => {
                entries(servers, &mut contents.entries);
                collect(inner, depth + 1, contents);
            }
            Value::Object(projects) if key == "projects" => {
                let room = 64usize.saturating_sub(contents.projects.len());
                contents.projects.extend(projects.keys().filter(|p| p.starts_with('/') && p.len() < 1024).take(room).cloned());
                projects.values().take(256).for_each(|p| collect(p, depth + 1, contents));
            }
            _ => {}
        }
    }
}

fn entries(servers: &Map<String, Value>, out: &mut Vec<ConfiguredServer>) {
    for (name, server) in servers {
        if out.len() >= MAX_ENTRIES {
            return;
        }
        if let Some(reach) = server.as_object().and_then(reach) {
            out.push(ConfiguredServer { name: printable(name, 80), reach });
        }
    }
}

fn reach(server: &Map<String, Value>) -> Option<Reach> {
    let url = ["url", "serverUrl", "httpUrl", "uri"].iter().find_map(|k| server.get(*k)?.as_str());
    if let Some(url) = url.and_then(bare_url) {
        return Some(Reach::Url(url));
    }
    // Zed nests the command, opencode makes it a list.
    let command = server.get("command")?;
    let mut words: Vec<String> = Vec::new();
    match command {
        Value::String(program) => words.push(program.clone()),
        Value::Array(list) => words.extend(strings(list)),
        Value::Object(nested) => {
            words.extend(nested.get("path").and_then(Value::as_str).map(str::to_owned));
            words.extend(nested.get("args").and_then(Value::as_array).into_iter().flat_map(|a| strings(a)));
        }
        _ => return None,
    }
    words.extend(server.get("args").and_then(Value::as_array).into_iter().flat_map(|a| strings(a)));
    (!words.is_empty()).then(|| Reach::Stdio(super::process::command(&words)))
}

fn strings(list: &[Value]) -> impl Iterator<Item = String> {
    list.iter().filter_map(Value::as_str).take(64).map(str::to_owned)
}

/// An http(s) URL without anything secret in it.
fn bare_url(text: &str) -> Option<url::Url> {
    let mut url = url::Url::parse(text.get(..2048).unwrap_or(text)).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, text: &str) -> Vec<String> {
        let entries = parse(path, text).unwrap_or_default().entries;
        entries
            .into_iter()
            .map(|e| match e.reach {
                Reach::Url(u) => format!("{} {u}", e.name),
                Reach::Stdio(c) => format!("{} $ {c}", e.name),
            })
            .collect()
    }

    #[test]
    fn the_shapes_of_the_clients() {
        let cursor = r#"{"mcpServers": {"a": {"url": "http://u:S@10.0.0.5:3001/mcp?key=S", "headers": {"Authorization": "S"}},
            "b": {"command": "npx", "args": ["-y", "mcp-server-x", "--token", "S"], "env": {"K": "S"}}}}"#;
        assert_eq!(shown("mcp.json", cursor), ["a http://10.0.0.5:3001/mcp", "b $ npx -y mcp-server-x --token ***"]);
        let vscode =
            "{ // comment\n \"servers\": { \"a\": { \"type\": \"http\", \"url\": \"https://h.test/mcp\", }, }, /* x */ \"inputs\": [] }";
        assert_eq!(shown("mcp.json", vscode), ["a https://h.test/mcp"]);
        let settings = r#"{"mcp": {"servers": {"a": {"url": "http://h.test:1/"}}}, "url": "http://no.test/"}"#;
        assert_eq!(shown("settings.json", settings), ["a http://h.test:1/"]);
        let codex = "[mcp_servers.docs]\nurl = \"http://h.test:8000/mcp\"\nbearer_token_env_var = \"T\"\n[mcp_servers.fs]\ncommand = \"uvx\"\nargs = [\"mcp-server-fs\"]\n";
        assert_eq!(shown("config.toml", codex), ["docs http://h.test:8000/mcp", "fs $ uvx mcp-server-fs"]);
        let opencode = r#"{"mcp": {"x": {"type": "local", "command": ["bun", "x", "mcp-server"]}}}"#;
        assert_eq!(shown("opencode.json", opencode), ["x $ bun x mcp-server"]);
        let windsurf = r#"{"mcpServers": {"w": {"serverUrl": "https://h.test/sse"}}}"#;
        assert_eq!(shown("mcp_config.json", windsurf), ["w https://h.test/sse"]);
    }

    #[test]
    fn depth_without_end_is_refused_and_text_around_is_read() {
        for deep in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 20), "/*".repeat(1 << 20)] {
            assert!(parse("mcp.json", &deep).is_none());
        }
        assert_eq!(shown("mcp.json", "\u{feff}{\"servers\":{\"a\":{\"url\":\"http://h.test/\"}}} // end"), ["a http://h.test/"]);
    }

    #[test]
    fn projects_are_named_and_their_servers_read() {
        let claude = r#"{"mcpServers": {}, "projects": {"/home/a/p": {"mcpServers": {"l": {"url": "http://localhost:3000/mcp"}}}}}"#;
        let contents = parse(".claude.json", claude).unwrap();
        assert_eq!((contents.projects, contents.entries.len()), (vec!["/home/a/p".to_owned()], 1));
    }

    #[test]
    fn no_mutation_of_a_file_breaks_the_parser_or_lets_a_secret_out() {
        let seeds = [
            (
                "a.json",
                r#"{"mcpServers": {"a": {"url": "http://u:SECRET@h.test/mcp?k=SECRET"}, /* c */ "b": {"command": ["x", "--token", "SECRET"],},}}"#,
            ),
            ("a.toml", "[mcp_servers.a]\nurl = \"http://u:SECRET@h.test/\"\nargs = [\"--api-key\", \"SECRET\"]\n"),
        ];
        for (path, seed) in seeds {
            for n in 0..seed.len() {
                for with in ["", "\"", "{", "[", "//", "/*", "\\", ",", "\u{1b}", "}}}}", "é"] {
                    let Some((before, after)) = seed.split_at_checked(n) else { continue };
                    let _ = parse(path, &format!("{before}{with}{after}"));
                    let _ = parse(path, &format!("{before}{with}"));
                }
            }
            assert!(shown(path, seed).iter().all(|s| !s.contains("SECRET")), "{:?}", shown(path, seed));
        }
    }
}
