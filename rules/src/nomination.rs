//! Names as a source: an agent looks up a name that no sanctioned tool server has, and then connects to a port where MCP servers often
//! are. Such a lookup nominates the place for a probe, and never more: what answers there only the wire, the host or a probe can tell.

use crate::{policy::Policy, printable::printable, server::Server};
use std::{fmt, net::IpAddr};

/// An agent that went where no sanctioned name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsanctionedLookup {
    pub agent: IpAddr,
    pub name: String,
    pub port: u16,
    pub why: &'static str,
}

impl fmt::Display for UnsanctionedLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnsanctionedLookup { agent, name, port, why } = self;
        write!(f, "the agent {agent} looked up `{}`, {why}, and connected to port {port}", printable(name, 253))
    }
}

/// Agents that got to this server by names that are off, if its port is one MCP servers often use.
pub fn unsanctioned_lookups<'a>(server: &'a Server, policy: &'a Policy) -> impl Iterator<Item = UnsanctionedLookup> + 'a {
    let endpoint = server.place.endpoint;
    let agents =
        server.clients.iter().filter(move |(client, _)| endpoint.is_usual_port() && policy.agents.iter().any(|net| net.contains(*client)));
    agents.flat_map(move |(agent, caller)| {
        let lookup = |name: &String| {
            let why = policy.naming.objection(name)?;
            Some(UnsanctionedLookup { agent: *agent, name: name.clone(), port: endpoint.port, why })
        };
        // A name in order among those it used excuses the others: short forms are completed to it.
        let all: Option<Vec<UnsanctionedLookup>> = caller.names.iter().map(lookup).collect();
        all.unwrap_or_default()
    })
}

/// Whether names alone make this place worth asking.
pub fn nominates(server: &Server, policy: &Policy) -> bool {
    unsanctioned_lookups(server, policy).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        endpoint::Place,
        evidence::{Client, Evidence, Facts, Source},
        naming::Pattern,
        pack::Pack,
    };

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
        let says = |server: &Server, policy: &Policy| unsanctioned_lookups(server, policy).map(|s| s.to_string()).collect::<Vec<_>>();
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
