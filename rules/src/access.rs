//! May this principal do this to this resource? The one place where a grant is matched and a [`Permit`] is made.
//!
//! The question has the form of NIST's and Cedar's: principal, action, resource. Today's grants speak of tools; every other action needs some
//! grant at the server.

use crate::{Timestamp, printable::printable, registry::Registry};
use serde::{Deserialize, Serialize};
use std::fmt;

mod action;
mod entitlement;

pub use action::{Action, Resource};
pub use entitlement::Entitlement;

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

/// One question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub principal: &'a Principal,
    /// The slug of the server.
    pub server: &'a str,
    pub action: Action,
    pub resource: &'a Resource,
}

/// A permit, or the reasons for none.
pub type Decision = Result<Permit, Denial>;

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

/// No, and why: at least one reason, the decisive one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    first: Reason,
    others: Vec<Reason>,
}

impl Denial {
    /// The decisive reason.
    pub fn reason(&self) -> &Reason {
        &self.first
    }

    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<Reason> for Denial {
    fn from(first: Reason) -> Denial {
        Denial { first, others: Vec::new() }
    }
}

/// In the words of the decisive reason. The caller may read them.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

impl std::error::Error for Denial {}

/// A reason against a request. Its text may be read by the caller: a tool that is not granted is as unknown as one that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("no server is registered as `{0}`")]
    UnknownServer(String),
    #[error("`{slug}` was retired on {since}")]
    Retired { slug: String, since: Timestamp },
    #[error("no grant lets {principal} use `{slug}`")]
    NotGranted { principal: Principal, slug: String },
    #[error("unknown tool: {0}")]
    UnknownTool(String),
    /// Goes with [`Reason::UnknownTool`], for the audit record: a grant that binds the principal and does not name the tool.
    #[error("grant `{0}` does not name it")]
    NotNamedBy(String),
}

/// Decides one request. Default deny: what no grant covers is denied.
///
/// `grants` may hold those of other principals and servers; they do not count. A caller without any grant learns of a server only that no
/// grant covers it, also when it is retired.
pub fn decide(request: &Request<'_>, registry: &Registry, grants: &[Grant], now: Timestamp) -> Decision {
    let &Request { principal, server, action, resource } = request;
    let registration = registry.registrations.get(server).ok_or_else(|| Reason::UnknownServer(server.to_owned()))?;
    let not_granted = || Reason::NotGranted { principal: principal.clone(), slug: server.to_owned() };
    let entitlement = Entitlement { principal, server, grants };
    let any = entitlement.any().ok_or_else(not_granted)?;
    if let Some(since) = registration.retired_at(now) {
        return Err(Reason::Retired { slug: server.to_owned(), since }.into());
    }
    let grant = match (action, resource) {
        (_, Resource::Tool(name)) => entitlement.to_tool(name).ok_or_else(|| unknown_tool(name, &entitlement))?,
        // A call that names no tool is a call of none that was granted.
        (Action::CallTool, _) => return Err(not_granted().into()),
        _ => any,
    };
    Ok(Permit {
        slug: server.to_owned(),
        principal: principal.clone(),
        grant: grant.id.clone(),
        registration_revision: registration.revision,
    })
}

fn unknown_tool(name: &str, entitlement: &Entitlement<'_>) -> Denial {
    let others = entitlement.bound().map(|g| Reason::NotNamedBy(g.id.clone())).collect();
    Denial { first: Reason::UnknownTool(printable(name, 128)), others }
}

#[cfg(test)]
mod tests;
