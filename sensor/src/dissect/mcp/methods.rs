//! Which protocol a JSON-RPC method belongs to.

use rules::mcp::{Method, Sender};

/// What a method's name says about who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Only MCP has it, and only clients send it.
    McpClient,
    /// Only MCP has it, and only servers send it.
    McpServer,
    /// Only MCP has it; either side may send it.
    McpEither,
    /// `initialize`: also LSP, ACP and others; the parameters tell.
    Initialize,
    Other,
}

/// The family of a method, by its exact name.
pub fn family(method: &str) -> Family {
    match Method::parse(method) {
        Some(Method::Initialize) => Family::Initialize,
        Some(known) if known.is_only_of_mcp() => match known.sender() {
            Sender::Client => Family::McpClient,
            Sender::Server => Family::McpServer,
            Sender::Either => Family::McpEither,
        },
        // `ping` and `tasks/*` are also of others.
        _ => Family::Other,
    }
}
