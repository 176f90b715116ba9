//! Version 1 of the shapes between sensors, collector, enforcers and gateways. JSON, UTF-8.
//!
//! Unknown fields are ignored (a newer peer may add some); missing ones without a default are an error of the sender.

use crate::{Timestamp, access::Grant, observation::Said, registry::Registry};
use serde::{Deserialize, Serialize};

mod admit;
pub mod decisions;
mod report;
mod signed;

pub use admit::Objection;
pub use report::{EvidenceReport, FindingReport, ServerReport};
pub use signed::{Distrust, Keys, Payload, Signed, key_id};

/// `POST /v1/observations`: consecutive observations of one sensor. At most [`Batch::MAX`] records, [`Batch::MAX_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Must be the name in the client certificate.
    pub sensor: String,
    pub epoch: u64,
    pub records: Vec<Record>,
}

impl Batch {
    pub const MAX: usize = 1000;
    pub const MAX_BYTES: usize = 4 << 20;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub seq: u64,
    pub at: Timestamp,
    pub said: Said,
}

/// The answer: everything up to `seq` is durable and need not be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub epoch: u64,
    pub seq: u64,
}

/// `POST /v1/enroll`: a join token and a PKCS#10 certificate request (PEM).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollRequest {
    pub token: String,
    pub csr: String,
}

/// A client certificate (PEM) for the name the collector gave, and the root to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollResponse {
    pub sensor: String,
    pub site: String,
    pub certificate: String,
    pub root: String,
}

/// Payload of a [`Signed`] in the domain [`Signed::DECISIONS`].
pub type Decisions = crate::decision::DecisionSet;

/// Payload of a [`Signed`] in the domain [`Signed::BUNDLE`]: all a gateway needs to decide by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub generation: u64,
    pub registry: Registry,
    pub grants: Vec<Grant>,
    pub tenants: Vec<Tenant>,
}

/// A tenant's keys. A key is `tenant.nonce.signature`, the signature being hex HMAC-SHA-256 (RFC 2104) over `tenant.nonce` with
/// the tenant's secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub name: String,
    /// Base64 secrets that verify: the newest signs, the one before it verifies until keys are rotated out.
    pub secrets: Vec<String>,
    /// Nonces of keys that were issued and stand; a valid signature over another nonce is refused.
    pub keys: Vec<String>,
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenant").field("name", &self.name).field("secrets", &self.secrets.len()).field("keys", &self.keys).finish()
    }
}

#[cfg(test)]
mod tests;
