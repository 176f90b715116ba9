//! Fusion: what the testimonies about one server add up to, and why.

use crate::{
    Timestamp,
    evidence::Witness,
    pack::{Pack, Side, Strength},
    period::Period,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Something hints at it. Nobody is told; a probe or a host sensor may settle it.
    Candidate,
    /// Two independent strong marks from the server's side or its host, or a decisive answer to a probe without its control.
    Probable,
    /// A decisive mark from the server's own side that no counter-evidence spoils and, when a probe asked for it, a negative
    /// control that was refused.
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
    /// What a block needs beyond the clock: an active confirmation, or two witnesses who each say something strong of the
    /// server itself. A port that listens, a name, or a client that tries corroborates nothing.
    pub corroborated: bool,
    pub reasons: Vec<String>,
}

/// One mark as one witness heard it, and when last.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    pub witness: Witness,
    pub mark: &'a str,
    pub last: Timestamp,
}

/// Counter-evidence counts against marks that are not newer than it by more than this: what answered otherwise last month
/// may be an MCP server today.
const STALE: Period = Period::days(1);

/// Judges a server by its marks alone.
///
/// Counter-evidence spoils what the same witness said: one odd message on the wire must not hide a server from a probe, and
/// a thing that says yes to whatever a probe asks may still be seen to serve clients.
pub fn judge<'a>(heard: impl IntoIterator<Item = Heard<'a>>, pack: &Pack) -> Judgement {
    let marks = Marks::sort(heard, pack);
    let believed = |m: &&Mark<'a>| !marks.spoiled(m);
    // A probe can ask for nonsense as well, so its word settles nothing before it did.
    let (decisive, undecided): (BTreeSet<_>, BTreeSet<_>) =
        marks.decisive.iter().filter(believed).map(Mark::name).partition(|(w, _)| *w != Witness::Probe || marks.control);
    let strong: BTreeSet<_> = marks.strong.iter().filter(believed).map(Mark::name).chain(undecided).collect();
    let tried: BTreeSet<_> = marks.client.iter().filter(believed).map(Mark::name).collect();

    let confidence = if !decisive.is_empty() {
        Confidence::Confirmed
    } else if strong.iter().any(|(_, id)| pack.weigh(id).0 == Strength::Decisive)
        || strong.len() >= 2
        || (!strong.is_empty() && !tried.is_empty())
    {
        Confidence::Probable
    } else {
        Confidence::Candidate
    };
    let probe_decided = decisive.iter().any(|(w, _)| *w == Witness::Probe);
    let actively_confirmed = probe_decided && marks.control;
    let speaking: BTreeSet<Witness> = decisive.iter().chain(&strong).map(|(w, _)| *w).collect();
    Judgement {
        confidence,
        actively_confirmed,
        corroborated: actively_confirmed || (confidence == Confidence::Confirmed && speaking.len() >= 2),
        reasons: marks.reasons(confidence, &decisive, &strong, pack),
    }
}

struct Mark<'a> {
    witness: Witness,
    id: &'a str,
    last: Timestamp,
}

impl<'a> Mark<'a> {
    fn name(&self) -> (Witness, &'a str) {
        (self.witness, self.id)
    }
}

#[derive(Default)]
struct Marks<'a> {
    decisive: Vec<Mark<'a>>,
    strong: Vec<Mark<'a>>,
    client: Vec<Mark<'a>>,
    weak: Vec<Mark<'a>>,
    against: Vec<Mark<'a>>,
    control: bool,
}

impl<'a> Marks<'a> {
    fn sort(heard: impl IntoIterator<Item = Heard<'a>>, pack: &Pack) -> Marks<'a> {
        let mut marks = Marks::default();
        for Heard { witness, mark: id, last } in heard {
            let mark = Mark { witness, id, last };
            match pack.weigh(id) {
                (Strength::Against, _) => marks.against.push(mark),
                (Strength::Control, _) => marks.control = true,
                (Strength::Decisive, Side::Server) => marks.decisive.push(mark),
                (Strength::Strong, Side::Server | Side::Context) => marks.strong.push(mark),
                (Strength::Strong | Strength::Decisive, _) => marks.client.push(mark),
                (Strength::Weak, _) => marks.weak.push(mark),
            }
        }
        marks
    }

    fn spoiled(&self, mark: &Mark<'_>) -> bool {
        self.against.iter().any(|a| a.witness == mark.witness && STALE.after(a.last) >= mark.last)
    }

    fn reasons(
        &self,
        confidence: Confidence,
        decisive: &BTreeSet<(Witness, &str)>,
        strong: &BTreeSet<(Witness, &str)>,
        pack: &Pack,
    ) -> Vec<String> {
        let says = |id: &str| pack.get(id).map_or_else(|| format!("mark {}", crate::printable::printable(id, 80)), |m| m.says.clone());
        let names = |marks: &[Mark<'a>]| marks.iter().map(|m| (m.name(), ())).collect::<BTreeMap<_, _>>().into_keys();
        let mut reasons: Vec<String> = names(&self.against).map(|(_, id)| format!("against: {}", says(id))).collect();
        reasons.extend(decisive.iter().chain(strong).map(|(_, id)| says(id)));
        let doubted = |seen: &[Mark<'a>], kept: &BTreeSet<(Witness, &str)>| {
            names(seen)
                .filter(|n| !kept.contains(n))
                .map(|(_, id)| format!("not believed, because of what speaks against it: {}", says(id)))
                .collect::<Vec<_>>()
        };
        reasons.extend(doubted(&self.decisive, &decisive.union(strong).copied().collect()));
        reasons.extend(doubted(&self.strong, strong));
        if confidence < Confidence::Confirmed {
            reasons.extend(names(&self.client).map(|(_, id)| format!("a client's side only: {}", says(id))));
            reasons.extend(names(&self.weak).map(|(_, id)| says(id)));
        }
        if self.control {
            reasons.push("the negative control was refused, as a real server does".to_owned());
        }
        reasons
    }
}

#[cfg(test)]
mod tests;
