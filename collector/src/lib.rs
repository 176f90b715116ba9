//! The policy administrator: receives observations, keeps the inventory and the registry, asks [`rules`], tells people, sends
//! decisions. It never touches a packet or a firewall.
//!
//! Read in this order: [`inventory`] (evidence to servers, pure), `image` (all that is known), `store` (what is kept on disk),
//! `commit` (how things change), `intake`, `judge`, `dispatch`, [`notify`], then `api`. Each knows only those before it.

mod access;
mod api;
pub mod ca_log;
pub mod clock;
mod commit;
pub mod config;
mod console;
mod dispatch;
mod enrol;
mod handle;
mod http;
mod image;
mod intake;
pub mod inventory;
pub mod journal;
mod judge;
mod losses;
pub mod notify;
mod own;
pub mod packs;
mod prior;
pub mod registry;
mod retention;
mod secrets;
mod sensors;
mod site;
mod start;
mod store;
mod words;

pub use config::{Beginning, Config};
pub use dispatch::VerifyingKey;
pub use handle::Handle;
pub use intake::AcceptError;
pub use sensors::Role;
pub use start::{Running, start};
use std::{net::SocketAddr, path::PathBuf};
pub use store::Unavailable;
pub use store::snapshot::newest as newest_snapshot;

/// Why the collector could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the collector's settings are not usable: {0}")]
    Config(String),
    #[error("the data directory {} cannot be used: {why}; name another one with --data", path.display())]
    Data { path: PathBuf, why: String },
    #[error("{} {why}", path.display())]
    Secret { path: PathBuf, why: String },
    #[error("another collector is running on {}; stop it, or give this one its own --data directory", .0.display())]
    Running(PathBuf),
    #[error("cannot listen on {address} for {what}: {why}; stop what listens there or choose another address with `{key}`")]
    Listen { what: &'static str, address: SocketAddr, key: &'static str, why: String },
    #[error("the intake's certificate could not be made: {0}")]
    Certificate(String),
    /// Nothing is in the database, and something beside it shows that there was.
    #[error("{} is gone or empty, but this directory was in use: {}", path.display(), traces.join(", "))]
    Emptied { path: PathBuf, traces: Vec<String>, newest: Option<PathBuf> },
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} has schema {schema}, written by a newer version of gnomon; this one knows {ours}", path.display())]
    Newer { path: PathBuf, schema: i64, ours: i64 },
    #[error("{} {why}; enforcers, gateways and sensors trust the one that was there", path.display())]
    Key { path: PathBuf, why: &'static str },
    #[error("{} cannot be restored from: {why}", path.display())]
    Restore { path: PathBuf, why: String },
    #[error(transparent)]
    Store(#[from] Unavailable),
    #[error("a part of the collector ended unexpectedly: {0}")]
    Ended(&'static str),
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
