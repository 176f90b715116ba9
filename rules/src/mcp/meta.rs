//! Keys below `_meta` that the protocol reserves.

/// Common beginning of all of them.
pub const PREFIX: &str = "io.modelcontextprotocol/";
/// 2026-07-28, in every request: the revision.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// 2026-07-28, in every request: an object.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// 2026-07-28: name and version of the client.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// 2026-07-28: name and version of the server.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
