//! What is known about an endpoint beforehand, and how far an interrogation may go.

use std::sync::Arc;

/// What somebody else already knows about an endpoint: passive traffic, a client's configuration, the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// A name for `Host` and SNI.
    pub host: Option<String>,
    /// Asked before the usual paths.
    pub paths: Vec<String>,
    pub tls: Option<bool>,
    /// Somebody says there is an MCP server here: counter-evidence and absence are then worth reporting.
    pub nominated: bool,
}

/// How far an interrogation may go.
#[derive(Clone, Debug)]
pub struct Options {
    pub paths: Arc<[String]>,
    /// Ask `GET` for an event stream where gentler questions left it open.
    pub legacy_get: bool,
    /// Send the negative control under a `Host` that is not the server's, to learn whether it checks.
    pub foreign_host: bool,
    /// Try lines of JSON over bare TCP where nobody speaks HTTP.
    pub raw: bool,
    /// There is a certificate to show to those who serve nobody without.
    pub test_identity: bool,
    /// Questions per endpoint, but for the ending of sessions.
    pub max_questions: u16,
}

/// Paths MCP servers are found on, most likely first: SDK defaults, bridges, Java, gradio, Home Assistant.
pub const USUAL_PATHS: [&str; 14] = [
    "/mcp",
    "/sse",
    "/",
    "/mcp/",
    "/api/mcp",
    "/v1/mcp",
    "/mcp/sse",
    "/api/mcp/",
    "/mcp/v1",
    "/api/v1/mcp",
    "/gradio_api/mcp/",
    "/mcp/message",
    "/mcp_server/sse",
    "/api/sse",
];

impl Default for Options {
    fn default() -> Self {
        let paths = USUAL_PATHS.iter().map(|p| (*p).to_owned()).collect();
        Options { paths, legacy_get: true, foreign_host: true, raw: false, test_identity: false, max_questions: 32 }
    }
}
