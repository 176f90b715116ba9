//! The naming convention of a site: how the names of its sanctioned tool servers look.

use crate::printable::printable;
use serde::{Deserialize, Serialize};

/// How names of tool servers look at this site. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Naming {
    /// A name that fits one of these is in order. Empty: every name is, but those in `.local` and those without a dot.
    pub convention: Vec<Pattern>,
}

impl Naming {
    /// Why a name is off, in words for people; `None` when it is in order.
    pub fn objection(&self, name: &str) -> Option<&'static str> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if self.convention.iter().any(|pattern| pattern.fits(&name)) {
            None
        } else if name == "local" || name.ends_with(".local") {
            Some("in .local, which nobody assigns (RFC 6762)")
        } else if !name.contains('.') {
            Some("a single label, which every network may answer differently")
        } else if !self.convention.is_empty() {
            Some("off the naming convention")
        } else {
            None
        }
    }
}

/// A name with wildcards: `*` is any text without a dot, a leading `**.` any labels or none. `mcp-*.svc.example`, `**.mcp.example`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
        let labels = text.strip_prefix("**.").unwrap_or(&text);
        let good = |label: &str| !label.is_empty() && !label.contains("**") && label.bytes().all(is_of_label);
        if labels.split('.').all(good) {
            Ok(Pattern(text))
        } else {
            Err(format!("`{}` is no pattern of names: labels with `*`, and `**.` in front for any labels", printable(&text, 80)))
        }
    }

    /// Whether a name in lower case without a final dot fits.
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, any) = self.0.strip_prefix("**.").map_or((self.0.as_str(), false), |rest| (rest, true));
        let (pattern, name): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), name.split('.').collect());
        let Some(before) = name.len().checked_sub(pattern.len()).filter(|before| any || *before == 0) else { return false };
        pattern.iter().zip(name.iter().skip(before)).all(|(pattern, label)| fits_label(pattern, label))
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        Pattern::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*')
}

/// The parts between the stars, in this order: the first begins the label, the last ends it.
fn fits_label(pattern: &str, label: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut label) = label.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match label.split_once(part) {
            Some((_, after)) => label = after,
            None => return false,
        }
    }
    label.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("mcp-*.svc.example", "mcp-git.svc.example", true),
            ("mcp-*.svc.example", "mcp-git.eu.svc.example", false),
            ("mcp-*.svc.example", "git.svc.example", false),
            ("**.mcp.example", "mcp.example", true),
            ("**.mcp.example", "a.b.MCP.example.", true),
            ("**.mcp.example", "xmcp.example", false),
            ("*-a*b-*.example", "x-a-y-b-z.example", true),
            ("*-a*b-*.example", "x-b-a.example", false),
            ("a*a.example", "a.example", false),
        ] {
            let naming = Naming { convention: vec![Pattern::parse(pattern).unwrap()] };
            assert_eq!(naming.objection(name).is_none(), fits, "{pattern} {name}");
        }
        for bad in ["", "a..b", "**", "a.**.b", "a b", "mcp-[0-9]"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
