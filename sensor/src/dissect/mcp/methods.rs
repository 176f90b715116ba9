//! Which protocol a JSON-RPC method belongs to.

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

/// MCP's method inventory of all revisions.
pub fn family(method: &str) -> Family {
    match method {
        "initialize" => Family::Initialize,
        "server/discover"
        | "subscriptions/listen"
        | "tools/list"
        | "tools/call"
        | "prompts/list"
        | "prompts/get"
        | "resources/list"
        | "resources/templates/list"
        | "resources/read"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "completion/complete"
        | "logging/setLevel"
        | "notifications/initialized"
        | "notifications/roots/list_changed" => Family::McpClient,
        "sampling/createMessage"
        | "roots/list"
        | "elicitation/create"
        | "notifications/message"
        | "notifications/tools/list_changed"
        | "notifications/prompts/list_changed"
        | "notifications/resources/list_changed"
        | "notifications/resources/updated"
        | "notifications/subscriptions/acknowledged"
        | "notifications/elicitation/complete"
        | "notifications/tasks/status"
        | "notifications/tasks" => Family::McpServer,
        "notifications/progress" | "notifications/cancelled" => Family::McpEither,
        // `ping` and `tasks/*` are also of others.
        _ => Family::Other,
    }
}
