//! Streams to evidence.
