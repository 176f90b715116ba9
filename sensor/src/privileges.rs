//! The one capability a sensor needs, and giving it up.

use caps::{CapSet, Capability};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this process may not open packet sockets: CAP_NET_RAW is missing (run as root, or `setcap cap_net_raw+ep` on the executable)")]
    NoRawSockets,
    #[error("this process could not give up the capabilities it does not need, so it refuses to read strangers' bytes with them: {0}")]
    NotGivenUp(String),
}

/// Whether packet sockets can be opened.
pub fn may_capture() -> Result<(), Error> {
    match caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW) {
        Ok(true) => Ok(()),
        _ => Err(Error::NoRawSockets),
    }
}

/// Gives up every capability but those a sensor uses: packet sockets, and reading what other users' processes have open. To be
/// called before other threads start.
pub fn keep_only_watching() -> Result<(), Error> {
    const KEPT: [Capability; 3] = [Capability::CAP_NET_RAW, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];
    // A set can only shrink to what is also permitted; inheritable first, so that no child gets any.
    caps::clear(None, CapSet::Inheritable).map_err(|e| Error::NotGivenUp(e.to_string()))?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        let held = caps::read(None, set).map_err(|e| Error::NotGivenUp(e.to_string()))?;
        let kept = held.into_iter().filter(|c| KEPT.contains(c)).collect();
        caps::set(None, set, &kept).map_err(|e| Error::NotGivenUp(e.to_string()))?;
    }
    Ok(())
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
