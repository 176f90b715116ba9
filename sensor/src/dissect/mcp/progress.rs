//! How far a client has come with a server whose answers are not in the capture. A question proves nothing; what a client can only
//! know, or only does, after a good answer does: a session, the revision that was chosen, the next step.

/// The shortest answer to `initialize` or `server/discover` that MCP allows is longer, an error that says little is shorter.
const AN_ANSWER: u32 = 100;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The session it went on in last.
    session: Option<u64>,
    stage: Stage,
    /// It asked for the list of tools.
    listed: bool,
    /// Of the server's bytes, when it asked to be let in.
    taken: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It did not ask to be let in, or that is not in the capture.
    #[default]
    Unknown,
    /// It asked, with nothing in its hand that an answer gives.
    Asked,
    /// It asked with what only the answer gives: it does not look at answers.
    Deaf,
    /// It said that it is in, with the revision that the server chose.
    In,
    /// It asked by `server/discover`.
    Discovering,
}

/// What a client's message shows of how far it is.
#[derive(Debug)]
pub(super) struct ClientStep<'a> {
    pub method: &'a str,
    pub session: Option<u64>,
    /// The session is in the query of the request, where others have one too, and was given before `initialize`.
    pub in_query: bool,
    pub versioned: bool,
    pub stateless: bool,
    /// Bytes of the server's that it has confirmed, where nothing else is spoken on the connection.
    pub taken: Option<u32>,
}

impl Progress {
    /// The next message; why it shows that the client was let in, if it does.
    pub(super) fn go_on(&mut self, said: &ClientStep<'_>) -> Option<&'static str> {
        match said.method {
            "initialize" => {
                let deaf = said.versioned || (said.session.is_some() && !said.in_query);
                let stage = if deaf { Stage::Deaf } else { Stage::Asked };
                *self = Progress { stage, session: said.session, taken: said.taken.unwrap_or(0), listed: false };
                return None;
            }
            "server/discover" => {
                *self = Progress { stage: Stage::Discovering, taken: said.taken.unwrap_or(0), ..Progress::default() };
                return None;
            }
            _ => {}
        }
        let again = said.session.is_some() && self.session == said.session;
        let first = said.session.is_some() && self.session.is_none();
        self.session = said.session.or(self.session);
        let answered = said.taken.is_none_or(|taken| taken.wrapping_sub(self.taken) >= AN_ANSWER);
        let listed = self.listed;
        self.listed |= said.method == "tools/list";
        match (self.stage, said.method) {
            (Stage::Deaf, _) => None,
            (Stage::Asked, _) if first => Some("has a session, after initialize without one"),
            (Stage::Asked, _) if again => Some("goes on in its session"),
            (Stage::Unknown, _) if again && !said.in_query => Some("goes on in its session"),
            (Stage::Asked, "notifications/initialized") if said.taken.is_some() => {
                answered.then_some("initialized, after initialize was answered")
            }
            (Stage::Asked, "notifications/initialized") => {
                if said.versioned {
                    self.stage = Stage::In;
                }
                None
            }
            (Stage::In, _) if said.versioned => Some("goes on with the revision that was chosen"),
            (Stage::Discovering, _) if said.stateless && answered => Some("goes on after server/discover"),
            (_, "tools/call") if listed && said.versioned => Some("calls a tool after it asked for the list"),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Methods as a client sends them: `#s` in the session s, `?s` with it in the query, `@` with a revision, `*` with the stateless one,
    /// `+n` after n more bytes of the server's.
    fn shown(script: &str) -> Option<&'static str> {
        let (mut progress, mut taken, mut last) = (Progress::default(), 0, None);
        for step in script.split_whitespace() {
            let method = step.split(['#', '?', '@', '*', '+']).next().unwrap();
            let more = step.split_once('+').map(|(_, n)| n.parse::<u32>().unwrap());
            taken += more.unwrap_or(0);
            let said = ClientStep {
                method,
                session: step.contains(['#', '?']).then_some(7),
                in_query: step.contains('?'),
                versioned: step.contains(['@', '*']),
                stateless: step.contains('*'),
                taken: more.map(|_| taken),
            };
            last = progress.go_on(&said).or(last);
        }
        last
    }

    #[test]
    fn what_only_an_answer_gives_shows_that_there_was_one() {
        for script in [
            "initialize notifications/initialized#s",
            "initialize?s notifications/initialized?s",
            "tools/list#s tools/call#s",
            "initialize notifications/initialized@ tools/list@",
            "server/discover* tools/list*",
            "tools/list* tools/call*",
            "tools/list@ tools/call@",
            "initialize+0 notifications/initialized+130",
            "server/discover*+0 tools/list*+130",
            "server/discover* initialize notifications/initialized#s",
        ] {
            assert!(shown(script).is_some(), "{script}");
        }
    }

    #[test]
    fn who_goes_on_whatever_is_answered_shows_nothing() {
        for script in [
            "initialize",
            "initialize initialize",
            "server/discover* server/discover* initialize",
            "initialize notifications/initialized tools/list tools/call",
            "initialize notifications/initialized@",
            "initialize@ notifications/initialized@ tools/list@ tools/call@",
            "initialize#s notifications/initialized#s tools/list#s",
            "tools/list tools/call",
            "tools/list?s tools/call?s",
            "server/discover* tools/list",
            "initialize+0 notifications/initialized+0 tools/list+0",
            "initialize+0 notifications/initialized+78 tools/list+78",
            "tools/call#s",
        ] {
            assert_eq!(shown(script), None, "{script}");
        }
    }
}
