//! JSON (RFC 8259), read strictly: duplicate keys, byte order marks, lone surrogates and deep nesting are refused.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use std::fmt;

/// The text behind the error names what is wrong and where.
pub(crate) fn parse(bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth }.deserialize(&mut de).map_err(|e| e.to_string())?;
    de.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// Hexadecimal SHA-256 over `value` without white space and with object keys in byte order.
pub(crate) fn digest(value: &Value) -> String {
    let mut text = Vec::new();
    canonical(value, &mut text);
    crate::hex::hex(&Sha256::digest(&text))
}

fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_bytes());
            separated(out, b"{}", members, |(name, member), out| {
                scalar(&Value::String(name.clone()), out);
                out.push(b':');
                canonical(member, out);
            });
        }
        Value::Array(items) => separated(out, b"[]", items, canonical),
        other => scalar(other, out),
    }
}

fn separated<T>(out: &mut Vec<u8>, brackets: &[u8; 2], items: impl IntoIterator<Item = T>, mut each: impl FnMut(T, &mut Vec<u8>)) {
    let [open, close] = *brackets;
    out.push(open);
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(close);
}

fn scalar(value: &Value, out: &mut Vec<u8>) {
    // Writing a scalar to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

#[derive(Clone, Copy)]
struct Strict {
    /// Levels of arrays and objects still allowed.
    depth: usize,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Strict, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Strict { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Value, D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let (inner, mut items) = (self.inner()?, Vec::new());
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (inner, mut members) = (self.inner()?, Map::new());
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name.clone(), value).is_some() {
                let name = rules::printable::printable(&name, 64);
                return Err(A::Error::custom(format_args!("the key `{name}` stands twice in one object")));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"x":{"k":1,"k":1}}]"#,
            "\u{feff}{}",
            r#""\ud800""#,
            r#"{"a":1}{"b":2}"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            "1e999",
            "NaN",
            "{\"a\":\"\n\"}",
            "",
        ] {
            assert!(parse(bad.as_bytes(), 64).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"", 64).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(nested(64).as_bytes(), 64).is_ok());
        assert_eq!(parse(nested(65).as_bytes(), 64).unwrap_err().split(" at ").next(), Some("nested too deeply"));
        assert!(parse(nested(1_000_000).as_bytes(), usize::MAX).is_err());
    }

    #[test]
    fn one_value_has_one_digest() {
        let of = |text: &str| digest(&parse(text.as_bytes(), 64).unwrap());
        assert_eq!(of(r#"{"b":[1,2.5,"\u0041"],"a":null}"#), of("{ \"a\" : null, \"b\" : [1, 2.5, \"A\"] }"));
        assert_ne!(of("[1,2]"), of("[2,1]"));
        assert_eq!(of("{}"), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
