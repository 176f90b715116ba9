//! A site's own pack, laid over another: known signatures are weighed or worded anew, new ones are added.
//!
//! What keeps a block honest is not a site's to change by a slip: whose bytes a signature is made of, and whether it speaks for, against
//! or is a negative control.

use super::{Pack, Side, Signature, Strength, is_signature_id};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeSet;

/// Why nothing was taken of a text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {why}")]
pub struct Refusal {
    pub line: u64,
    pub column: u64,
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(alias = "marks")]
    signatures: Vec<Change>,
}

/// A signature as an overlay says it. What is left out stays as it was; a new signature leaves out nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    id: Spanned<String>,
    strength: Option<Strength>,
    side: Option<Side>,
    says: Option<String>,
    source: Option<String>,
}

impl Pack {
    pub const MAX_MARKS: usize = 1024;
    /// Characters of an id, and of what a signature says.
    pub const MAX_ID: usize = 120;
    pub const MAX_TEXT: usize = 400;

    /// This pack with `yaml` laid over it. Nothing is taken of a text that is broken anywhere.
    pub fn lay(&self, yaml: &str) -> Result<Pack, Refusal> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|why| unreadable(&why))?;
        let (mut laid, mut seen) = (self.clone(), BTreeSet::new());
        for change in file.signatures {
            let at = change.id.referenced;
            let id = change.id.value.clone();
            if !is_signature_id(&id) || id.len() > Pack::MAX_ID {
                return Err(refuse(at, format!("mark id `{}` is not of the form witness.side.name in lower case", short(&id))));
            }
            if !seen.insert(id.clone()) {
                return Err(refuse(at, format!("mark `{id}` is defined twice")));
            }
            let signature = match self.get(&id) {
                Some(known) => change.over(known),
                None => change.anew(self),
            };
            let signature = signature.and_then(fits).map_err(|why| refuse(at, why))?;
            laid.signatures.insert(id, signature);
            if laid.signatures.len() > Pack::MAX_MARKS {
                return Err(refuse(at, format!("more than {} marks", Pack::MAX_MARKS)));
            }
        }
        Ok(laid)
    }
}

impl Change {
    fn over(self, known: &Signature) -> Result<Signature, String> {
        if self.side.is_some_and(|side| side != known.side) {
            return Err(format!("the side of `{}` cannot change: whose bytes carried a mark is a fact, not a weight", known.id));
        }
        let strength = self.strength.unwrap_or(known.strength);
        if strength != known.strength && (speaks_for(strength), speaks_for(known.strength)) != (true, true) {
            return Err(format!(
                "`{}` cannot become or cease to be `against` or `control`; weak, strong and decisive are weights",
                known.id
            ));
        }
        let (says, source) = (self.says.unwrap_or_else(|| known.says.clone()), self.source.unwrap_or_else(|| known.source.clone()));
        Ok(Signature { id: known.id.clone(), strength, side: known.side, says, source })
    }

    fn anew(self, known: &Pack) -> Result<Signature, String> {
        let id = self.id.value;
        let (Some(strength), Some(side), Some(says), Some(source)) = (self.strength, self.side, self.says, self.source) else {
            let near = nearest(&id, known.iter().map(|m| m.id.as_str()));
            return Err(format!("mark `{id}` is not known, and a new one needs strength, side, says and source{near}"));
        };
        if strength == Strength::Control {
            return Err(format!("`{id}` cannot be a negative control: which those are is built in"));
        }
        let named = id.split('.').nth(1).unwrap_or_default();
        let agrees = match side {
            Side::Server => named == "server",
            Side::Client => named == "client",
            Side::Context => named == "context",
        };
        if !agrees {
            return Err(format!("`{id}` says `{}` in its name and another side beside it", short(named)));
        }
        Ok(Signature { id, strength, side, says, source })
    }
}

fn speaks_for(strength: Strength) -> bool {
    matches!(strength, Strength::Weak | Strength::Strong | Strength::Decisive)
}

/// Both end up in front of people, and in each report.
fn fits(signature: Signature) -> Result<Signature, String> {
    for (key, text) in [("says", &signature.says), ("source", &signature.source)] {
        if text.trim().is_empty() || text.chars().count() > Pack::MAX_TEXT || text.chars().any(char::is_control) {
            return Err(format!("`{key}` of `{}` must be one line of 1 to {} characters", signature.id, Pack::MAX_TEXT));
        }
    }
    Ok(signature)
}

fn unreadable(why: &serde_saphyr::Error) -> Refusal {
    use serde_saphyr::Error::{SerdeUnknownField, SerdeUnknownVariant};
    let why = why.without_snippet();
    let at = why.location().unwrap_or(Location::UNKNOWN);
    match why {
        SerdeUnknownField { field, expected, .. } => {
            refuse(at, format!("unknown key `{}`{}", short(field), nearest(field, expected.iter().copied())))
        }
        SerdeUnknownVariant { variant, expected, .. } => {
            refuse(at, format!("`{}` is not one of {}{}", short(variant), expected.join(", "), nearest(variant, expected.iter().copied())))
        }
        other => refuse(at, crate::printable::printable(other.to_string().lines().next().unwrap_or_default(), 300)),
    }
}

fn refuse(at: Location, why: String) -> Refusal {
    Refusal { line: at.line().max(1), column: at.column().max(1), why }
}

fn short(text: &str) -> String {
    crate::printable::printable(text, 80)
}

/// A guess at what was meant, or nothing when nothing is like it.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Likeness takes time by the product of the lengths.
    let wrong: String = wrong.chars().take(Pack::MAX_ID).collect();
    let near = known.map(|k| (strsim::jaro_winkler(&wrong, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    near.filter(|(like, _)| *like > 0.7).map(|(_, k)| format!("; did you mean `{k}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
