//! The JSON of each CA, by the keys only it has.

use super::{issued, time};
use rules::{Timestamp, certificates::Issued};
use serde_json::Value;
use x509_parser::{extensions::GeneralName, prelude::FromDer};

pub(super) fn read(value: &Value) -> Result<Option<Issued>, String> {
    if value.get("valid-to").is_some() && value.get("subject").is_some() {
        return step_ca(value);
    }
    if value.get("request").is_some() && value.get("type").is_some() {
        return vault(value);
    }
    let has_end = ["not_after", "valid_to", "expires", "expires_at", "expiration"].iter().find_map(|k| value.get(*k));
    match has_end {
        Some(until) => plain(value, until).map(Some),
        None => Ok(None),
    }
}

/// step-ca with `"logger": {"format": "json"}`: one line per request; those that issued carry the certificate's fields.
fn step_ca(value: &Value) -> Result<Option<Issued>, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    if value.get("status").and_then(Value::as_u64).is_some_and(|s| s >= 400) {
        return Ok(None);
    }
    let mut names = vec![text("subject").to_owned()];
    strings(value.get("sans"), &mut names);
    // Older releases name the subject only; the certificate itself names the rest.
    names.extend(in_certificate(text("certificate")));
    issued(&scalar(value.get("serial")), names, time(text("valid-from")), time(text("valid-to"))).map(Some)
}

/// Vault and OpenBao: the response to `MOUNT/issue/ROLE` or `MOUNT/sign/ROLE`.
fn vault(value: &Value) -> Result<Option<Issued>, String> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let path = text("/request/path");
    let issues = path.split('/').any(|part| matches!(part, "issue" | "sign" | "sign-verbatim"));
    let pki = text("/request/mount_type") == "pki"
        || text("/response/mount_type") == "pki"
        || value.pointer("/response/data/serial_number").is_some();
    if text("/type") != "response" || !issues || !pki || !text("/error").is_empty() {
        return Ok(None);
    }
    let mut names = vec![text("/request/data/common_name").to_owned()];
    names.extend(text("/request/data/alt_names").split(',').map(str::to_owned));
    names.extend(text("/request/data/ip_sans").split(',').map(str::to_owned));
    names.retain(|n| !n.starts_with("hmac-sha256:"));
    let certificate = text("/response/data/certificate");
    names.extend(in_pem(certificate));
    if names.iter().all(|n| n.trim().is_empty()) {
        return Err("the names are hashed; let Vault write them: `vault secrets tune -audit-non-hmac-request-keys=common_name \
                    -audit-non-hmac-request-keys=alt_names -audit-non-hmac-request-keys=ip_sans PKI_MOUNT`"
            .to_owned());
    }
    let expires = value.pointer("/response/data/expiration").and_then(Value::as_i64).and_then(|s| Timestamp::from_second(s).ok());
    issued(text("/response/data/serial_number"), names, time(text("/time")), expires).map(Some)
}

/// `{"subject": …, "names": […], "serial": …, "not_before": …, "not_after": …}`.
fn plain(value: &Value, until: &Value) -> Result<Issued, String> {
    let first = |keys: &[&str]| keys.iter().find_map(|k| value.get(*k));
    let mut names = Vec::new();
    for key in ["subject", "common_name", "cn", "names", "sans", "alt_names", "dns_names"] {
        strings(value.get(key), &mut names);
    }
    let from = first(&["not_before", "valid_from", "issued", "issued_at", "at", "time"]).map(|v| scalar(Some(v)));
    let expires = time(&scalar(Some(until))).ok_or_else(|| format!("`{until}` is no time of expiry"))?;
    issued(&scalar(first(&["serial", "serial_number"])), names, from.as_deref().and_then(time), Some(expires))
}

fn scalar(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    }
}

/// Strings of a string, a list, or an object of lists (`{"dns": […], "ip": […]}`).
fn strings(value: Option<&Value>, out: &mut Vec<String>) {
    match value {
        Some(Value::String(s)) => out.push(s.clone()),
        Some(Value::Array(list)) => out.extend(list.iter().take(64).filter_map(Value::as_str).map(str::to_owned)),
        Some(Value::Object(map)) => map.values().take(8).filter(|v| v.is_array()).for_each(|v| strings(Some(v), out)),
        _ => {}
    }
}

fn in_pem(pem: &str) -> Vec<String> {
    let inside: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
    in_certificate(&inside)
}

/// Alternative names of a certificate in base64 of DER; of anything else none.
fn in_certificate(base64: &str) -> Vec<String> {
    use base64::Engine;
    let Ok(der) = base64::engine::general_purpose::STANDARD.decode(base64.trim()) else { return Vec::new() };
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(&der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(n) => Some((*n).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from)).ok().map(|a| a.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().take(64).filter_map(name).collect()
}
