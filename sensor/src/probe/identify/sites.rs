//! Whether other sites live where a server was found: a block of the endpoint would hit them too.
//!
//! Asked last, with `GET /`, and only where names may make a difference: software in front that keeps sites apart, another answer under a
//! name that is nobody's, a certificate for several names. What counts is a page under such a name that the server's own does not have; a
//! refusal shows no site.

use super::{Ask, FOREIGN, Indicator, Interrogation, Todo};
use crate::probe::{
    answer::{HttpAnswer, Outcome},
    question::safe_host,
};
use rules::{evidence::Facts, printable::printable};

/// Other names asked for at most.
const NAMES: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Sites {
    /// Somebody else may have answered under a name that is nobody's.
    pub(super) hinted: bool,
    /// Nothing more is asked.
    pub(super) over: bool,
    /// Names still to be asked for, the next one last; `None`: not begun.
    names: Option<Vec<String>>,
    /// What there is under another name: the name, and its page in short.
    found: Option<(String, String)>,
    /// The server's own page, once it was asked for.
    own: Option<Option<String>>,
}

impl Interrogation {
    pub(super) fn other_site(&mut self) -> Option<Todo> {
        if self.sites.over || !self.options.foreign_host || self.server_path().is_none() {
            return None;
        }
        if self.sites.names.is_none() {
            self.sites.names = Some(self.other_names());
        }
        let compare = self.sites.found.is_some() && self.sites.own.is_none();
        let host = if compare { None } else { Some(self.sites.names.as_mut()?.pop()?) };
        Some(Todo::new(Ask::Site, "/", host))
    }

    pub(super) fn site(&mut self, todo: &Todo, outcome: &Outcome) {
        let page = match outcome {
            Outcome::Answer(answer) => gist(answer),
            _ => None,
        };
        match &todo.host {
            Some(name) => self.sites.found = page.map(|page| (name.clone(), page)),
            None => self.sites.own = Some(page),
        }
        self.compare();
    }

    /// One site under both names says nothing: another name may still lead elsewhere.
    fn compare(&mut self) {
        let (Some(path), Some(own)) = (self.server_path(), self.sites.own.clone()) else { return };
        let Some((name, page)) = self.sites.found.take().filter(|(_, page)| own.as_ref() != Some(page)) else { return };
        self.sites.over = true;
        let detail = format!("GET / as {name}: {page}; as itself: {}", own.as_deref().unwrap_or("no page"));
        self.indicators.push((path, Indicator { signature: "probe.context.other-site", detail, facts: Facts::default() }));
    }

    /// Where an MCP server was found for sure.
    fn server_path(&self) -> Option<String> {
        let good = |signature: &str| matches!(signature, "probe.server.discover-result" | "probe.server.initialize-result");
        self.indicators.iter().find(|(_, s)| good(s.signature)).map(|(path, _)| path.clone())
    }

    fn other_names(&self) -> Vec<String> {
        let shown = self.certificates.theirs.as_ref().map(|c| c.names.as_slice()).unwrap_or_default();
        let own = self.name();
        let mut names: Vec<String> = shown
            .iter()
            .filter_map(|name| safe_host(&name.to_ascii_lowercase()))
            // A certificate for one name, however short or long, is for one site; addresses and wildcards name none.
            .filter(|name| name.contains('.') && name.parse::<std::net::IpAddr>().is_err() && Some(name) != own.as_ref())
            .take(NAMES)
            .collect();
        if own.is_none() && names.len() < 2 {
            names.clear();
        }
        if self.traits.proxied || self.sites.hinted {
            names.push(FOREIGN.to_owned());
        }
        names
    }
}

/// A page in so few words that one site says them each time: its title, or how it begins.
fn gist(answer: &HttpAnswer) -> Option<String> {
    if !(200..300).contains(&answer.head.status) {
        return None;
    }
    let text = answer.text();
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    let words = printable(title.unwrap_or(&text).trim(), 60);
    (!words.is_empty()).then(|| format!("{} \"{words}\"", answer.head.status))
}
