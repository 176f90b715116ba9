//! Joining, renewing, revoking: inside a transaction.

use super::{Identity, LIFETIME, Refusal, Token, TokenRequest};
use crate::{
    commit::{Outcome, Transaction},
    image::Image,
    journal::{self, Actor, Verb},
    losses::Loss,
    secrets,
    sensors::{Enrolled, Sensor, is_name},
    store::Read,
};
use ring::digest;
use rules::{Timestamp, period::Period, registry::is_slug};
use serde_json::json;

const MAX_TOKENS: usize = 10_000;
/// Characters of a token's hash that are enough to mean it. Lists show twelve.
const MIN_HASH: usize = 8;
const MAX_TTL: Period = Period::days(30);
/// Certificates of one name that stand at the same time: the newest, and older ones until they expire.
const MAX_SERIALS: usize = 4;

/// A refusal is an answer, not an error.
type Answered<T> = Outcome<Result<T, Refusal>>;

/// Issues a token; gives its secret part, which is not kept.
pub(crate) fn issue(tx: &mut Transaction<'_>, ask: TokenRequest) -> Answered<String> {
    let site = ask.site.unwrap_or_else(|| tx.image.config.site.clone());
    if !is_slug(&site) || ask.name.as_deref().is_some_and(|n| !is_name(n)) {
        return Ok(Err(Refusal::Ask("sites are 1 to 63 of a-z, 0-9 and -; names may have dots too")));
    }
    if ask.uses == 0 || ask.uses > 1000 || ask.ttl > MAX_TTL || ask.ttl.0.is_zero() || (ask.name.is_some() && ask.uses > 1) {
        return Ok(Err(Refusal::Ask("a token is good for 1 to 1000 uses (one if it gives a name) and at most 30d")));
    }
    if !tx.image.sites.contains_key(&site) && tx.image.sites.len() >= Image::MAX_SITES {
        return Ok(Err(Refusal::Ask("there are as many sites as are allowed")));
    }
    let old = tx.records.tokens()?;
    for (hash, _) in old.iter().filter(|(_, t)| t.expires_at < tx.now || t.uses_left == 0) {
        tx.records.delete_token(hash)?;
    }
    if old.len() >= MAX_TOKENS {
        return Ok(Err(Refusal::Ask("there are too many open tokens; withdraw some")));
    }
    let secret = match secrets::random_hex(24) {
        Ok(secret) => secret,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    let token = Token { site, role: ask.role, name: ask.name, created_at: tx.now, expires_at: ask.ttl.after(tx.now), uses_left: ask.uses };
    let hash = hash(&secret);
    tx.records.put_token(&hash, &token)?;
    let reason = format!("{} at site {}, until {}", token.role, token.site, token.expires_at);
    journal::write(tx, Actor::Admin, Verb::TokenIssued, short(&hash), &reason, json!({"uses": token.uses_left, "name": token.name}))?;
    Ok(Ok(secret))
}

/// By the hash that lists show, or by a beginning of it that only one token has.
pub(crate) fn withdraw(tx: &mut Transaction<'_>, given: &str) -> Answered<()> {
    if given.len() < MIN_HASH {
        return Ok(Err(Refusal::Ask("give at least 8 characters of the token's hash")));
    }
    let mut meant = tx.records.tokens()?;
    meant.retain(|(hash, _)| hash.starts_with(given));
    let hash = match meant.as_slice() {
        [(hash, _)] => hash,
        [] => return Ok(Err(Refusal::NoToken(rules::printable::printable(given, 80)))),
        _ => return Ok(Err(Refusal::Ask("the hashes of several tokens begin so; give more of it"))),
    };
    tx.records.delete_token(hash)?;
    journal::write(tx, Actor::Admin, Verb::TokenWithdrawn, short(hash), "asked for", json!({}))?;
    Ok(Ok(()))
}

/// Tokens that can still be used, by their hash.
pub(crate) fn open(read: &dyn Read, now: Timestamp) -> Outcome<Vec<(String, Token)>> {
    let mut all = read.tokens()?;
    all.retain(|(_, token)| token.uses_left > 0 && token.expires_at > now);
    Ok(all)
}

/// Takes a token's secret and a wanted name; gives the place that a certificate may be made for.
pub(crate) fn join(tx: &mut Transaction<'_>, secret: &str, wanted: Option<&str>) -> Answered<Identity> {
    let hash = hash(secret);
    let Some(mut token) = tx.records.token(&hash)?.filter(|t| t.uses_left > 0) else {
        tx.image.lose(Loss::EnrolmentsRefused, 1);
        return Ok(Err(Refusal::Token));
    };
    if token.expires_at <= tx.now {
        return Ok(Err(Refusal::Expired(token.expires_at)));
    }
    let bound = token.name.clone();
    let wanted = wanted.filter(|n| is_name(n));
    let free = |name: &str| tx.image.sensor(name).is_none_or(|s| s.revoked.is_some());
    let name = match (&bound, wanted) {
        // A name's place is taken over only with a token that names it, or after it was revoked.
        (Some(bound), _) => bound.clone(),
        (None, Some(wanted)) if free(wanted) => wanted.to_owned(),
        // Hosts that share a name are common, and so are a sensor and a gateway on one host.
        (None, wanted) => match secrets::random_hex(4) {
            Ok(tail) => {
                format!("{}-{tail}", wanted.map_or_else(|| token.role.to_string(), |w| cut(w, 54).to_owned()))
            }
            Err(why) => return Ok(Err(Refusal::Randomness(why))),
        },
    };
    let known = tx.image.sensor(&name);
    if known.is_some_and(|s| s.revoked.is_none()) && bound.is_none() {
        return Ok(Err(Refusal::Taken(name)));
    }
    let max = tx.image.config.limits.sensors;
    if known.is_none() && tx.image.sensors.size() >= max {
        return Ok(Err(Refusal::Full(max)));
    }
    let mut sensor = Sensor::new(&token.site, token.role);
    if let Some(known) = known.filter(|k| k.site == token.site && k.role == token.role) {
        sensor.received = known.received.clone();
    }
    let serial = match enlist(&mut sensor, tx.now) {
        Ok(serial) => serial,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    token.uses_left -= 1;
    if token.uses_left == 0 {
        tx.records.delete_token(&hash)?;
    } else {
        tx.records.put_token(&hash, &token)?;
    }
    let (site, role) = (token.site, token.role);
    tx.image.site(tx.records, &site, tx.now)?;
    tx.image.keep_sensor(tx.records, &name, sensor)?;
    let reason = format!("{role} at site {site}, with token {}", short(&hash));
    journal::write(tx, Actor::sensor(&name), Verb::Enrolled, &name, &reason, json!({"serial": serial}))?;
    Ok(Ok(Identity { name, site, role, serial }))
}

/// Another certificate for a name whose present one stands. The old one counts until it expires.
pub(crate) fn renew(tx: &mut Transaction<'_>, name: &str) -> Answered<Identity> {
    let Some(mut sensor) = tx.image.sensor(name).filter(|s| s.revoked.is_none()).cloned() else {
        return Ok(Err(Refusal::Unknown(name.to_owned())));
    };
    let serial = match enlist(&mut sensor, tx.now) {
        Ok(serial) => serial,
        Err(why) => return Ok(Err(Refusal::Randomness(why))),
    };
    let (site, role) = (sensor.site.clone(), sensor.role);
    tx.image.keep_sensor(tx.records, name, sensor)?;
    journal::write(tx, Actor::sensor(name), Verb::Renewed, name, "its certificate grows old", json!({"serial": serial}))?;
    Ok(Ok(Identity { name: name.to_owned(), site, role, serial }))
}

pub(crate) fn revoke(tx: &mut Transaction<'_>, name: &str) -> Answered<()> {
    let Some(mut sensor) = tx.image.sensor(name).cloned() else {
        return Ok(Err(Refusal::Unknown(rules::printable::printable(name, 80))));
    };
    sensor.revoked = Some(tx.now);
    sensor.serials.clear();
    tx.touched.sites.insert(sensor.site.clone());
    tx.image.keep_sensor(tx.records, name, sensor)?;
    journal::write(tx, Actor::Admin, Verb::Revoked, name, "asked for", json!({}))?;
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
