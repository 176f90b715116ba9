//! Names of HTTP header fields, in lower case as HTTP/2 sends them. They are compared without regard to case.

/// Common beginning of all header names that the protocol defines.
pub const PREFIX: &str = "mcp-";
/// The revision, for example `2025-11-25`. Sent by clients after `initialize` from 2025-06-18 on, with every request from 2026-07-28 on.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// 2026-07-28: repeats `method`.
pub const METHOD: &str = "mcp-method";
/// 2026-07-28: repeats the name in `params`, see [`super::Method::named_by`].
pub const NAME: &str = "mcp-name";
/// 2026-07-28: beginning of the names that repeat an argument of a tool.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// 2025-03-26 to 2025-11-25: the session that `initialize` opened.
pub const SESSION_ID: &str = "mcp-session-id";
/// Of event streams in general: the last event that a client received before it lost the stream.
pub const LAST_EVENT_ID: &str = "last-event-id";
