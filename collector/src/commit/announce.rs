//! Log lines of a transaction, written after its commit only: a line in the log is a row in the database.

use crate::journal::Verb;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    Journal { actor: String, verb: Verb, subject: String, reason: String },
    PacksRefused { why: String },
}

/// Says them to the log of this process.
pub(crate) fn log(announcements: &[Announcement]) {
    for announcement in announcements {
        match announcement {
            Announcement::Journal { actor, verb, subject, reason } => {
                tracing::info!(%actor, verb = verb.as_str(), %subject, %reason, "journal");
            }
            Announcement::PacksRefused { why } => {
                tracing::warn!(%why, "the signature packs are refused; the last good ones stay in force");
            }
        }
    }
}
