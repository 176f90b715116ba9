//! Shapes between processes. They are separate from the nouns because sensors, collectors and enforcers upgrade on
//! different days: a noun may change in a release, a published shape may not.

pub mod v1;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Reads what a person or a script wrote. Between our own processes unknown fields are ignored, since a newer peer may add
/// some; from people they are errors, since they are slips of the pen.
pub fn strict<T: DeserializeOwned + Serialize>(json: &[u8]) -> Result<T, String> {
    let said: Value = serde_json::from_slice(json).map_err(|e| format!("not readable as JSON: {e}"))?;
    let understood: T = T::deserialize(&said).map_err(|e| e.to_string())?;
    let kept = serde_json::to_value(&understood).map_err(|e| e.to_string())?;
    match unknown(&said, &kept, "") {
        Some(key) => Err(format!("unknown field `{}`", crate::printable::printable(&key, 80))),
        None => Ok(understood),
    }
}

/// The first key that was said and not kept, with the way to it.
fn unknown(said: &Value, kept: &Value, at: &str) -> Option<String> {
    match (said, kept) {
        (Value::Object(said), Value::Object(kept)) => said.iter().find_map(|(key, value)| {
            let here = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            match kept.get(key) {
                Some(k) => unknown(value, k, &here),
                None => Some(here),
            }
        }),
        (Value::Array(said), Value::Array(kept)) => said.iter().zip(kept).find_map(|(s, k)| unknown(s, k, at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
