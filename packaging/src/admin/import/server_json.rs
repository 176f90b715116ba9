//! The official MCP registry's `server.json`: one server, or a list of them as `GET /v0.1/servers` answers.

use super::{Draft, Options, draft, slug};
use rules::evidence::Transport;
use serde::Deserialize;
use serde_json::Value;

/// As far as a registration needs it; what else stands there is somebody else's.
#[derive(Debug, Deserialize)]
struct Server {
    /// Reverse DNS and a name: `io.github.user/server`.
    name: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    remotes: Vec<Remote>,
}

#[derive(Debug, Deserialize)]
struct Remote {
    #[serde(rename = "type")]
    kind: String,
    url: String,
}

/// The servers of a document, with their number in it; `None`: it is none of these.
pub(super) fn drafts(text: &str, options: &Options) -> Option<Vec<(usize, Result<Draft, String>)>> {
    let document: Value = serde_json::from_str(text).ok()?;
    let all: Vec<&Value> = match document.get("servers").and_then(Value::as_array) {
        // A list wraps each server beside what the registry says of it.
        Some(list) => list.iter().map(|entry| entry.get("server").unwrap_or(entry)).collect(),
        None if ["$schema", "remotes", "packages"].iter().any(|key| document.get(key).is_some()) => vec![&document],
        None => return None,
    };
    Some((1..).zip(all.into_iter().map(|server| one(server, options))).collect())
}

fn one(server: &Value, options: &Options) -> Result<Draft, String> {
    let server = Server::deserialize(server).map_err(|why| format!("no server.json: {why}"))?;
    let newest = server.remotes.iter().find(|r| r.kind == "streamable-http");
    let Some(remote) = newest.or_else(|| server.remotes.iter().find(|r| r.kind == "sse")) else {
        return Err(format!("`{}` answers nowhere: it has no remote of type streamable-http or sse, only packages to run", server.name));
    };
    if remote.url.contains(['{', '}']) {
        return Err(format!("`{}` has a URL with variables ({}): write the one that is used here", server.name, remote.url));
    }
    // Whoever publishes a server somewhere does not answer for its use here: that is said on the command line.
    let mut draft = draft(&slug(&server.name), &remote.url, options, None)?;
    draft.transport = Some(if remote.kind == "sse" { Transport::HttpSse } else { Transport::StreamableHttp });
    draft.name = server.title.unwrap_or(server.name);
    draft.description = server.description;
    draft.version = server.version.unwrap_or(draft.version);
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{
  "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
  "name": "io.github.ada/files", "title": "Files", "description": "Reads files", "version": "1.4.0",
  "remotes": [{"type": "sse", "url": "https://files.example/sse"}, {"type": "streamable-http", "url": "https://files.example/mcp"}]
}"#;

    fn said(text: &str) -> Vec<String> {
        let options = Options { file: "-".into(), owner: Some("platform".to_owned()), contact: None, dry_run: false };
        let all = drafts(text, &options).unwrap();
        all.into_iter().map(|(n, d)| format!("{n} {:?}", d.map(|d| (d.slug, d.version, d.backends[0].url.to_string())))).collect()
    }

    #[test]
    fn one_server_is_registered_where_it_answers() {
        assert_eq!(said(ONE), [r#"1 Ok(("io-github-ada-files", "1.4.0", "https://files.example/mcp"))"#]);
    }

    #[test]
    fn a_list_is_read_server_by_server_and_what_answers_nowhere_says_so() {
        let list = format!(
            r#"{{"servers": [{{"server": {ONE}, "_meta": {{}}}}, {{"name": "a/b", "packages": [{{"registryType": "npm"}}]}},
                {{"name": "a/c", "remotes": [{{"type": "sse", "url": "https://{{tenant}}.example/sse"}}]}}], "metadata": {{"count": 3}}}}"#
        );
        let all = said(&list);
        assert!(all[0].contains("files.example/mcp") && all[1].contains("answers nowhere") && all[2].contains("with variables"), "{all:?}");
    }

    #[test]
    fn other_documents_are_left_to_others() {
        let options = Options { file: "-".into(), owner: None, contact: None, dry_run: false };
        for other in [r#"{"slug": "a", "name": "a"}"#, "slug,url\na,http://b\n", "{}\n{}"] {
            assert!(drafts(other, &options).is_none(), "{other}");
        }
    }
}
