//! Error codes of JSON-RPC 2.0 (§5.1) and of MCP.

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL_ERROR: i64 = -32603;

/// Revisions up to 2025-11-25; later ones answer `INVALID_PARAMS`.
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// 2026-07-28: a header contradicts the body, or is missing.
pub const HEADER_MISMATCH: i64 = -32020;
/// 2026-07-28: the request needs a capability that the client did not declare; `data.requiredCapabilities` names it.
pub const MISSING_CAPABILITY: i64 = -32021;
/// 2026-07-28: `data.supported` lists the revisions of the server.
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// 2025-11-25: `data.elicitations` lists pages that a person has to visit first.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;

/// Whether the code came with the 2026-07-28 revision. Every server may use the same number for something else (JSON-RPC 2.0 §5.1), so the
/// code alone proves nothing.
pub fn is_modern(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION)
}
