//! How a gateway is set up. Every field has a default; an unknown key is an error.

use rules::period::Period;
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect, in plain HTTP/1.1. Port 0 takes a free one: see [`crate::Running::address`].
    pub listen: SocketAddr,
    /// `<data>/audit` holds the audit log, `<data>/gateway` the last good bundle.
    pub data: PathBuf,
    /// Ed25519 public keys (base64, 32 bytes) that may sign bundles. Empty: no bundle is ever accepted.
    pub bundle_keys: Vec<String>,
    /// Names under which clients reach this gateway (`tools.corp.example`), besides loopback names and the address they connected to.
    pub public_names: Vec<String>,
    /// Browser origins that may call (`https://console.corp.example`), besides the gateway's own.
    pub origins: Vec<String>,
    /// Base64, 32 bytes: seals session ids. Replicas that share it share sessions. Absent: drawn at start, sessions end with the process.
    pub session_key: Option<String>,
    pub bounds: Bounds,
    pub limit: Limit,
    pub forward: Forward,
    pub audit: Audit,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7413)),
            data: PathBuf::from("/var/lib/gnomon"),
            bundle_keys: Vec::new(),
            public_names: Vec::new(),
            origins: Vec::new(),
            session_key: None,
            bounds: Bounds::default(),
            limit: Limit::default(),
            forward: Forward::default(),
            audit: Audit::default(),
        }
    }
}

/// What a client may cost before it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Open connections; more are answered 503 and closed.
    pub connections: usize,
    /// Bytes of a request's line and headers (at least 8192), and how many headers.
    pub head_bytes: usize,
    pub headers: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Nesting of the JSON in it.
    pub depth: usize,
    /// How long a client may take to send a request's head (an idle connection is closed after this long, too), and its body.
    pub head_time: Period,
    pub body_time: Period,
    /// How long a client may take nothing of what waits for it; then its connection is closed and its place is free.
    pub write_time: Period,
    /// How long open HTTP transactions may go on after a shutdown was asked for.
    pub drain_time: Period,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 4096,
            head_bytes: 32 << 10,
            headers: 64,
            body_bytes: 4 << 20,
            depth: 64,
            head_time: Period::seconds(30),
            body_time: Period::seconds(30),
            write_time: Period::seconds(60),
            drain_time: Period::seconds(5),
        }
    }
}

/// What one principal may ask of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limit {
    /// Requests a minute, and how many may come at once. 0 a minute: no limit.
    pub per_minute: u32,
    pub burst: u32,
    /// Exchanges open at the same time, streams among them. 0: no limit.
    pub open: u32,
    /// Principals remembered; the longest silent one makes room.
    pub principals: usize,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit { per_minute: 500, burst: 1000, open: 256, principals: 10_000 }
    }
}

/// Towards backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forward {
    pub connect_time: Period,
    /// From the request to the head of the answer.
    pub answer_time: Period,
    /// Ends an open stream on which nothing came for this long. Absent: never.
    pub idle_stream: Option<Period>,
    /// Shorter than the 5 s after which common servers close idle connections.
    pub keep_alive: Period,
    /// Idle connections kept per backend.
    pub idle_connections: usize,
    /// Bytes of a tool list, and of one event of a stream that has to be looked at.
    pub list_bytes: usize,
    /// Further request headers to pass on (lower case), besides those of MCP and tracing.
    pub headers: Vec<String>,
    /// PEM files with root certificates for https backends. Empty: those of the system.
    pub roots: Vec<PathBuf>,
}

impl Default for Forward {
    fn default() -> Forward {
        Forward {
            connect_time: Period::seconds(5),
            answer_time: Period::seconds(300),
            idle_stream: None,
            keep_alive: Period::seconds(4),
            idle_connections: 64,
            list_bytes: 4 << 20,
            headers: Vec::new(),
            roots: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Records reach the kernel as their HTTP transactions end, and the disk at most this much later.
    pub sync_every: Period,
    /// A new file after this many bytes, and every day (UTC).
    pub file_bytes: u64,
    /// Files older than this, or the oldest ones above this many bytes in all, are removed.
    pub keep: Period,
    pub keep_bytes: u64,
    /// What happens to calls while records cannot be written.
    pub on_failure: OnFailure,
    /// Records of refused requests kept per second; more are counted in one record, so that a flood cannot push out history.
    pub refusals_per_second: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Answer 503: no call without a record.
    #[default]
    Refuse,
    /// Let calls through; how many went unrecorded is recorded when writing works again.
    Continue,
}

impl OnFailure {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Refuse => "refuse",
            OnFailure::Continue => "continue",
        }
    }
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            sync_every: Period::seconds(1),
            file_bytes: 64 << 20,
            keep: Period::days(90),
            keep_bytes: 8 << 30,
            on_failure: OnFailure::Refuse,
            refusals_per_second: 100,
        }
    }
}
