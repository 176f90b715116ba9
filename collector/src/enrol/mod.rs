//! How a remote sensor, enforcer or gateway becomes known.
//!
//! A join token `gnomon1.<SHA-256 of the root's SubjectPublicKeyInfo, hex>.<secret>` proves both sides: whoever joins checks the
//! root it is shown against the first part, the collector checks the secret (of which it keeps a hash). It is bound to a site and
//! a role, is good for one enrolment and one hour unless said otherwise, and is swapped for a client certificate of seven days.
//! A certificate counts as long as its serial number is on its owner's list: revoking takes effect with the next request.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod authority;

use crate::{
    intake::is_name,
    journal, secrets,
    sensors::{Enrolled, Role, Sensor},
    store::{Outcome, Turn, rows},
};
pub(crate) use authority::{Authority, Csr, LIFETIME};
use ring::digest;
use rules::{Timestamp, period::Period, registry::is_slug};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;

const MAX_TOKENS: usize = 10_000;
/// Characters of a token's hash that are enough to mean it. Lists show twelve.
const MIN_HASH: usize = 8;
const MAX_TTL: Period = Period::days(30);
/// Certificates of one name that stand at the same time: the newest, and older ones until they expire.
const MAX_SERIALS: usize = 4;

/// `POST /v1/tokens`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ask {
    pub(crate) site: Option<String>,
    pub(crate) role: Role,
    /// The name it gives; otherwise the request's common name, if it is free.
    pub(crate) name: Option<String>,
    pub(crate) ttl: Period,
    pub(crate) uses: u32,
}

impl Default for Ask {
    fn default() -> Ask {
        Ask { site: None, role: Role::Sensor, name: None, ttl: Period::seconds(3600), uses: 1 }
    }
}

/// A token as it is kept: by its hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) site: String,
    pub(crate) role: Role,
    pub(crate) name: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) uses_left: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Ask(&'static str),
    /// One text for what was never issued, is used up or was withdrawn: a guesser learns nothing.
    #[error("the token is not one of this collector, or was used already; ask for a new one with `gnomon tokens issue`")]
    Token,
    #[error("the token expired at {0}; ask for a new one")]
    Expired(Timestamp),
    #[error("`{0}` is enrolled already; revoke it first, or ask for a token with its name")]
    Taken(String),
    #[error("there are {0} sensors, as many as are allowed")]
    Full(usize),
    #[error("no token with the hash `{0}` is open")]
    NoToken(String),
    #[error("nothing is enrolled as `{0}`")]
    Unknown(String),
    #[error("{0}")]
    Randomness(String),
}

type Answer<T> = Outcome<Result<T, Refusal>>;

/// A name and a serial number that are now on the list; the certificate is made after the commit.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) role: Role,
    /// Hexadecimal.
    pub(crate) serial: String,
}

/// Issues a token; gives its secret part, which is not kept.
pub(crate) fn issue(turn: &mut Turn<'_>, ask: Ask) -> Answer<String> {
    let site = ask.site.unwrap_or_else(|| turn.state.config.site.clone());
    if !is_slug(&site) || ask.name.as_deref().is_some_and(|n| !is_name(n)) {
        return Ok(Err(Refusal::Ask("sites are 1 to 63 of a-z, 0-9 and -; names may have dots too")));
    }
    if ask.uses == 0 || ask.uses > 1000 || ask.ttl > MAX_TTL || ask.ttl.0.is_zero() || (ask.name.is_some() && ask.uses > 1) {
        return Ok(Err(Refusal::Ask("a token is good for 1 to 1000 uses (one if it gives a name) and at most 30d")));
    }
    if !turn.state.sites.contains_key(&site) && turn.state.sites.len() >= crate::state::State::MAX_SITES {
        return Ok(Err(Refusal::Ask("there are as many sites as are allowed")));
    }
    let old = rows::TOKENS.all::<Token>(turn.db)?;
    for (hash, _) in old.iter().filter(|(_, t)| t.expires_at < turn.now || t.uses_left == 0) {
        rows::TOKENS.delete(turn.db, hash)?;
    }
    if old.len() >= MAX_TOKENS {
        return Ok(Err(Refusal::Ask("there are too many open tokens; withdraw some")));
    }
    let secret = match secrets::random_hex(24) {
        Ok(secret) => secret,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    let token =
        Token { site, role: ask.role, name: ask.name, created_at: turn.now, expires_at: ask.ttl.after(turn.now), uses_left: ask.uses };
    let hash = hash(&secret);
    rows::TOKENS.put(turn.db, &hash, &token)?;
    let reason = format!("{:?} at site {}, until {}", token.role, token.site, token.expires_at);
    journal::write(turn, "admin", "token-issued", short(&hash), &reason, json!({"uses": token.uses_left, "name": token.name}))?;
    Ok(Ok(secret))
}

/// By the hash that lists show, or as much of it as means one token: what is on a person's screen has to be enough.
pub(crate) fn withdraw(turn: &mut Turn<'_>, given: &str) -> Answer<()> {
    if given.len() < MIN_HASH {
        return Ok(Err(Refusal::Ask("give at least 8 characters of the token's hash")));
    }
    let mut meant = rows::TOKENS.all::<Token>(turn.db)?;
    meant.retain(|(hash, _)| hash.starts_with(given));
    let hash = match meant.as_slice() {
        [(hash, _)] => hash,
        [] => return Ok(Err(Refusal::NoToken(rules::printable::printable(given, 80)))),
        _ => return Ok(Err(Refusal::Ask("the hashes of several tokens begin so; give more of it"))),
    };
    rows::TOKENS.delete(turn.db, hash)?;
    journal::write(turn, "admin", "token-withdrawn", short(hash), "asked for", json!({}))?;
    Ok(Ok(()))
}

/// Tokens that can still be used, by their hash.
pub(crate) fn open(db: &Connection, now: Timestamp) -> Outcome<Vec<(String, Token)>> {
    let mut all = rows::TOKENS.all::<Token>(db)?;
    all.retain(|(_, token)| token.uses_left > 0 && token.expires_at > now);
    Ok(all)
}

/// Takes a token's secret and a wanted name; gives the place that a certificate may be made for.
pub(crate) fn join(turn: &mut Turn<'_>, secret: &str, wanted: Option<&str>) -> Answer<Place> {
    let hash = hash(secret);
    let Some(mut token) = rows::TOKENS.get::<Token>(turn.db, &hash)?.filter(|t| t.uses_left > 0) else {
        turn.state.lose("enrolments-refused", 1);
        return Ok(Err(Refusal::Token));
    };
    if token.expires_at <= turn.now {
        return Ok(Err(Refusal::Expired(token.expires_at)));
    }
    let bound = token.name.clone();
    let wanted = wanted.filter(|n| is_name(n));
    let free = |name: &str| turn.state.sensors.get(name).is_none_or(|s| s.revoked.is_some());
    let name = match (&bound, wanted) {
        // A name's place is taken over only with a token that names it, or after it was revoked.
        (Some(bound), _) => bound.clone(),
        (None, Some(wanted)) if free(wanted) => wanted.to_owned(),
        // Hosts that share a name are common, and so are a sensor and a gateway on one host.
        (None, wanted) => match secrets::random_hex(4) {
            Ok(tail) => {
                format!("{}-{tail}", wanted.map_or_else(|| format!("{:?}", token.role).to_ascii_lowercase(), |w| cut(w, 54).to_owned()))
            }
            Err(why) => return Ok(Err(Refusal::Randomness(why))),
        },
    };
    let known = turn.state.sensors.get(&name);
    if known.is_some_and(|s| s.revoked.is_none()) && bound.is_none() {
        return Ok(Err(Refusal::Taken(name)));
    }
    let max = turn.state.config.limits.sensors;
    if known.is_none() && turn.state.sensors.len() >= max {
        return Ok(Err(Refusal::Full(max)));
    }
    let mut sensor = Sensor::new(&token.site, token.role);
    if let Some(known) = known.filter(|k| k.site == token.site && k.role == token.role) {
        sensor.received = known.received.clone();
    }
    let serial = match enlist(&mut sensor, turn.now) {
        Ok(serial) => serial,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    token.uses_left -= 1;
    if token.uses_left == 0 {
        rows::TOKENS.delete(turn.db, &hash)?;
    } else {
        rows::TOKENS.put(turn.db, &hash, &token)?;
    }
    let (site, role) = (token.site, token.role);
    turn.state.site(turn.db, &site, turn.now)?;
    rows::SENSORS.put(turn.db, &name, &sensor)?;
    let reason = format!("{role:?} at site {site}, with token {}", short(&hash));
    journal::write(turn, &format!("sensor:{name}"), "enrolled", &name, &reason, json!({"serial": serial}))?;
    turn.state.sensors.insert(name.clone(), sensor);
    Ok(Ok(Place { name, site, role, serial }))
}

/// Another certificate for a name whose present one stands. The old one counts until it expires.
pub(crate) fn renew(turn: &mut Turn<'_>, name: &str) -> Answer<Place> {
    let Some(mut sensor) = turn.state.sensors.get(name).filter(|s| s.revoked.is_none()).cloned() else {
        return Ok(Err(Refusal::Unknown(name.to_owned())));
    };
    let serial = match enlist(&mut sensor, turn.now) {
        Ok(serial) => serial,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    rows::SENSORS.put(turn.db, name, &sensor)?;
    journal::write(turn, &format!("sensor:{name}"), "renewed", name, "its certificate grows old", json!({"serial": serial}))?;
    let (site, role) = (sensor.site.clone(), sensor.role);
    turn.state.sensors.insert(name.to_owned(), sensor);
    Ok(Ok(Place { name: name.to_owned(), site, role, serial }))
}

pub(crate) fn revoke(turn: &mut Turn<'_>, name: &str) -> Answer<()> {
    let Some(mut sensor) = turn.state.sensors.get(name).cloned() else {
        return Ok(Err(Refusal::Unknown(rules::printable::printable(name, 80))));
    };
    sensor.revoked = Some(turn.now);
    sensor.serials.clear();
    rows::SENSORS.put(turn.db, name, &sensor)?;
    journal::write(turn, "admin", "revoked", name, "asked for", json!({}))?;
    turn.state.touched.sites.insert(sensor.site.clone());
    turn.state.sensors.insert(name.to_owned(), sensor);
    Ok(Ok(()))
}

fn enlist(sensor: &mut Sensor, now: Timestamp) -> Result<String, String> {
    // 128 bits with the first one clear: a positive INTEGER of at most 20 octets (RFC 5280 section 4.1.2.2).
    let serial = format!("01{}", secrets::random_hex(15)?);
    sensor.serials.push(serial.clone());
    if sensor.serials.len() > MAX_SERIALS {
        sensor.serials.remove(0);
    }
    sensor.enrolled = Some(Enrolled { at: now, not_after: LIFETIME.after(now) });
    Ok(serial)
}

fn hash(secret: &str) -> String {
    crate::hex(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref())
}

/// At most so many bytes; names are ASCII.
fn cut(name: &str, max: usize) -> &str {
    name.get(..max).unwrap_or(name)
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
