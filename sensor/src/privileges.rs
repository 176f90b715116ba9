//! The one capability a sensor needs, and giving it up.

use caps::{CapSet, Capability};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this process may not open packet sockets: CAP_NET_RAW is missing (run as root, or `setcap cap_net_raw+ep` on the executable)")]
    NoRawSockets,
    #[error("this process could not give up CAP_NET_RAW, so it refuses to read packets with it: {0}")]
    NotGivenUp(String),
}

/// Whether packet sockets can be opened.
pub fn may_capture() -> Result<(), Error> {
    match caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW) {
        Ok(true) => Ok(()),
        _ => Err(Error::NoRawSockets),
    }
}

/// Gives up every capability of the calling thread, for good: what is parsed from now on is parsed without.
///
/// Linux keeps capabilities per thread; threads started later inherit what is left.
pub fn give_up() -> Result<(), Error> {
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(None, set).map_err(|e| Error::NotGivenUp(e.to_string()))?;
    }
    Ok(())
}
