//! The grants of one principal at one server: the only place that matches a grant.

use super::{Grant, Principal};

/// Reads a list of grants as one principal at one server may use them. Grants of others in the list do not count.
#[derive(Clone, Copy, Debug)]
pub struct Entitlement<'a> {
    pub principal: &'a Principal,
    /// The slug of the server.
    pub server: &'a str,
    pub grants: &'a [Grant],
}

/// Instead of a tool's name: all tools.
const ALL_TOOLS: &str = "*";

impl<'a> Entitlement<'a> {
    /// The grants that bind this principal at this server.
    pub fn bound(self) -> impl Iterator<Item = &'a Grant> {
        let Entitlement { principal, server, grants } = self;
        let binds = move |g: &&Grant| {
            g.tenant == principal.tenant && g.slug == server && g.subject.as_ref().is_none_or(|s| *s == principal.subject)
        };
        grants.iter().filter(binds)
    }

    /// A grant that binds, whatever it names.
    pub(super) fn any(self) -> Option<&'a Grant> {
        self.bound().next()
    }

    /// The grant that lets the principal call this tool.
    pub(super) fn to_tool(self, tool: &str) -> Option<&'a Grant> {
        self.bound().find(|g| g.tools.iter().any(|t| t == ALL_TOOLS || t == tool))
    }

    /// Whether a list may show this tool: exactly when it may be called.
    pub fn shows_tool(self, tool: &str) -> bool {
        self.to_tool(tool).is_some()
    }

    /// Whether every tool may be called, also one that the server gets later.
    pub fn shows_all_tools(self) -> bool {
        self.bound().any(|g| g.tools.iter().any(|t| t == ALL_TOOLS))
    }

    /// Whether everything that `earlier` allowed is still allowed.
    pub fn includes(self, earlier: Entitlement<'_>) -> bool {
        earlier.bound().flat_map(|g| &g.tools).all(|tool| self.shows_tool(tool))
    }
}
