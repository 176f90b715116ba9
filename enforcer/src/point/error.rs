//! The reasons why an enforcement point did not do as it was told.

use crate::{
    check::Objection,
    intake::{Distrust, Refused},
    nft, state,
};
use rules::{Timestamp, period::Period};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] state::Error),
    #[error("the set is refused: {0}")]
    Refused(#[from] Refused),
    /// The last good set stays.
    #[error("the plan is refused, nothing was changed: {}", list(.0))]
    Objected(Vec<Objection>),
    #[error("enforcement is unavailable on this host: {0}")]
    Unavailable(String),
    #[error("the kernel refused the ruleset: {0}")]
    Kernel(String),
    #[error("the kernel does not hold what it was given: {0}")]
    Differs(String),
    #[error("enforcement was stopped on this host ({0}); `gnomon enforce resume` ends that")]
    Stopped(String),
    /// A person rolled back or removed it while it was to be renewed.
    #[error("generation {0} is no longer to be in force on this host")]
    Superseded(u64),
    #[error("a trial is running until {0}: confirm it or roll it back first")]
    TrialRunning(Timestamp),
    #[error("a trial of {asked} would outlast the lease of what is in force; at most {most}")]
    TrialTooLong { asked: Period, most: Period },
    #[error("a trial of {asked} is too short to be confirmed; at least {least}")]
    TrialTooShort { asked: Period, least: Period },
    #[error("the agent ranges differ from those in force, and a trial can try blocks alone: apply it confirmed, or not at all")]
    TrialOfAgents,
    #[error("there is no trial to confirm; if it lapsed, apply again")]
    NoTrial,
    #[error("nothing was applied here, so there is nothing to roll back")]
    NothingApplied,
}

impl From<nft::Error> for Error {
    fn from(why: nft::Error) -> Error {
        match why {
            nft::Error::Unavailable(why) => Error::Unavailable(why),
            nft::Error::Refused(why) => Error::Kernel(why),
        }
    }
}

/// Keys that are none are an error of this point's configuration.
impl From<Distrust> for Error {
    fn from(why: Distrust) -> Error {
        Error::Refused(why.into())
    }
}

fn list(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
