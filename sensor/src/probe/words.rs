//! Words that only MCP SDKs say when they refuse. Read off the SDKs and measured; matched without regard to case.

/// What the words are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Sessions, `Accept`, revisions: the endpoint understood what we are.
    Message,
    /// The message endpoint of HTTP+SSE (2024-11-05).
    Legacy,
    /// A foreign `Host` (DNS rebinding guard).
    Host,
    /// An access token is missing.
    Auth,
}

/// (words, about what, whose).
const WORDS: &[(&str, About, &str)] = &[
    ("bad request: missing session id", About::Message, "Python SDK 1.x"),
    ("bad request: unsupported protocol version", About::Message, "Python and TypeScript SDK 1.x"),
    ("not acceptable: client must accept", About::Message, "Python, TypeScript, C# and Rust SDK"),
    ("bad request: server not initialized", About::Message, "TypeScript SDK 1.x"),
    ("bad request: no valid session id provided", About::Message, "TypeScript SDK examples"),
    ("bad request: mcp-session-id header is required", About::Message, "TypeScript SDK 1.x"),
    ("invalid request: only one initialization request is allowed", About::Message, "TypeScript SDK 1.x"),
    ("invalid request: server already initialized", About::Message, "TypeScript SDK 1.x"),
    ("bad request: session id is required", About::Message, "Rust SDK"),
    ("expect initialize request", About::Message, "Rust SDK"),
    ("expected initialize request", About::Message, "Rust SDK"),
    ("accept must contain both 'application/json' and 'text/event-stream'", About::Message, "Go SDK"),
    ("accept must contain 'text/event-stream'", About::Message, "Go SDK"),
    ("is invalid during session initialization", About::Message, "Go SDK"),
    ("requires an mcp-session-id header", About::Message, "Go SDK"),
    ("a new session can only be created by an initialize request", About::Message, "C# SDK"),
    ("session id required in mcp-session-id header", About::Message, "Java SDK"),
    ("both application/json and text/event-stream required in accept header", About::Message, "Java SDK"),
    ("text/event-stream required in accept header", About::Message, "Java SDK"),
    ("params._meta is missing the required envelope key", About::Message, "Python SDK 2.x"),
    ("invalid _meta envelope", About::Message, "TypeScript SDK 2.x"),
    ("the request did not name a protocol version", About::Message, "TypeScript SDK 2.x"),
    ("missing sessionid parameter", About::Legacy, "TypeScript SDK examples, supergateway"),
    ("missing sessionid", About::Legacy, "Playwright MCP, mcp-go"),
    ("no transport found for sessionid", About::Legacy, "TypeScript SDK examples"),
    ("sse connection not established", About::Legacy, "TypeScript SDK"),
    ("no active sse connection for session", About::Legacy, "supergateway"),
    ("session_id is required", About::Legacy, "Python SDK"),
    ("could not find session", About::Legacy, "Python SDK"),
    ("session id missing in message endpoint", About::Legacy, "Java SDK"),
    ("sessionid must be provided", About::Legacy, "Go SDK"),
    ("invalid host header", About::Host, "Python SDK"),
    ("\"invalid host: ", About::Host, "TypeScript SDK"),
    ("forbidden: host header is not allowed", About::Host, "Rust SDK"),
    ("forbidden: invalid host header", About::Host, "Go SDK"),
    ("\"authentication required\"", About::Auth, "Python SDK"),
    ("\"missing authorization header\"", About::Auth, "TypeScript SDK"),
];

/// The first known words in a body. `Host` and `Auth` words count only with the status their SDKs send.
pub fn find(status: u16, body: &str) -> Option<(&'static str, About, &'static str)> {
    let body = body.to_ascii_lowercase();
    WORDS.iter().copied().find(|(words, about, _)| {
        let plausible = match about {
            About::Message | About::Legacy => status != 404 || body.contains("session"),
            About::Host => matches!(status, 403 | 421),
            About::Auth => status == 401,
        };
        plausible && body.contains(words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_with_the_status_their_sdk_sends() {
        assert_eq!(find(421, "Invalid Host header").map(|w| w.1), Some(About::Host));
        assert_eq!(find(400, "Invalid host header"), None, "Starlette's TrustedHost is not an MCP SDK");
        assert_eq!(find(400, "Missing sessionId parameter").map(|w| w.1), Some(About::Legacy));
        assert_eq!(find(404, "Not Found"), None);
    }
}
