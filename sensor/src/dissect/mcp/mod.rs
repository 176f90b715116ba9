//! The Model Context Protocol, in all its revisions, as an observer sees it: what a client asks, what a server answers, and
//! what that says. Shapes only; arguments, tokens and session ids are never kept.

mod dialogue;
mod ledger;
mod methods;
mod progress;
mod series;
mod shapes;
mod world;

pub use dialogue::{Dialogue, Framing, Outcome};
pub use methods::{Family, family};
pub use world::{Stream, World};

/// A dated protocol revision: `2025-11-25`. Others date their versions as well, some since before MCP was there.
pub fn is_revision(text: &str) -> bool {
    rules::mcp::is_date(text) && text.starts_with("20") && text >= FIRST
}

/// The revision of the first SDKs.
const FIRST: &str = "2024-10-07";

/// The first revision without `initialize` and sessions.
pub const STATELESS: &str = rules::mcp::Revision::FIRST_MODERN.as_str();
