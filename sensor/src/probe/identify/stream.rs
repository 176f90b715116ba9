//! Streams of 2024-11-05: where one may be, whether asking for it can hurt, and what its routes show without asking.

use super::{Ask, Indicator, Interrogation, Todo};
use rules::evidence::{Facts, Transport};

impl Interrogation {
    /// Once it is known what the server runs on, a stream path is asked by the question that fits it.
    pub(super) fn by_the_stream(&mut self, todo: Todo) -> Todo {
        // To ask for the routes opens no stream.
        let by_routes = self.traits.express && !self.traits.cors;
        let asked = by_routes || self.options.legacy_get;
        let fits =
            todo.ask == Ask::Discover && is_stream_path(&todo.path) && self.channel.spoke_http && self.refusals.other_rpc == 0 && asked;
        if !fits || !self.streams.asked.insert(todo.path.clone()) {
            return todo;
        }
        Todo { ask: if by_routes { Ask::Routes } else { Ask::Stream }, ..todo }
    }

    /// A path that may hold an event stream: ask for it, or look first where asking can hurt.
    pub(super) fn maybe_stream(&mut self, path: &str) {
        if !is_stream_path(path)
            || (self.traits.absent_is_absent && self.streams.get_only.is_none())
            || !self.streams.asked.insert(path.to_owned())
        {
            return;
        }
        if self.traits.express && !self.traits.cors {
            self.first(Ask::Routes, path, None);
        } else if self.options.legacy_get {
            self.first(Ask::Stream, path, None);
        }
    }

    pub(super) fn routes(&mut self, todo: &Todo, allow: &str) {
        let takes = |method: &str| allow.split(',').any(|m| m.trim() == method);
        let get_only = takes("GET") && !takes("POST");
        match (&todo.ask, todo.path.as_str()) {
            (Ask::Routes, path) if self.gates.paths.contains(path) => self.gate_takes(path, allow),
            (Ask::Routes, "/message") if takes("POST") && !takes("GET") => {
                self.shape("probe.server.sse-routes", "OPTIONS: the stream takes GET only, /message takes POST only");
                // Only a server with a JSON parser in front is surely not the one that dies of a stream that hangs up.
                self.drop_rest();
                self.first(Ask::Garbled, &self.streams.get_only.clone().unwrap_or_default(), None);
            }
            (Ask::Routes, "/message") => self.stream_after_routes(),
            (Ask::Routes, path) if get_only => {
                self.streams.get_only = Some(path.to_owned());
                self.first(Ask::Routes, "/message", None);
            }
            (Ask::Stream, path) if takes("POST") => self.first(Ask::Discover, path, None),
            // Older fastapi-mcp opens its stream at /mcp itself.
            (Ask::Discover, path) if is_stream_path(path) && !takes("POST") || path.ends_with("/mcp") && get_only => {
                self.streams.get_only = Some(path.to_owned());
                if self.options.legacy_get && self.streams.asked.insert(path.to_owned()) {
                    self.first(Ask::Stream, path, None);
                } else if !self.options.legacy_get {
                    self.first(Ask::Discover, "/messages/", None);
                }
            }
            _ => {}
        }
    }

    pub(super) fn stream_after_routes(&mut self) {
        if let Some(path) = self.streams.get_only.clone().filter(|_| self.options.legacy_get) {
            self.first(Ask::Stream, &path, None);
        }
    }

    /// A message endpoint refused: its stream is beside it.
    pub(super) fn legacy(&mut self, path: &str) {
        let stream = match (&self.streams.get_only, path) {
            (Some(found), _) => found.clone(),
            (None, p) if is_stream_path(p) => p.to_owned(),
            _ => "/sse".to_owned(),
        };
        if self.streams.get_only.is_some() {
            self.shape("probe.server.sse-routes", "the stream takes GET only, and a message endpoint beside it wants a session");
        }
        let asked = self.indicators.iter().any(|(_, s)| s.signature.starts_with("probe.server.endpoint"));
        if self.options.legacy_get && !asked && !std::mem::replace(&mut self.streams.legacy_asked, true) {
            self.queue.todo.retain(|t| t.path != stream);
            self.first(Ask::Stream, &stream, None);
        }
    }

    pub(super) fn shape(&mut self, signature: &'static str, what: &str) {
        let path = self.streams.get_only.clone().unwrap_or_else(|| "/sse".to_owned());
        let facts = Facts { transport: Some(Transport::HttpSse), tls: Some(self.channel.tls), ..Facts::default() };
        self.indicators.push((path, Indicator { signature, detail: what.to_owned(), facts }));
    }
}

/// `/sse`, `/mcp/sse`, `/events`: where the 2024-11-05 transport opens its stream.
pub(super) fn is_stream_path(path: &str) -> bool {
    matches!(path.trim_end_matches('/').rsplit('/').next(), Some("sse" | "events"))
}
