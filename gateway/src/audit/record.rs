//! What is written down about a request.

use rules::{Timestamp, access::Principal};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The backend's answer reached the client whole.
    Answered,
    /// Known principal, but no grant covers this server or tool.
    Denied,
    /// No valid key.
    Unauthenticated,
    /// More requests than the principal may send.
    Limited,
    /// Not a request this gateway takes: shape, size, path, Host, Origin, session.
    Invalid,
    /// The registration's time is over.
    Retired,
    /// The backend could not be reached, broke off, or answered what must not be passed on.
    BackendFailed,
    /// The gateway could not do its part.
    GatewayFailed,
    /// The client left first.
    #[default]
    Cancelled,
    /// An open stream was ended because its key or grant was withdrawn, or because the gateway shut down.
    Withdrawn,
}

impl Outcome {
    /// Whether the request was turned away before any backend saw it.
    pub fn is_refusal(self) -> bool {
        use Outcome::*;
        matches!(self, Denied | Unauthenticated | Limited | Invalid | Retired)
    }

    pub const ALL: [Outcome; 10] = {
        use Outcome::*;
        [Answered, Denied, Unauthenticated, Limited, Invalid, Retired, BackendFailed, GatewayFailed, Cancelled, Withdrawn]
    };

    pub fn word(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Denied => "denied",
            Outcome::Unauthenticated => "unauthenticated",
            Outcome::Limited => "limited",
            Outcome::Invalid => "invalid",
            Outcome::Retired => "retired",
            Outcome::BackendFailed => "backend-failed",
            Outcome::GatewayFailed => "gateway-failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Withdrawn => "withdrawn",
        }
    }
}

/// One request, one record. Never an argument, a result, a key or a session id; what came from the client is printable and cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Also in the answer's `X-Gnomon-Call`.
    pub call: String,
    /// When the request's head had been read.
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// `POST`, `GET`, `DELETE`, ….
    pub http: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// JSON-RPC method; those of a batch joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// Hexadecimal SHA-256 over the canonical JSON of `params` (object keys sorted, no white space).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
    /// What the client was answered; 0 when it left first.
    pub status: u16,
    pub outcome: Outcome,
    /// The rule that refused, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The grant that let it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What it was decided by: the bundle's generation and the registration's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The address that was really connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<SocketAddr>,
    /// Microseconds until the answer's head was ready, and until its end.
    pub latency_us: u64,
    pub duration_us: u64,
    /// Bytes of the answer's body that were passed on.
    #[serde(default)]
    pub bytes: u64,
}

/// Requests that have no record of their own, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub at: Timestamp,
    /// Refused requests above [`crate::config::Audit::refusals_per_second`].
    pub refusals: u64,
    /// Answered 503 because nothing could be recorded.
    pub turned_away: u64,
    /// Calls that went through unrecorded: only with `on_failure = "continue"`, or when the log stayed broken at shutdown.
    pub lost: u64,
    /// Bytes of a half-written record found after a crash, moved to a `.torn` file.
    pub torn: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LogEntry {
    Call(Box<Record>),
    Gap(Gap),
}
