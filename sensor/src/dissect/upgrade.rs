//! The protocol that a connection goes on in after an HTTP transaction.

use super::{exchange::Exchange, mcp::Dialogue};
use crate::flow::End;

#[derive(Debug)]
pub(super) enum Upgrade {
    WebSocket {
        client: End,
        dialogue: Box<Dialogue>,
        deflate: bool,
    },
    /// HTTP/2 by upgrade (RFC 7540 §3.2); the answer to the last request comes there, on stream 1.
    Http2(Box<Exchange>),
    /// A CONNECT tunnel: anything may come.
    Tunnel,
}
