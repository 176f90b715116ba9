//! What is allowed to exist: registrations.

use crate::{
    Timestamp,
    endpoint::{Endpoint, Place},
    evidence::Transport,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A registered server: one slug, one gateway path, one or more backends.
///
/// It travels in bundles, where an older gateway ignores what a newer collector adds; what people write has a stricter shape of
/// its own where it comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// `[a-z0-9][a-z0-9-]{0,62}`: the last part of the gateway's URL.
    pub slug: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Semantic version of what is registered.
    pub version: String,
    /// Who answers for it: a person or a team, with an address.
    pub owner: String,
    pub contact: String,
    pub backends: Vec<Backend>,
    #[serde(default)]
    pub transport: Option<Transport>,
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// Names of tools pinned as a set; empty: not pinned.
    #[serde(default)]
    pub tools: BTreeSet<String>,
    /// Grows with every change of this registration.
    #[serde(default)]
    pub revision: u64,
    pub registered_at: Timestamp,
    pub registered_by: String,
}

/// Where a registered server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub url: url::Url,
    /// What the name resolved to when it was registered or last refreshed; an address in the URL stands for itself.
    #[serde(default)]
    pub addresses: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Lifecycle {
    #[default]
    Active,
    Deprecated {
        since: Timestamp,
        sunset: Option<Timestamp>,
    },
    Sunset {
        since: Timestamp,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    #[error("slug `{0}` must be 1 to 63 characters of a-z, 0-9 and -, not starting with -")]
    Slug(String),
    #[error("`{field}` is {got} characters long, at most {max} are kept")]
    TooLong { field: &'static str, got: usize, max: usize },
    #[error("`{0}` must not be empty")]
    Empty(&'static str),
    #[error("backend `{0}` must be an http or https URL with a host, without user, password or fragment")]
    Backend(String),
    #[error("a registration has 1 to {max} backends, not {got}")]
    Backends { got: usize, max: usize },
}

impl Backend {
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(0)
    }

    fn address_in_url(&self) -> Option<IpAddr> {
        match self.url.host()? {
            url::Host::Ipv4(a) => Some(IpAddr::V4(a)),
            url::Host::Ipv6(a) => Some(IpAddr::V6(a)),
            url::Host::Domain(_) => None,
        }
    }

    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.addresses.iter().copied().chain(self.address_in_url()).map(|a| Endpoint::new(a, self.port()))
    }

    /// Whether a server seen at `place` is this backend. A place without a path is the whole endpoint.
    pub fn covers(&self, place: &Place) -> bool {
        let mine = Place::new(place.endpoint).with_target(self.url.path());
        let same_endpoint = self.endpoints().any(|e| e == place.endpoint);
        same_endpoint && (place.path.is_none() || place.path == mine.path)
    }
}

impl Registration {
    pub const MAX_BACKENDS: usize = 32;

    pub fn covers(&self, place: &Place) -> bool {
        self.backends.iter().any(|b| b.covers(place))
    }

    /// Since when it is past its sunset, if it is.
    pub fn retired_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.lifecycle {
            Lifecycle::Sunset { since } => Some(since),
            Lifecycle::Deprecated { sunset: Some(at), .. } if at <= now => Some(at),
            _ => None,
        }
    }

    pub fn check(&self) -> Result<(), RegistrationError> {
        if !is_slug(&self.slug) {
            return Err(RegistrationError::Slug(crate::printable::printable(&self.slug, 80)));
        }
        for (field, text, max) in [
            ("name", &self.name, 200),
            ("description", &self.description, 2000),
            ("version", &self.version, 64),
            ("owner", &self.owner, 200),
            ("contact", &self.contact, 320),
        ] {
            let got = text.chars().count();
            if got > max {
                return Err(RegistrationError::TooLong { field, got, max });
            }
            if text.trim().is_empty() && field != "description" {
                return Err(RegistrationError::Empty(field));
            }
        }
        let got = self.backends.len();
        if got == 0 || got > Registration::MAX_BACKENDS {
            return Err(RegistrationError::Backends { got, max: Registration::MAX_BACKENDS });
        }
        for b in &self.backends {
            let u = &b.url;
            let plain = matches!(u.scheme(), "http" | "https") && u.has_host() && u.username().is_empty() && u.password().is_none();
            if !plain || u.fragment().is_some() {
                // What is refused for holding a password does not go on to a log with it.
                let mut shown = u.clone();
                let hidden = shown.set_password(None).and_then(|()| shown.set_username("")).is_ok();
                let shown = if hidden || u.username().is_empty() { shown.as_str() } else { "the URL" };
                return Err(RegistrationError::Backend(crate::printable::printable(shown, 200)));
            }
        }
        Ok(())
    }
}

pub fn is_slug(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// All registrations of a site, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    pub revision: u64,
    pub registrations: BTreeMap<String, Registration>,
}

impl Registry {
    /// The registration a place belongs to: a standing one if there is one, else a retired one.
    pub fn find(&self, place: &Place, now: Timestamp) -> Option<&Registration> {
        let mut covering = self.registrations.values().filter(|r| r.covers(place)).peekable();
        let first = covering.peek().copied();
        covering.find(|r| r.retired_at(now).is_none()).or(first)
    }

    /// Endpoints that a block must never hit: those of every registration that is not retired.
    pub fn endpoints(&self, now: Timestamp) -> BTreeSet<Endpoint> {
        self.standing(now).flat_map(|r| r.backends.iter().flat_map(Backend::endpoints)).collect()
    }

    /// The standing registration that answers at this endpoint, on whatever path.
    pub fn at_endpoint(&self, endpoint: Endpoint, now: Timestamp) -> Option<&Registration> {
        self.standing(now).find(|r| r.backends.iter().any(|b| b.endpoints().any(|e| e == endpoint)))
    }

    fn standing(&self, now: Timestamp) -> impl Iterator<Item = &Registration> {
        self.registrations.values().filter(move |r| r.retired_at(now).is_none())
    }
}

#[cfg(test)]
pub(crate) mod tests;
