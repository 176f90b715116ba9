//! The paths of the gateway. Nothing is decoded or normalised: a path is one of these bytes, or unknown.

use rules::registry::is_slug;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/mcp/v1/tools/<slug>/rpc`
    Server(&'a str),
    /// `/mcp/v1/tools/<slug>/rpc/<token>`: where a client of 2024-11-05 was told to post, see [`crate::forward::session`].
    Message {
        slug: &'a str,
        token: &'a str,
    },
    Health,
    Metrics,
    Unknown,
}

/// `target`: path and query as they came. An MCP endpoint takes no query.
pub(crate) fn route(target: &str) -> Route<'_> {
    match target {
        "/healthz" => return Route::Health,
        "/metrics" => return Route::Metrics,
        _ => {}
    }
    let Some((slug, rest)) = target.strip_prefix("/mcp/v1/tools/").and_then(|t| t.split_once("/rpc")) else { return Route::Unknown };
    let plain = |t: &&str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    match rest.strip_prefix('/').filter(plain) {
        _ if !is_slug(slug) => Route::Unknown,
        None if rest.is_empty() => Route::Server(slug),
        None => Route::Unknown,
        Some(token) => Route::Message { slug, token },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_spelling_leads_to_a_server() {
        assert_eq!(route("/mcp/v1/tools/files-2/rpc"), Route::Server("files-2"));
        assert_eq!(route("/mcp/v1/tools/files/rpc/A-_9"), Route::Message { slug: "files", token: "A-_9" });
        for odd in [
            "/mcp/v1/tools//rpc",
            "/mcp/v1/tools/rpc",
            "/mcp/v1/tools/files/rpc/",
            "/mcp/v1/tools/Files/rpc",
            "/mcp/v1/tools/%66iles/rpc",
            "/mcp/v1/tools/files%2frpc",
            "/mcp/v1/tools/a/../b/rpc",
            "/mcp/v1/tools/./a/rpc",
            "//mcp/v1/tools/files/rpc",
            "/MCP/v1/tools/files/rpc",
            "/mcp/v2/tools/files/rpc",
            "/mcp/v1/tools/files/rpc?x=1",
            "/mcp/v1/tools/files/rpc?",
            "/mcp/v1/tools/files/rpc/a/b",
            "/mcp/v1/tools/files/rpc/a?b",
            "/mcp/v1/tools/files/rpc/%41",
            "/mcp/v1/tools/files/rpcx",
            "/mcp/v1/tools/-a/rpc",
            "/mcp/v1/tools/a_b/rpc",
            "/mcp/v1/tools/*/rpc",
            "/mcp/v1/tools/a;b/rpc",
            "/mcp/v1/tools/files/RPC",
            "/",
            "*",
            "",
            "/healthz/",
            "/metrics?x",
        ] {
            assert_eq!(route(odd), Route::Unknown, "{odd}");
        }
        assert_eq!(route(&format!("/mcp/v1/tools/{}/rpc", "a".repeat(64))), Route::Unknown);
    }
}
