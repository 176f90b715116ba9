//! A message to people, as it waits in the outbox and as a channel is given it.

use rules::{Timestamp, finding::FindingKind, period::Period};
use serde::{Deserialize, Serialize};
use std::fmt;

crate::words::stored_words! {
    /// Where a letter is delivered.
    pub(crate) Channel {
        Webhook = "webhook",
        Security = "security",
        Log = "log",
        Syslog = "syslog",
    }
}

crate::words::stored_words! {
    /// The subject of a letter.
    pub(crate) LetterKind {
        Notice = "notice",
        Reminder = "reminder",
        Blocked = "blocked",
        Released = "released",
    }
}

/// The content of a letter: the JSON body of a webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    #[serde(rename = "step")]
    pub(crate) about: LetterKind,
    pub(crate) finding: String,
    pub(crate) kind: FindingKind,
    pub(crate) site: String,
    /// The owner, or `security queue`.
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) place: Option<String>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) reasons: Vec<String>,
    /// Whether its delivery proves that a responsible person was told.
    pub(crate) is_proof: bool,
}

/// One step of a finding's life that people are told of. Each happens once, so nobody is told the same thing twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// With the time at which the finding was opened.
    Notice(Timestamp),
    NoticeToSecurity(Timestamp),
    /// So long before the deadline.
    Reminder(Period, Timestamp),
    Blocked(Timestamp),
    Released(Timestamp),
    /// Of another version.
    Other(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Notice(opened) => write!(f, "notice@{opened}"),
            Step::NoticeToSecurity(opened) => write!(f, "notice to security@{opened}"),
            Step::Reminder(before, deadline) => write!(f, "reminder {before}@{deadline}"),
            Step::Blocked(at) => write!(f, "blocked@{at}"),
            Step::Released(at) => write!(f, "released@{at}"),
            Step::Other(text) => f.write_str(text),
        }
    }
}

impl From<String> for Step {
    fn from(text: String) -> Step {
        let read = || {
            let (what, at) = text.split_once('@')?;
            let at = at.parse().ok()?;
            match what {
                "notice" => Some(Step::Notice(at)),
                "notice to security" => Some(Step::NoticeToSecurity(at)),
                "blocked" => Some(Step::Blocked(at)),
                "released" => Some(Step::Released(at)),
                _ => Some(Step::Reminder(what.strip_prefix("reminder ")?.parse().ok()?, at)),
            }
        };
        // A step is half of a key: a text that would not be written the same way again is kept as it is.
        read().filter(|step| step.to_string() == text).unwrap_or(Step::Other(text))
    }
}

/// A letter in the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) step: Step,
    pub(crate) channel: Channel,
    pub(crate) attempts: i64,
    pub(crate) letter: Letter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_as_it_is_stored_and_an_unknown_one_is_kept() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let steps = [
            Step::Notice(at),
            Step::NoticeToSecurity(at),
            Step::Reminder(Period::days(3), at),
            Step::Blocked(at),
            Step::Released(at),
            Step::Other("digest@2027-01-15".to_owned()),
            Step::Other("notice@yesterday".to_owned()),
        ];
        for step in steps {
            assert_eq!(Step::from(step.to_string()), step);
        }
        for channel in Channel::ALL {
            assert_eq!(Channel::from(channel.to_string()), *channel);
        }
        for about in LetterKind::ALL {
            assert_eq!(LetterKind::from(about.to_string()), *about);
        }
    }
}
