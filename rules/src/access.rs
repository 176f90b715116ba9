//! May this principal call this tool? The one place where a [`Permit`] is made.

use crate::Timestamp;
use crate::registry::Registry;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Somebody the gateway knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Principal {
    pub tenant: String,
    /// Which key, token subject or certificate; never the secret.
    pub subject: String,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.subject)
    }
}

/// A rule that lets something through. There is no rule that denies: what no grant covers is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Named in every audit record and every refusal that it could have prevented.
    pub id: String,
    pub tenant: String,
    /// `None`: every subject of the tenant.
    #[serde(default)]
    pub subject: Option<String>,
    pub slug: String,
    /// Exact names, or `*` for all. Empty: nothing.
    pub tools: Vec<String>,
}

impl Grant {
    fn binds(&self, who: &Principal, slug: &str) -> bool {
        self.tenant == who.tenant && self.slug == slug && self.subject.as_ref().is_none_or(|s| *s == who.subject)
    }

    fn names(&self, tool: &str) -> bool {
        self.tools.iter().any(|t| t == "*" || t == tool)
    }
}

/// What a request wants of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// A method that names no tool: `initialize`, `tools/list`, `ping`, ….
    Method(&'a str),
    /// `tools/call` of this tool.
    Tool(&'a str),
}

/// Proof that the policy let a request through: there is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    slug: String,
    principal: Principal,
    grant: String,
    registration_revision: u64,
}

impl Permit {
    pub fn slug(&self) -> &str {
        &self.slug
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The grant that made it, for the audit record.
    pub fn grant(&self) -> &str {
        &self.grant
    }

    pub fn registration_revision(&self) -> u64 {
        self.registration_revision
    }
}

/// Why not, in words the caller may read. A tool that is not granted is as unknown as one that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no server is registered as `{0}`")]
    UnknownServer(String),
    #[error("`{slug}` was retired on {since}")]
    Retired { slug: String, since: Timestamp },
    #[error("no grant lets {principal} use `{slug}`")]
    NotGranted { principal: Principal, slug: String },
    #[error("unknown tool: {0}")]
    UnknownTool(String),
}

/// Default deny.
pub fn decide(
    who: &Principal,
    slug: &str,
    want: &Want<'_>,
    registry: &Registry,
    grants: &[Grant],
    now: Timestamp,
) -> Result<Permit, Refusal> {
    let registration = registry.registrations.get(slug).ok_or_else(|| Refusal::UnknownServer(slug.to_owned()))?;
    let mut bound = grants.iter().filter(|g| g.binds(who, slug)).peekable();
    if bound.peek().is_none() {
        return Err(Refusal::NotGranted { principal: who.clone(), slug: slug.to_owned() });
    }
    if let Some(since) = registration.retired_at(now) {
        return Err(Refusal::Retired { slug: slug.to_owned(), since });
    }
    let grant = match want {
        Want::Method(_) => bound.next(),
        Want::Tool(name) => bound.find(|g| g.names(name)),
    };
    match (grant, want) {
        (Some(g), _) => {
            Ok(Permit { slug: slug.to_owned(), principal: who.clone(), grant: g.id.clone(), registration_revision: registration.revision })
        }
        (None, Want::Tool(name)) => Err(Refusal::UnknownTool(crate::printable::printable(name, 128))),
        (None, Want::Method(_)) => Err(Refusal::NotGranted { principal: who.clone(), slug: slug.to_owned() }),
    }
}

/// Whether a listing may show this tool to this principal: the same rule as for calling it.
pub fn may_see(who: &Principal, slug: &str, tool: &str, grants: &[Grant]) -> bool {
    grants.iter().any(|g| g.binds(who, slug) && g.names(tool))
}

#[cfg(test)]
mod tests;
