//! What a registration's state tells its clients with every answer.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use rules::{
    Timestamp,
    registry::{Lifecycle, Registration},
};
use std::time::Duration;

const DEPRECATED: HeaderName = HeaderName::from_static("x-mcp-deprecated");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// `X-MCP-Deprecated`, `Deprecation` (RFC 9745: `@` and seconds since 1970) and `Sunset` (RFC 8594: an HTTP date).
pub(crate) fn announce(registration: &Registration, headers: &mut HeaderMap) {
    let (since, sunset) = match &registration.lifecycle {
        Lifecycle::Active => return,
        Lifecycle::Deprecated { since, sunset } => (*since, *sunset),
        Lifecycle::Sunset { since } => (*since, Some(*since)),
    };
    headers.insert(DEPRECATED, HeaderValue::from_static("true"));
    if let Ok(value) = HeaderValue::try_from(format!("@{}", since.as_second())) {
        headers.insert(DEPRECATION, value);
    }
    if let Some(Ok(value)) = sunset.map(|at| HeaderValue::try_from(http_date(at))) {
        headers.insert(SUNSET, value);
    }
}

/// How long to wait until the sunset has to be asked about again; hourly, since the wall's clock may be set.
pub(crate) fn ends(registration: &Registration, now: Timestamp) -> Option<Duration> {
    let Lifecycle::Deprecated { sunset: Some(at), .. } = &registration.lifecycle else { return None };
    let left = Duration::try_from(at.duration_since(now)).ok()? + Duration::from_millis(1);
    Some(left.min(Duration::from_secs(3600)))
}

/// RFC 9110 §5.6.7.
fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_their_rfcs() {
        let at: Timestamp = "2026-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(http_date(at), "Fri, 06 Nov 2026 08:49:37 GMT");
    }
}
