//! Who is asking? Every request says so itself; nothing is remembered from the one before.

pub mod hmac;

use crate::{
    answer::{Refusal, Whose},
    audit::Outcome,
};
use hmac::{KeyError, Keyring};
use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use rules::access::Principal;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// From `Authorization: Bearer KEY` or `X-API-Key: KEY`: one of them, once.
pub(crate) fn authenticate(keyring: &Keyring, headers: &HeaderMap) -> Result<Principal, Refusal> {
    let mut given = headers.get_all(AUTHORIZATION).iter().map(bearer).chain(headers.get_all(API_KEY).iter().map(plain));
    let key = match (given.next(), given.next()) {
        (None, _) => {
            let hint = "send `Authorization: Bearer tenant.nonce.signature`; `gnomon keys issue` makes such a key";
            return Err(refusal("authenticate.missing", "the request carries no key").what_to_do(hint));
        }
        (Some(_), Some(_)) => {
            return Err(refusal("authenticate.ambiguous", "the request carries more than one key").what_to_do("send exactly one"));
        }
        (Some(key), None) => key,
    };
    key.ok_or(KeyError::Malformed).and_then(|key| keyring.verify(key)).map_err(unknown)
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, key) = value.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start())
}

fn plain(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

fn unknown(why: KeyError) -> Refusal {
    let (rule, hint) = match why {
        KeyError::Malformed => {
            ("authenticate.malformed", "send `Authorization: Bearer tenant.nonce.signature`, the signature in lower-case hexadecimal")
        }
        KeyError::Unknown => (
            "authenticate.unknown",
            "check that the whole key was copied, and that it is for this site; rotated-out secrets end their keys",
        ),
        KeyError::Revoked => ("authenticate.revoked", "ask for a new key"),
    };
    refusal(rule, &why.to_string()).what_to_do(hint)
}

fn refusal(rule: &'static str, error: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, Outcome::Unauthenticated, rule, Whose::Caller, error).challenge()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(headers: &[(&str, &str)]) -> &'static str {
        let pair = |(n, v): &(&str, &str)| (n.parse::<HeaderName>().unwrap(), HeaderValue::try_from(*v).unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(pair) {
            map.append(name, value);
        }
        authenticate(&Keyring::new(&[]), &map).unwrap_err().rule
    }

    #[test]
    fn one_key_once() {
        let key = format!("acme.n1.{}", "0".repeat(64));
        let bearer = format!("bearer  {key}");
        assert_eq!(rule(&[]), "authenticate.missing");
        assert_eq!(rule(&[("authorization", &bearer)]), "authenticate.unknown");
        assert_eq!(rule(&[("x-api-key", &key)]), "authenticate.unknown");
        assert_eq!(rule(&[("authorization", &bearer), ("authorization", &bearer)]), "authenticate.ambiguous");
        assert_eq!(rule(&[("authorization", &bearer), ("x-api-key", &key)]), "authenticate.ambiguous");
        assert_eq!(rule(&[("x-api-key", &key), ("x-api-key", &key)]), "authenticate.ambiguous");
        for other in ["Basic YTpi", "Bearer", "Bearer ", &key, ""] {
            assert_eq!(rule(&[("authorization", other)]), "authenticate.malformed", "{other}");
        }
    }
}
