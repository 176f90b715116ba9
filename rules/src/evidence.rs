//! What a sensor saw, without a judgement.

use crate::{Timestamp, endpoint::Place};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr};

/// Who says so. The three are independent: a verdict gains by a second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// What was said on the network.
    Wire,
    /// Which process listens, which client configuration names it.
    Host,
    /// What it answered when asked.
    Probe,
}

/// One thing seen, once, at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub place: Place,
    #[serde(rename = "witness", alias = "source")]
    pub source: Source,
    /// The id of a [`crate::pack::Signature`], for example `wire.server.initialize-result`.
    #[serde(rename = "mark", alias = "signature")]
    pub signature: String,
    /// What was seen, printable, redacted (no token, no session id, no argument), at most [`Evidence::MAX_DETAIL`] characters.
    pub detail: String,
    pub at: Timestamp,
    pub facts: Facts,
}

impl Evidence {
    pub const MAX_DETAIL: usize = 240;

    pub fn new(place: Place, source: Source, signature: &str, at: Timestamp) -> Evidence {
        Evidence { place, source, signature: signature.to_owned(), detail: String::new(), at, facts: Facts::default() }
    }

    /// The detail, made printable and cut.
    pub fn detail(mut self, text: &str) -> Evidence {
        self.detail = crate::printable::printable(text, Evidence::MAX_DETAIL);
        self
    }

    pub fn facts(mut self, facts: Facts) -> Evidence {
        self.facts = facts;
        self
    }
}

/// What else an observation told about a server. Everything is optional and additive; all text is printable and bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// A dated protocol revision, for example `2025-11-25`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub revisions: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<Implementation>,
    /// Names of tools listed or called; never arguments.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tools: BTreeSet<String>,
    /// Names the address was looked up by lately, by the client if there is one: printable, lower case.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exposures: BTreeSet<Exposure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// 2025-03-26 to 2025-11-25.
    #[serde(rename = "streamable-http")]
    StreamableHttp,
    /// 2026-07-28: POST only, no session.
    #[serde(rename = "stateless-http")]
    StatelessHttp,
    /// 2024-11-05.
    #[serde(rename = "http+sse")]
    HttpSse,
    #[serde(rename = "websocket")]
    WebSocket,
    #[serde(rename = "raw-tcp")]
    RawTcp,
    #[serde(rename = "stdio")]
    Stdio,
}

/// How the server tells callers apart, as far as was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    None,
    Bearer,
    ApiKey,
    Mtls,
    Basic,
    Unknown,
}

impl Auth {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Auth::None => "none",
            Auth::Bearer => "bearer",
            Auth::ApiKey => "api-key",
            Auth::Mtls => "mtls",
            Auth::Basic => "basic",
            Auth::Unknown => "unknown",
        }
    }
}

/// `serverInfo` or `clientInfo`: self-declared, never a basis for trust.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Implementation {
    pub name: String,
    pub version: Option<String>,
}

impl Implementation {
    /// What our own probes call themselves.
    pub const PROBE: &'static str = "gnomon-probe";

    /// Whether it calls itself our probe. Anybody can, so only this follows from it: it is no client that a block would break, and
    /// asks for no second look. What a server answers to it counts like any answer.
    pub fn is_probe(&self) -> bool {
        self.name == Implementation::PROBE
    }
}

/// Somebody who talks to a server: whom a block would break.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Client {
    pub address: IpAddr,
    pub software: Option<Implementation>,
}

/// The process behind a listening socket. Arguments are kept only as far as they name the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub executable: String,
    /// Redacted command line, at most 200 characters.
    pub command: String,
    pub user: String,
    /// systemd unit, when the cgroup names one.
    pub unit: Option<String>,
    pub container: Option<String>,
    /// The address it is bound to; unspecified means every interface.
    pub bound: IpAddr,
}

/// Who answers for a server, and how we know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// A login, an e-mail address, a team.
    pub name: String,
    pub source: OwnerSource,
}

/// Best first: the order is the order of belief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerSource {
    Registry,
    ProcessUser,
    SystemdUnit,
    Container,
    GitRemote,
    StaticMap,
    DhcpLease,
    ReverseDns,
}

impl OwnerSource {
    /// In words for people.
    pub fn as_str(self) -> &'static str {
        match self {
            OwnerSource::Registry => "registry",
            OwnerSource::ProcessUser => "user of the process",
            OwnerSource::SystemdUnit => "systemd unit",
            OwnerSource::Container => "container",
            OwnerSource::GitRemote => "git remote",
            OwnerSource::StaticMap => "static map",
            OwnerSource::DhcpLease => "DHCP lease",
            OwnerSource::ReverseDns => "reverse DNS",
        }
    }

    /// Whether a message may be addressed by it. What a machine says of itself on the network may be anybody's invention:
    /// it is a hint for the security queue, no more.
    pub fn accountable(self) -> bool {
        !matches!(self, OwnerSource::DhcpLease | OwnerSource::ReverseDns)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    NoAuth,
    WildcardBind,
    ForeignHostAccepted,
    NoTls,
}
