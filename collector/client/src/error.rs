//! The reasons why a role cannot join, or cannot reach its collector.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the join token is not of the form gnomon1.<64 hexadecimal digits>.<secret>; copy the whole token from the collector")]
    Token,
    #[error("`{0}` is not the address of a collector; an address looks like https://collector.example:7412")]
    Url(String),
    #[error("the collector refused: {0}; a token works once and for a limited time, the collector issues new ones")]
    Refused(String),
    #[error("the collector at {url} could not be reached: {why}")]
    Unreachable { url: String, why: String },
    /// The two sides do not fit: another version, another authority, or a key that is not the certificate's.
    #[error("the collector's credentials do not fit: {0}")]
    Answer(String),
    #[error("{} cannot be used: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
}
