//! A registration as people write it, and as a finding fills it in for them.

use rules::{
    Timestamp,
    evidence::Transport,
    registry::{Backend, Lifecycle, Registration},
    server::Server,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What to register: a [`Registration`] without what the collector fills in (revision, time, addresses).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub slug: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub version: String,
    pub owner: String,
    pub contact: String,
    pub backends: Vec<DraftBackend>,
    #[serde(default)]
    pub transport: Option<Transport>,
    #[serde(default)]
    pub lifecycle: Lifecycle,
    #[serde(default)]
    pub tools: BTreeSet<String>,
    /// Who asks; `admin` when not said.
    #[serde(default)]
    pub registered_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftBackend {
    pub url: url::Url,
}

impl Draft {
    /// Most tools that are pinned.
    const MAX_TOOLS: usize = 512;

    /// Text is made printable; whether the result is sound is `Registration::check`'s to say.
    pub fn into_registration(self, now: Timestamp) -> Registration {
        let plain = |text: &str, max: usize| rules::printable::printable(text.trim(), max + 1);
        let by = self.registered_by.as_deref().map_or_else(|| "admin".to_owned(), |by| plain(by, 200));
        Registration {
            slug: self.slug,
            name: plain(&self.name, 200),
            description: plain(&self.description, 2000),
            version: plain(&self.version, 64),
            owner: plain(&self.owner, 200),
            contact: plain(&self.contact, 320),
            backends: self.backends.into_iter().map(|b| Backend { url: b.url, addresses: BTreeSet::new() }).collect(),
            transport: self.transport,
            lifecycle: self.lifecycle,
            tools: self.tools.iter().take(Draft::MAX_TOOLS).map(|t| plain(t, 128)).collect(),
            revision: 0,
            registered_at: now,
            registered_by: by,
        }
    }

    /// "Register this server": what the inventory knows of it, for its owner to look over.
    pub fn of(server: &Server) -> Draft {
        let info = server.profile.server_info.as_ref();
        let endpoint = server.place.endpoint;
        let name = info.map_or_else(|| server.place.host.clone().unwrap_or_else(|| endpoint.to_string()), |i| i.name.clone());
        let owner = server.owner().map(|o| o.name.clone()).unwrap_or_default();
        let scheme = if server.profile.tls == Some(true) { "https" } else { "http" };
        // The address that answered. A name is what some caller put into `Host`: never where calls are sent.
        let url = url::Url::parse(&format!("{scheme}://{endpoint}{}", server.place.path.as_deref().unwrap_or("/")));
        Draft {
            slug: slug(&name, endpoint.port),
            name,
            description: String::new(),
            version: info.and_then(|i| i.version.clone()).unwrap_or_else(|| "0.0.0".to_owned()),
            contact: owner.clone(),
            owner,
            backends: url.into_iter().map(|url| DraftBackend { url }).collect(),
            transport: server.profile.transports.iter().next_back().copied(),
            lifecycle: Lifecycle::Active,
            tools: server.profile.tools.clone(),
            registered_by: None,
        }
    }
}

/// `My Server!` becomes `my-server`; what leaves nothing becomes `server-3001`.
fn slug(name: &str, port: u16) -> String {
    let mut slug = String::new();
    for c in name.chars().take(63) {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { format!("server-{port}") } else { slug.to_owned() }
}
