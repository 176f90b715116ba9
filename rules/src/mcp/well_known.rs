//! Paths below `/.well-known/` (RFC 8615) that belong to an MCP server.

/// RFC 9728 §3.1: metadata of a protected resource; the path of the resource follows.
pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// RFC 8414 §3: metadata of an authorization server. A server of 2025-03-26 is its own.
pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
/// The catalog of the servers of a host.
pub const AI_CATALOG: &str = "/.well-known/ai-catalog.json";
