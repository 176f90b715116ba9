//! Fusion: what the testimonies about one server add up to, and why.

use crate::{
    Timestamp,
    evidence::Source,
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
    /// Two independent strong signatures from the server's side or its host, or a decisive answer to a probe without its control.
    Probable,
    /// A decisive signature from the server's own side that no counter-evidence spoils and, when a probe asked for it, a negative
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
    /// What a block needs beyond the clock: an active confirmation, or two sources who each say something strong of the
    /// server itself. A port that listens, a name, or a client that tries corroborates nothing.
    pub corroborated: bool,
    pub reasons: Vec<String>,
}

/// One signature as one source heard it, and when last.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    pub source: Source,
    pub signature: &'a str,
    pub last: Timestamp,
}

/// Counter-evidence counts against signatures that are not newer than it by more than this: what answered otherwise last month
/// may be an MCP server today.
const STALE: Period = Period::days(1);

/// Judges a server by its signatures alone.
///
/// Counter-evidence spoils what the same source said: one odd message on the wire must not hide a server from a probe, and
/// a thing that says yes to whatever a probe asks may still be seen to serve clients.
pub fn judge<'a>(heard: impl IntoIterator<Item = Heard<'a>>, pack: &Pack) -> Judgement {
    let signatures = Signatures::sort(heard, pack);
    let believed = |m: &&Signature<'a>| !signatures.spoiled(m);
    // A probe can ask for nonsense as well, so its word settles nothing before it did.
    let (decisive, undecided): (BTreeSet<_>, BTreeSet<_>) =
        signatures.decisive.iter().filter(believed).map(Signature::name).partition(|(w, _)| *w != Source::Probe || signatures.control);
    let strong: BTreeSet<_> = signatures.strong.iter().filter(believed).map(Signature::name).chain(undecided).collect();
    let tried: BTreeSet<_> = signatures.client.iter().filter(believed).map(Signature::name).collect();

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
    let probe_decided = decisive.iter().any(|(w, _)| *w == Source::Probe);
    let actively_confirmed = probe_decided && signatures.control;
    let speaking: BTreeSet<Source> = decisive.iter().chain(&strong).map(|(w, _)| *w).collect();
    Judgement {
        confidence,
        actively_confirmed,
        corroborated: actively_confirmed || (confidence == Confidence::Confirmed && speaking.len() >= 2),
        reasons: signatures.reasons(confidence, &decisive, &strong, pack),
    }
}

struct Signature<'a> {
    source: Source,
    id: &'a str,
    last: Timestamp,
}

impl<'a> Signature<'a> {
    fn name(&self) -> (Source, &'a str) {
        (self.source, self.id)
    }
}

#[derive(Default)]
struct Signatures<'a> {
    decisive: Vec<Signature<'a>>,
    strong: Vec<Signature<'a>>,
    client: Vec<Signature<'a>>,
    weak: Vec<Signature<'a>>,
    against: Vec<Signature<'a>>,
    control: bool,
}

impl<'a> Signatures<'a> {
    fn sort(heard: impl IntoIterator<Item = Heard<'a>>, pack: &Pack) -> Signatures<'a> {
        let mut signatures = Signatures::default();
        for Heard { source, signature: id, last } in heard {
            let signature = Signature { source, id, last };
            match pack.weigh(id) {
                (Strength::Against, _) => signatures.against.push(signature),
                (Strength::Control, _) => signatures.control = true,
                (Strength::Decisive, Side::Server) => signatures.decisive.push(signature),
                (Strength::Strong, Side::Server | Side::Context) => signatures.strong.push(signature),
                (Strength::Strong | Strength::Decisive, _) => signatures.client.push(signature),
                (Strength::Weak, _) => signatures.weak.push(signature),
            }
        }
        signatures
    }

    fn spoiled(&self, signature: &Signature<'_>) -> bool {
        self.against.iter().any(|a| a.source == signature.source && STALE.after(a.last) >= signature.last)
    }

    fn reasons(
        &self,
        confidence: Confidence,
        decisive: &BTreeSet<(Source, &str)>,
        strong: &BTreeSet<(Source, &str)>,
        pack: &Pack,
    ) -> Vec<String> {
        let says = |id: &str| pack.get(id).map_or_else(|| format!("mark {}", crate::printable::printable(id, 80)), |m| m.says.clone());
        let names = |signatures: &[Signature<'a>]| signatures.iter().map(|m| (m.name(), ())).collect::<BTreeMap<_, _>>().into_keys();
        let mut reasons: Vec<String> = names(&self.against).map(|(_, id)| format!("against: {}", says(id))).collect();
        reasons.extend(decisive.iter().chain(strong).map(|(_, id)| says(id)));
        let doubted = |seen: &[Signature<'a>], kept: &BTreeSet<(Source, &str)>| {
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
