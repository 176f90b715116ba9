//! Names as a source: an agent that asks for a name no sanctioned tool server has, and then connects where MCP servers often are.
//! It nominates, and never more: what answers there only the wire, the host or a probe can tell.

use crate::{policy::Policy, printable::printable, server::Server};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

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

/// An agent that went where no sanctioned name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub agent: IpAddr,
    pub name: String,
    pub port: u16,
    pub why: &'static str,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stray { agent, name, port, why } = self;
        write!(f, "the agent {agent} looked up `{}`, {why}, and connected to port {port}", printable(name, 253))
    }
}

/// Agents that got to this server by names that are off, if its port is one MCP servers often use.
pub fn strays<'a>(server: &'a Server, policy: &'a Policy) -> impl Iterator<Item = Stray> + 'a {
    let endpoint = server.place.endpoint;
    let agents =
        server.clients.iter().filter(move |(client, _)| endpoint.is_usual_port() && policy.agents.iter().any(|net| net.contains(*client)));
    agents.flat_map(move |(agent, caller)| {
        let stray = |name: &String| {
            let why = policy.naming.objection(name)?;
            Some(Stray { agent: *agent, name: name.clone(), port: endpoint.port, why })
        };
        // A name in order among those it used excuses the others: short forms are completed to it.
        let all: Option<Vec<Stray>> = caller.names.iter().map(stray).collect();
        all.unwrap_or_default()
    })
}

/// Whether names alone make this place worth asking.
pub fn nominates(server: &Server, policy: &Policy) -> bool {
    strays(server, policy).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        endpoint::Place,
        evidence::{Client, Evidence, Facts, Source},
        pack::Pack,
    };

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

    fn seen(port: u16, agent: &str, names: &[&str]) -> Server {
        let place = Place::new(format!("10.0.0.5:{port}").parse().unwrap());
        let facts = Facts {
            client: Some(Client { address: agent.parse().unwrap(), software: None }),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            ..Facts::default()
        };
        let evidence = Evidence::new(place.clone(), Source::Wire, "wire.client.named-connection", Timestamp::UNIX_EPOCH).facts(facts);
        let mut server = Server::new("lab", place, Timestamp::UNIX_EPOCH);
        server.absorb("tap", &evidence, &Pack::shipped());
        server
    }

    #[test]
    fn an_agent_a_name_and_a_port_together_nominate() {
        let mut policy = Policy { agents: vec!["10.0.9.0/24".parse().unwrap()], ..Policy::default() };
        let says = |server: &Server, policy: &Policy| strays(server, policy).map(|s| s.to_string()).collect::<Vec<_>>();
        let server = seen(3001, "10.0.9.4", &["tools.local"]);
        assert!(server.is_attempt(&Pack::shipped()), "a lookup alone is no server to show");
        assert_eq!(
            says(&server, &policy),
            ["the agent 10.0.9.4 looked up `tools.local`, in .local, which nobody assigns (RFC 6762), and connected to port 3001"]
        );
        for other in [
            seen(3001, "10.0.8.4", &["tools.local"]),
            seen(443, "10.0.9.4", &["tools.local"]),
            seen(3001, "10.0.9.4", &["tools.corp.example"]),
            seen(3001, "10.0.9.4", &["tools", "tools.corp.example"]),
            seen(3001, "10.0.9.4", &[]),
        ] {
            assert_eq!(says(&other, &policy), [""; 0]);
        }
        policy.naming.convention = vec![Pattern::parse("mcp-*.corp.example").unwrap()];
        assert!(nominates(&seen(3001, "10.0.9.4", &["tools.corp.example"]), &policy));
        assert!(!nominates(&seen(3001, "10.0.9.4", &["mcp-tools.corp.example"]), &policy));
    }
}
