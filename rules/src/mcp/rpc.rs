//! The shapes of a JSON-RPC 2.0 message (§4, §5), told by the members that are there.

/// The text that `jsonrpc` has in every message.
pub const VERSION: &str = "2.0";

/// Names of the members of a message.
pub const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// The members of one message that tell its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// `id` is there, whatever its value.
    pub id: bool,
    /// `method` is there and a text.
    pub method: bool,
    pub result: bool,
    pub error: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    Request,
    Notification,
    Result,
    Error,
}

impl Members {
    /// The shape for a reader that lets messages through: `None` for every combination that one reader could take for a request and another
    /// for an answer, and for an answer to nothing.
    pub fn strictly(self) -> Option<Shape> {
        match (self.method, self.id, self.result, self.error) {
            (true, true, false, false) => Some(Shape::Request),
            (true, false, false, false) => Some(Shape::Notification),
            (false, true, true, _) => Some(Shape::Result),
            (false, true, false, true) => Some(Shape::Error),
            _ => None,
        }
    }

    /// The shape as most implementations take it: `method` first, then `result`, then `error`, and an error without `id` as well, since
    /// servers send one for a request they could not read. For whoever only watches.
    pub fn leniently(self) -> Option<Shape> {
        match (self.method, self.id, self.result, self.error) {
            (true, true, ..) => Some(Shape::Request),
            (true, false, ..) => Some(Shape::Notification),
            (false, true, true, _) => Some(Shape::Result),
            (false, _, false, true) => Some(Shape::Error),
            _ => None,
        }
    }
}
