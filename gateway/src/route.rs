//! The paths of the gateway. Nothing is decoded or normalised: a path is one of these bytes, or unknown.

use rules::registry::is_slug;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/mcp/v1/tools/<slug>/rpc`
    Server(&'a str),
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
    let slug = target.strip_prefix("/mcp/v1/tools/").and_then(|rest| rest.strip_suffix("/rpc"));
    slug.filter(|s| is_slug(s)).map_or(Route::Unknown, Route::Server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_spelling_leads_to_a_server() {
        assert_eq!(route("/mcp/v1/tools/files-2/rpc"), Route::Server("files-2"));
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
