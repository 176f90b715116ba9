//! The memory of an interrogation, parted by the reason to remember.

use super::{Ask, Hint, Options, TLS_FIRST, Todo};
use crate::probe::{answer::TlsFacts, question::safe_target};
use rules::endpoint::Endpoint;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Questions to come, the one on its way, and how many were asked.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) todo: VecDeque<Todo>,
    pub(super) current: Option<Todo>,
    pub(super) asked: u16,
    /// Makes the ids of these questions those of this interrogation.
    pub(super) seed: u64,
}

impl Queue {
    /// Begins with the paths that somebody named, then the usual ones.
    pub(super) fn new(hint: &Hint, options: &Options, seed: u64) -> Queue {
        let mut todo = VecDeque::new();
        let mut seen = BTreeSet::new();
        for path in hint.paths.iter().take(8).chain(options.paths.iter()) {
            if let Some(path) = safe_target(path)
                && seen.insert(path.clone())
            {
                todo.push_back(Todo::new(Ask::Discover, &path, None));
            }
        }
        Queue { todo, current: None, asked: 0, seed }
    }
}

/// The way the endpoint is spoken to.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) tls: bool,
    /// The other scheme was tried.
    pub(super) switched: bool,
    pub(super) http2: bool,
    /// An HTTP answer came, in the scheme in use.
    pub(super) spoke_http: bool,
    /// Something took the connection, and said nothing that lines of JSON exclude.
    pub(super) may_take_lines: Option<bool>,
    pub(super) localhost_tried: bool,
}

impl Channel {
    pub(super) fn new(endpoint: Endpoint, hint: &Hint) -> Channel {
        let tls = hint.tls.unwrap_or(TLS_FIRST.contains(&endpoint.port));
        Channel { tls, switched: false, http2: false, spoke_http: false, may_take_lines: None, localhost_tried: false }
    }
}

/// Properties of the server that change which questions are gentle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    pub(super) express: bool,
    pub(super) cors: bool,
    /// A 404 to POST means that no method has this route.
    pub(super) absent_is_absent: bool,
    /// Something stands in front that may keep several sites apart by `Host`.
    pub(super) proxied: bool,
    /// Its refusals have the id `server-error`, as those of the Python SDK's first transport.
    pub(super) old_python: bool,
}

/// Questions that led nowhere, so that they are not repeated without end.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) silent: u8,
    /// Answers in JSON-RPC that are not MCP.
    pub(super) other_rpc: u8,
    /// Paths that refused `server/discover` as a server refuses nonsense: no negative control is needed there.
    pub(super) as_nonsense: BTreeSet<String>,
    /// Refusals, and how often `initialize` did no better after one.
    pub(super) in_vain: BTreeMap<String, u8>,
    /// The refusal at the path of the last `server/discover`.
    pub(super) last: String,
    /// Paths where nothing is.
    pub(super) nothing_at: BTreeSet<String>,
}

/// Event streams of 2024-11-05.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Paths asked by `GET` or looked at by `OPTIONS`.
    pub(super) asked: BTreeSet<String>,
    pub(super) legacy_asked: bool,
    /// A stream route that takes GET only.
    pub(super) get_only: Option<String>,
}

/// Paths that ask for a token.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub(super) paths: BTreeSet<String>,
    pub(super) methods_asked: bool,
}

/// Sessions that the server minted for these questions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// To be ended, or ended already; at most one for each question.
    pub(super) minted: BTreeSet<String>,
    pub(super) ended: u16,
}

/// Certificates of both sides.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// The test identity is shown.
    pub(super) ours_shown: bool,
    pub(super) theirs: Option<TlsFacts>,
    /// The server's refusal of a client without a certificate.
    pub(super) refused_without: Option<String>,
}

/// Whether anybody is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence {
    pub(super) reached: bool,
    pub(super) absent: bool,
    /// It was gone after it had answered, and was waited for once.
    pub(super) waited: bool,
    /// The next question waits a few seconds.
    pub(super) pause: bool,
}
