//! Answers that point elsewhere: to a gate, another name, another path, another scheme. Never to another origin.

use super::{Ask, Indicator, Interrogation, Todo, stream::is_stream_path};
use crate::probe::question::safe_target;
use rules::evidence::Facts;
use std::collections::BTreeSet;

const MAX_HOPS: u8 = 3;

impl Interrogation {
    pub(super) fn gate(&mut self, todo: &Todo, metadata: Option<&str>) {
        // Express mounts a gate before a path and all below it.
        let same = |gate: &String| format!("{}/", todo.path.trim_end_matches('/')).starts_with(&format!("{}/", gate.trim_end_matches('/')));
        if self.gates.paths.iter().any(same) {
            // The same gate, or the same question to it again.
            let path = &todo.path;
            let told = self.gates.paths.contains(path);
            return self.indicators.retain(|(p, _)| told || p != path);
        }
        self.gates.paths.insert(todo.path.clone());
        if self.gates.paths.len() > 1 {
            // Everything is gated: that says nothing about any one path.
            self.indicators.retain(|(_, s)| s.signature != "probe.server.auth-gate");
            return self.drop_rest();
        }
        let path = match metadata {
            Some(url) => self.same_origin(url),
            None => Some(format!("{}{}", rules::mcp::well_known::PROTECTED_RESOURCE, todo.path.trim_end_matches('/'))),
        };
        if let Some(path) = path {
            self.queue.todo.push_front(Todo::new(Ask::Metadata, &path, todo.host.clone()));
        }
    }

    /// One gate on an MCP path, and nothing beside it: a router in front of it may tell which methods it takes, and no handler runs.
    pub(super) fn methods_of_the_gate(&mut self) -> Option<Todo> {
        let path = self.gates.paths.first().filter(|p| self.gates.paths.len() == 1 && is_mcp_path(p))?;
        let strong = |signature: &str| matches!(signature, "probe.server.sdk-error" | "probe.server.auth-challenge");
        let known = self.indicators.iter().any(|(p, s)| p == path && strong(s.signature));
        let todo = Todo::new(Ask::Routes, path, None);
        let asks = !known && self.refusals.nothing_at.len() >= 2 && !std::mem::replace(&mut self.gates.methods_asked, true);
        asks.then_some(todo)
    }

    /// The methods of Streamable HTTP, all and no other (2025-03-26 basic/transports): no REST resource has just these.
    pub(super) fn gate_takes(&mut self, path: &str, allow: &str) {
        let methods: BTreeSet<&str> = allow.split(',').map(str::trim).filter(|m| !matches!(*m, "" | "HEAD" | "OPTIONS")).collect();
        if methods == BTreeSet::from(["DELETE", "GET", "POST"]) {
            let detail = format!("OPTIONS {path}: takes {allow}, and asks for a token");
            self.indicators.push((path.to_owned(), Indicator { signature: "probe.server.gate-methods", detail, facts: Facts::default() }));
        }
    }

    /// One gate on an MCP path, nothing beside it, and a second thing that only MCP does: that is not a guarded API. Said at the end.
    pub(super) fn gate_alone(&self) -> Option<(String, Indicator)> {
        let path = self.gates.paths.first().filter(|p| self.gates.paths.len() == 1 && is_mcp_path(p))?;
        let speaks = |signature: &str| matches!(signature, "probe.server.gate-methods" | "probe.server.sdk-error");
        let spoke = self.indicators.iter().any(|(p, s)| p == path && speaks(s.signature));
        (spoke && self.refusals.nothing_at.len() >= 2).then(|| {
            let beside = self.refusals.nothing_at.iter().take(4).cloned().collect::<Vec<_>>().join(" ");
            let detail = format!("asks for a token at {path}, nothing at {beside}");
            (path.clone(), Indicator { signature: "probe.server.gate-alone", detail, facts: Facts::default() })
        })
    }

    pub(super) fn host_guard(&mut self, todo: &Todo) {
        if !std::mem::replace(&mut self.channel.localhost_tried, true) {
            self.first(todo.ask.clone(), &todo.path, Some("localhost".to_owned()));
        }
    }

    pub(super) fn redirect(&mut self, todo: &Todo, location: &str, keeps_method: bool) {
        let Some(path) = self.same_origin(location) else { return };
        let known = path == todo.path || self.queue.todo.iter().any(|t| t.path == path);
        // 301 and 302 lose the method (RFC 9110 §15.4): only a slash more or less is worth asking for again.
        let moved = keeps_method || path.trim_end_matches('/') == todo.path.trim_end_matches('/');
        if moved && todo.hops < MAX_HOPS && path != todo.path {
            self.queue.todo.retain(|t| !(known && t.path == path && t.ask == todo.ask));
            self.queue.todo.push_front(Todo { path, hops: todo.hops + 1, ..todo.clone() });
        }
    }

    /// The path of a URL that leads back to where we are; anything else is not ours to ask.
    pub(super) fn same_origin(&self, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return safe_target(location);
        }
        let url = url::Url::parse(location).ok()?;
        let scheme = if self.channel.tls { "https" } else { "http" };
        let host = url.host_str()?.trim_matches(['[', ']']);
        let ours = host.parse() == Ok(self.endpoint.address) || self.name().as_deref() == Some(host);
        let port = url.port_or_known_default()? == self.endpoint.port;
        (url.scheme() == scheme && ours && port).then(|| safe_target(url.path()))?
    }

    pub(super) fn other_scheme(&mut self, todo: &Todo, failed: bool) {
        if self.channel.spoke_http {
            // It did speak HTTP this way: what ended is the connection, or the server.
            self.refusals.silent = self.refusals.silent.saturating_add(1);
            if self.refusals.silent >= 2 {
                self.drop_rest();
            }
            return;
        }
        let wants_ours = self.certificates.theirs.as_ref().is_some_and(|c| c.wants_certificate);
        if std::mem::replace(&mut self.channel.switched, true) || self.hint.tls.is_some() || (failed && wants_ours) {
            return self.drop_rest();
        }
        self.channel.tls = !self.channel.tls;
        self.queue.todo.push_front(todo.clone());
    }
}

/// A path whose last part is a name of MCP's own.
fn is_mcp_path(path: &str) -> bool {
    path.trim_end_matches('/').rsplit('/').next() == Some("mcp") || is_stream_path(path)
}
