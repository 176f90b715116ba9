//! Streams to evidence. Every dissector takes bytes and returns values: no IO, no clock, no panic, bounded memory.
//!
//! [`Talk`] is one connection: it finds out what is spoken, and hands on to [`http1`], `http2`, [`websocket`], [`lines`] or [`tls`]; the
//! JSON-RPC found in there goes to [`mcp`].

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod body;
mod cursor;
pub mod dns;
pub mod exchange;
pub mod http;
pub mod http1;
mod http2;
pub mod jsonrpc;
pub mod lines;
pub mod mcp;
mod names;
mod nominate;
pub mod quic;
mod recent;
pub mod sse;
mod talk;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
pub mod tls;
mod upgrade;
mod web;
pub mod websocket;

pub use talk::Talk;

use crate::flow;
use rules::endpoint::Endpoint;

use std::hash::{DefaultHasher, Hasher};

/// Everything a dissector needs beside the bytes: the time, the two ends, and the memory of the capture point, into which evidence goes.
pub type Context<'a> = flow::Context<'a, mcp::World>;

/// A short stand-in for a value that must not be kept. Equal values have equal digests within one process.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What a client's first words over QUIC say.
pub fn hear_hello(client: Endpoint, server: Endpoint, hello: &tls::Hello, cx: &mut Context<'_>) {
    nominate::by_hello(nominate::Call { client: client.address, server }, hello, "QUIC", cx);
}
