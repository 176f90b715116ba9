//! Commands that speak to a collector's admin API: what is known, what is wrong, what is allowed, who may call.

pub mod explain;
pub mod findings;
pub mod import;
pub mod keys;
pub mod policy;
mod receipt;
pub mod registry;
pub mod report;
pub mod sensors;
pub mod servers;

use crate::{
    api::{Access, Api},
    failure::Failure,
};
use launch::Global;
use std::future::Future;

/// Opens the API and runs one command on it.
pub(crate) fn with<T, F>(access: &Access, global: &Global, command: impl FnOnce(Api) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let api = Api::open(access, global)?;
    launch::block_on(command(api))
}

/// Who is at the keyboard, for the journal: `login@host`, as far as this machine tells.
pub(crate) fn whoami() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok().flatten().map_or_else(|| "unknown".to_owned(), |u| u.name);
    let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_else(|| "unknown".to_owned());
    format!("{user}@{host}")
}
