//! Bytes of a conversation as text that holds no secret and moves no cursor.

/// Headers whose value is never shown.
const HEADERS: [&str; 8] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "mcp-session-id", "x-api-key", "x-auth-token", "x-mcp-proxy-auth"];
/// What a name contains whose value, after `=` in a query or as a string in JSON, is never shown.
const NAMES: [&str; 8] = ["session", "token", "secret", "password", "passwd", "apikey", "api_key", "credential"];
const LEFT_OUT: &str = "[left out]";

/// Text in lines; control characters and bytes that are no text are spelled out.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let plain: String = match line.split_once(':') {
            Some((name, _)) if HEADERS.contains(&name.trim().to_ascii_lowercase().as_str()) => format!("{name}: {LEFT_OUT}"),
            _ => values(line),
        };
        plain.chars().for_each(|c| if harmless(c) { out.push(c) } else { out.extend(c.escape_unicode()) });
        out.push('\n');
    }
    out
}

fn harmless(c: char) -> bool {
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c == '\t' || !(c.is_control() || turns)
}

/// Leaves out the value after each secret's name: `session_id=…`, `"access_token": "…"`. One pass; a name is what stands
/// directly before `=` or before `":`.
fn values(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at);
        let by_colon = after.starts_with(':');
        let after = after.get(1..).unwrap_or_default();
        out.push_str(before);
        out.push(if by_colon { ':' } else { '=' });
        rest = after;
        if !is_secret(before, by_colon) {
            continue;
        }
        let blank = after.len() - after.trim_start().len();
        let (space, value) = after.split_at(blank);
        let (open, value) = match value.strip_prefix(r#"\""#) {
            Some(inner) => (r#"\""#, inner),
            None => value.strip_prefix('"').map_or(("", value), |inner| ("\"", inner)),
        };
        // What is no string (an object, a number) is looked into in turn.
        if by_colon && open.is_empty() {
            continue;
        }
        let quoted = !open.is_empty();
        let end =
            value.find(|c: char| matches!(c, '"' | '\\') || (!quoted && (c.is_whitespace() || matches!(c, '&' | '\'' | ',' | ';' | '<'))));
        let end = end.unwrap_or(value.len());
        if end > 0 {
            out.push_str(space);
            out.push_str(open);
            out.push_str(LEFT_OUT);
            rest = value.get(end..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

fn is_secret(before: &str, by_colon: bool) -> bool {
    let before = before.trim_end();
    let before = if by_colon {
        let Some(inside) = before.strip_suffix('"') else { return false };
        inside.trim_end_matches('\\')
    } else {
        before
    };
    let start = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).map_or(0, |i| i + 1);
    let name = before.get(start..).unwrap_or_default().to_ascii_lowercase();
    // RFC 9728: where to ask, and in words that are no secret.
    NAMES.iter().any(|n| name.contains(n)) && !name.ends_with("endpoint") && !name.ends_with("supported")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_wherever_they_stand() {
        let cases = [
            ("Mcp-Session-Id: 8f3a", "Mcp-Session-Id: [left out]"),
            ("set-cookie: sid=8f3a; Path=/", "set-cookie: [left out]"),
            ("data: /messages/?session_id=8f3a&x=1", "data: /messages/?session_id=[left out]&x=1"),
            ("Location: /message?sessionId=8f3a", "Location: /message?sessionId=[left out]"),
            (r#"{"access_token": "8f3a", "a": 1}"#, r#"{"access_token": "[left out]", "a": 1}"#),
            (r#"{"text":"{\"api_key\":\"8f3a\"}"}"#, r#"{"text":"{\"api_key\":\"[left out]\"}"}"#),
            (
                r#"Bearer error="invalid_token", resource_metadata="http://x/y""#,
                r#"Bearer error="invalid_token", resource_metadata="http://x/y""#,
            ),
            (r#"{"error":{"message":"Bad Request: Missing session ID"}}"#, r#"{"error":{"message":"Bad Request: Missing session ID"}}"#),
        ];
        for (said, want) in cases {
            let got = shown(said.as_bytes());
            assert_eq!(got.trim_end(), want);
            assert!(!got.contains("8f3a"));
        }
    }

    #[test]
    fn nothing_moves_the_cursor_and_any_bytes_are_read() {
        let got = shown("a\u{1b}[2Jb\u{202e}c\rd\0\n\u{7}".as_bytes());
        assert!(got.chars().all(|c| c == '\n' || harmless(c)), "{got:?}");
        let mut chance = 7u64;
        for length in 0..2000 {
            let bytes: Vec<u8> = (0..length % 97)
                .map(|_| {
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b"\"\\=:token \xff\xc3&{}\r\n\x1b".get((chance >> 40) as usize % 19).copied().unwrap_or(0)
                })
                .collect();
            assert!(shown(&bytes).chars().all(|c| c == '\n' || harmless(c)));
        }
    }
}
