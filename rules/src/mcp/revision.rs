//! Revisions of the protocol. Each is named by its date, so the order of the texts is the order of the revisions.

use std::fmt;

/// A published revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// HTTP with two endpoints: a stream of server-sent events, and a URL to post to.
    V2024_11_05,
    /// Streamable HTTP with sessions. The only revision with batches.
    V2025_03_26,
    /// `MCP-Protocol-Version` after `initialize`.
    V2025_06_18,
    V2025_11_25,
    /// No `initialize` and no session: every request names its revision and its capabilities.
    V2026_07_28,
}

/// The two ways in which a request says to which revision it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Up to 2025-11-25: `initialize` agrees on a revision.
    Legacy,
    /// From 2026-07-28 on: every request speaks for itself.
    Modern,
}

impl Revision {
    /// All published revisions, oldest first.
    pub const ALL: [Revision; 5] =
        [Revision::V2024_11_05, Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28];
    /// The newest revision that has `initialize`.
    pub const LAST_LEGACY: Revision = Revision::V2025_11_25;
    /// The oldest revision without.
    pub const FIRST_MODERN: Revision = Revision::V2026_07_28;

    pub const fn as_str(self) -> &'static str {
        match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
            Revision::V2026_07_28 => "2026-07-28",
        }
    }

    /// The published revision of this name; `None` for a date that is none, such as that of a draft.
    pub fn parse(text: &str) -> Option<Revision> {
        Revision::ALL.into_iter().find(|r| r.as_str() == text)
    }

    pub fn era(self) -> Era {
        if self >= Revision::FIRST_MODERN { Era::Modern } else { Era::Legacy }
    }

    /// Whether a POST may hold an array of messages.
    pub fn has_batches(self) -> bool {
        self == Revision::V2025_03_26
    }

    /// Whether a server may open a session that `Mcp-Session-Id` names.
    pub fn has_sessions(self) -> bool {
        (Revision::V2025_03_26..=Revision::LAST_LEGACY).contains(&self)
    }

    /// Whether clients have to send `MCP-Protocol-Version`.
    pub fn has_version_header(self) -> bool {
        self >= Revision::V2025_06_18
    }
}

impl Era {
    /// The era of a revision by its date, also of one that is not published (yet); `None`: no date.
    pub fn of(revision: &str) -> Option<Era> {
        is_date(revision).then(|| if revision >= Revision::FIRST_MODERN.as_str() { Era::Modern } else { Era::Legacy })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a text has the shape of a revision's name: ten characters, digits and dashes as in `2025-11-25`. Whether there is such a day is
/// not looked at.
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
}
