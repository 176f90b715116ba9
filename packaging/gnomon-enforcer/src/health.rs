//! The services that must answer for new blocks to stay. The courier asks them; the enforcer hears the answers.

use rules::{endpoint::Endpoint, period::Period};
use serde::{Deserialize, Serialize};
use url::Url;

/// `[health]`: what must answer for new blocks to stay. The collector is always asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Off: new blocks have their full lease at once.
    pub enabled: bool,
    /// The resolvers of this host must answer.
    pub dns: bool,
    /// Must take a TCP connection: the gateway, what the site cannot do without.
    pub connect: Vec<Endpoint>,
    /// Must answer a GET with a status below 500.
    pub get: Vec<Url>,
    /// One question may take so long.
    pub within: Period,
    /// How often it is asked when nothing is new, to know what fails anyway.
    pub every: Period,
}

impl Default for Config {
    fn default() -> Config {
        Config { enabled: true, dns: true, connect: Vec::new(), get: Vec::new(), within: Period::seconds(3), every: Period::seconds(30) }
    }
}
