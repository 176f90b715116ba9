//! The vocabulary of MCP, the Model Context Protocol: the names and numbers that the sensor recognises and the gateway checks.
//!
//! Values only. What follows from them stands where it is decided: in the sensor's dissector and probe, and in the gateway's validation.
//! Sources: the schemas and transport pages of the five published revisions (modelcontextprotocol.io/specification), JSON-RPC 2.0 §4 and
//! §5, RFC 9728.

pub mod code;
pub mod header;
pub mod meta;
mod method;
mod revision;
pub mod rpc;
pub mod well_known;

pub use method::{Method, Sender};
pub use revision::{Era, Revision, is_date};

#[cfg(test)]
mod tests;
