//! The reasons why a role cannot join, or cannot reach its collector; each with its origin and the next step.

use rules::wire::Timestamp;
use std::{fmt, io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the join token is not of the form gnomon1.<64 hexadecimal digits>.<secret>")]
    Token,
    #[error("`{0}` is not the address of a collector")]
    Url(String),
    #[error("the collector refused: {0}")]
    Refused(String),
    #[error("the client certificate expired at {0}; only a new enrolment replaces it")]
    Expired(Timestamp),
    #[error("the collector at {url} could not be reached: {why}")]
    Unreachable { url: String, why: String },
    /// Another version, another authority, or something that is no collector.
    #[error("the collector's answer cannot be used: {0}")]
    Answer(String),
    /// The files of the identity are readable, and not of one identity.
    #[error("key, certificate and root of this machine cannot be used together: {0}")]
    Credentials(String),
    #[error("{} cannot be used: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
    /// Without it a report could come to be numbered like another one.
    #[error("the epoch of the reports cannot be kept in {}: {why}", path.display())]
    Epoch { path: PathBuf, why: io::Error },
}

/// The side on which an engineer looks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    CommandLine,
    Machine,
    Network,
    Collector,
}

impl Error {
    pub fn origin(&self) -> Origin {
        match self {
            Error::Token | Error::Url(_) => Origin::CommandLine,
            Error::Refused(_) | Error::Answer(_) => Origin::Collector,
            Error::Unreachable { .. } => Origin::Network,
            Error::Expired(_) | Error::Credentials(_) | Error::File { .. } | Error::Epoch { .. } => Origin::Machine,
        }
    }

    /// The next step.
    pub fn fix(&self) -> &'static str {
        match self {
            Error::Token => "copy the whole token from the collector; it is one word",
            Error::Url(_) => "give --collector (GNOMON_COLLECTOR) as the intake's address, for example https://collector.example:7412",
            Error::Refused(_) => {
                "ask the collector's operator for a new join token: gnomon tokens issue; a token works once and for a limited time"
            }
            Error::Expired(_) => "start again with --token TOKEN and a new join token: gnomon tokens issue, at the collector",
            Error::Unreachable { .. } => "`gnomon doctor --collector URL` tells whether the collector can be reached at all",
            Error::Answer(_) => "use the same version of Gnomon on this machine and at the collector",
            Error::Credentials(_) => {
                "remove the `identity` directory from the data directory, and join again with --collector URL --token TOKEN"
            }
            Error::File { .. } => {
                "make the file readable, or remove `identity` from the data directory and join again with --collector URL --token TOKEN"
            }
            Error::Epoch { .. } => "make room, or choose another directory: --data DIR",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::CommandLine => "this command line",
            Origin::Machine => "this machine",
            Origin::Network => "the network in between",
            Origin::Collector => "the collector",
        })
    }
}
