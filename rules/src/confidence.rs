//! Fusion: what the testimonies about one server add up to, and why.

use crate::{
    evidence::Witness,
    pack::{Pack, Side, Strength},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Something hints at it. Nobody is told; a probe or a host sensor may settle it.
    Candidate,
    /// Two independent strong marks from the server's side or its host.
    Probable,
    /// A decisive mark from the server's own side that no counter-evidence spoils.
    Confirmed,
}

impl Confidence {
    pub fn as_str(self) -> &'static str {
        match self {
            Confidence::Candidate => "candidate",
            Confidence::Probable => "probable",
            Confidence::Confirmed => "confirmed",
        }
    }
}

/// A confidence with its reasons, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    pub confidence: Confidence,
    /// A probe asked, was answered decisively, and its negative control was refused.
    pub actively_confirmed: bool,
    pub reasons: Vec<String>,
}

/// Judges a server by its marks alone: which were seen, by which witness.
pub fn judge<'a>(marks: impl IntoIterator<Item = (Witness, &'a str)>, pack: &Pack) -> Judgement {
    let mut decisive = BTreeSet::new();
    let mut strong = BTreeSet::new();
    let mut client = BTreeSet::new();
    let mut against = BTreeSet::new();
    let mut weak = BTreeSet::new();
    let mut control = false;
    for (witness, id) in marks {
        match pack.weigh(id) {
            (Strength::Against, _) => drop(against.insert((witness, id))),
            (Strength::Control, _) => control = true,
            (Strength::Decisive, Side::Server) => drop(decisive.insert((witness, id))),
            (Strength::Strong, Side::Server | Side::Context) => drop(strong.insert((witness, id))),
            (Strength::Strong | Strength::Decisive, _) => drop(client.insert((witness, id))),
            (Strength::Weak, _) => drop(weak.insert((witness, id))),
        }
    }

    let says = |id: &str| pack.get(id).map_or_else(|| format!("mark {id}"), |m| m.says.clone());
    let mut reasons = Vec::new();
    let probe_decided = decisive.iter().any(|(w, _)| *w == Witness::Probe);
    let spoiled = !against.is_empty();
    let confidence = if spoiled {
        reasons.extend(against.iter().map(|(_, id)| format!("against: {}", says(id))));
        Confidence::Candidate
    } else if !decisive.is_empty() {
        Confidence::Confirmed
    } else if strong.len() >= 2 || (!strong.is_empty() && !client.is_empty()) {
        Confidence::Probable
    } else {
        Confidence::Candidate
    };
    reasons.extend(decisive.iter().map(|(_, id)| says(id)));
    reasons.extend(strong.iter().map(|(_, id)| says(id)));
    if confidence < Confidence::Confirmed {
        reasons.extend(client.iter().map(|(_, id)| format!("a client's side only: {}", says(id))));
        reasons.extend(weak.iter().map(|(_, id)| says(id)));
    }
    if control {
        reasons.push("the negative control was refused, as a real server does".to_owned());
    }
    Judgement { confidence, actively_confirmed: probe_decided && control && !spoiled, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Witness::{Host, Probe, Wire};

    fn confidence(marks: &[(Witness, &str)]) -> Confidence {
        judge(marks.iter().copied(), &Pack::shipped()).confidence
    }

    #[test]
    fn ports_paths_and_names_alone_are_candidates_however_many() {
        let marks = [
            (Wire, "wire.context.port"),
            (Wire, "wire.context.dns-name"),
            (Wire, "wire.context.tls-name"),
            (Host, "host.context.listener"),
        ];
        assert_eq!(confidence(&marks), Confidence::Candidate);
    }

    #[test]
    fn a_client_that_tries_is_not_a_server_that_answers() {
        let marks = [(Wire, "wire.client.initialize"), (Wire, "wire.client.version-header"), (Wire, "wire.client.accept-pair")];
        assert_eq!(confidence(&marks), Confidence::Candidate);
    }

    #[test]
    fn one_decisive_answer_confirms_and_counter_evidence_spoils_it() {
        assert_eq!(confidence(&[(Probe, "probe.server.discover-result")]), Confidence::Confirmed);
        let echo = [(Probe, "probe.server.discover-result"), (Probe, "probe.control.answered")];
        assert_eq!(confidence(&echo), Confidence::Candidate);
        assert!(!judge(echo, &Pack::shipped()).actively_confirmed);
    }

    #[test]
    fn active_confirmation_needs_the_negative_control() {
        let pack = Pack::shipped();
        assert!(!judge([(Probe, "probe.server.discover-result")], &pack).actively_confirmed);
        assert!(judge([(Probe, "probe.server.discover-result"), (Probe, "probe.control.refused")], &pack).actively_confirmed);
    }
}
