//! JSON as forgivingly as the clients of MCP servers read it: what they understand must not hide from who watches.
//!
//! `JSON.parse` and Python's `json` take numbers beyond any `f64`, halves of surrogate pairs and hundreds of levels; browsers replace what
//! is no UTF-8, Python takes UTF-16 and `NaN`. Only what `serde_json` refuses is looked at a second time.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::borrow::Cow;

/// Levels that are kept; what lies deeper is nothing that is looked at. Below the parser's own limit of 128.
const DEEP: usize = 100;

/// One value out of all of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Option<Value> {
    let text = utf8(bytes);
    let bytes = text.as_ref().map_or(bytes, |text| text.as_bytes());
    serde_json::from_slice(bytes).ok().or_else(|| serde_json::from_slice(&tame(bytes)).ok())
}

/// Whether these bytes can begin JSON in UTF-16, of either byte order.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, b'{' | b'[', ..] | [b'{' | b'[', 0, ..])
}

/// As UTF-8, where it is something else.
fn utf8(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if !is_utf16(bytes) {
        return None;
    }
    let big = matches!(bytes, [0xfe, 0xff, ..] | [0, ..]);
    let unit =
        |pair: &[u8]| <[u8; 2]>::try_from(pair).map_or(0, |pair| if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) });
    let text: String = char::decode_utf16(bytes.chunks_exact(2).map(unit)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Some(Cow::Owned(text.trim_start_matches('\u{feff}').to_owned()))
}

/// What a strict parser refuses and others do not, replaced: numbers and words that are none by 0, halves of surrogate pairs by U+FFFD,
/// values too deep by null.
fn tame(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut depth) = (0, 0usize);
    while let Some(byte) = bytes.get(at).copied() {
        let length = match byte {
            b'"' => string(bytes.get(at..).unwrap_or_default(), &mut out, depth > DEEP),
            b'{' | b'[' => {
                depth += 1;
                match depth {
                    ..=DEEP => out.push(byte),
                    _ if depth == DEEP + 1 => out.extend(b"null"),
                    _ => {}
                }
                1
            }
            b'}' | b']' => {
                if depth <= DEEP {
                    out.push(byte);
                }
                depth = depth.saturating_sub(1);
                1
            }
            _ => {
                let word = bytes.get(at..).unwrap_or_default().iter().take_while(|b| is_word(**b)).count();
                let given = bytes.get(at..at + word.max(1)).unwrap_or_default();
                if depth <= DEEP {
                    out.extend(if word > 0 && serde_json::from_slice::<Value>(given).is_err() { b"0" } else { given });
                }
                word.max(1)
            }
        };
        at += length;
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// One string, from its quotation signature on; how long it is.
fn string(bytes: &[u8], out: &mut Vec<u8>, dropped: bool) -> usize {
    let mut at = 1;
    let begin = out.len();
    out.push(b'"');
    while let Some(byte) = bytes.get(at).copied() {
        match byte {
            b'"' => break,
            b'\\' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let (escape, length) = escape(rest);
                out.extend(escape);
                at += length;
            }
            // No control character belongs here, and some parsers mind.
            ..0x20 => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    // One that does not end stays none.
    out.extend(bytes.get(at));
    if dropped {
        out.truncate(begin);
    }
    (at + 1).min(bytes.len())
}

/// An escape sequence as a strict parser takes it, and how long it was.
fn escape(rest: &[u8]) -> (&[u8], usize) {
    const REPLACEMENT: &[u8] = b"\\ufffd";
    let unit = |at: usize| -> Option<u16> {
        let digits = rest.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match (rest.get(1), unit(0), unit(6)) {
        (Some(b'u'), Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (rest.get(..12).unwrap_or_default(), 12),
        (Some(b'u'), Some(0xd800..=0xdfff), _) => (REPLACEMENT, 6),
        (Some(b'u'), Some(_), _) => (rest.get(..6).unwrap_or_default(), 6),
        (Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'), ..) => (rest.get(..2).unwrap_or_default(), 2),
        _ => (REPLACEMENT, 1),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_clients_understand_is_read() {
        let deep = format!("{{\"a\":{}1{},\"b\":2}}", "[".repeat(300), "]".repeat(300));
        assert_eq!(read(deep.as_bytes()).unwrap().get("b"), Some(&json!(2)));
        let text =
            r#"{"a":1e999,"b":-1E+400,"c":NaN,"d":-Infinity,"e":"\ud800x","f":"\udc00\ud83d\ude00","g":[1,"]",{"h":null}],"i":true}"#;
        let expected = json!({"a":0,"b":0,"c":0,"d":0,"e":"\u{fffd}x","f":"\u{fffd}\u{1f600}","g":[1,"]",{"h":null}],"i":true});
        assert_eq!(read(text.as_bytes()), Some(expected));
        assert_eq!(read(b"{\"a\":\"\xff\xfe\"}"), Some(json!({"a":"\u{fffd}\u{fffd}"})));
        let plain = r#"{"jsonrpc":"2.0","id":"é"}"#;
        for signature in [false, true] {
            let units: Vec<u16> = signature.then_some(0xfeff).into_iter().chain(plain.encode_utf16()).collect();
            let bytes = |of: fn(u16) -> [u8; 2]| units.iter().flat_map(|unit| of(*unit)).collect::<Vec<u8>>();
            for bytes in [bytes(u16::to_be_bytes), bytes(u16::to_le_bytes)] {
                assert!(is_utf16(&bytes));
                assert_eq!(read(&bytes), serde_json::from_str(plain).ok());
            }
        }
    }

    #[test]
    fn what_is_none_stays_none_and_any_cut_ends() {
        for text in ["", "{", "{\"a\":", "[1,,2]", "{\"a\" 1}", "\"\\", "\"\\u12", "{]", "nonsense nonsense", "\\", "{\"a\":1} {\"b\":2}"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        let whole = "{\"a\":[1e999,\"\\ud800\\\\\\\"\\n\"],\"b\":{\"c\":-Infinity}}";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole.as_bytes()[..cut]), None, "{cut}");
        }
        assert!(read(whole.as_bytes()).is_some());
    }
}
