//! Bytes of a conversation as text that holds no secret and moves no cursor.
//!
//! What a server calls a secret is left out by its name; what looks like one (a token, a key) is left out wherever it stands.
//! In doubt it is left out: a transcript is for reading how a server behaves, not for speaking to it.

/// Headers whose value is never shown, beside those with a name of [`NAMES`].
const HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info"];
/// Headers that say how to come in: schemes and these parameters are shown, and nothing else (RFC 9110 section 11.6).
const CHALLENGES: [&str; 2] = ["www-authenticate", "proxy-authenticate"];
const SCHEMES: [&str; 8] = ["basic", "bearer", "digest", "dpop", "gnap", "hoba", "negotiate", "ntlm"];
const PARAMETERS: [&str; 9] = ["realm", "error", "scope", "resource_metadata", "authorization_uri", "charset", "algorithm", "qop", "stale"];
/// What a name contains whose value is never shown: of a header, before `=` in a query, of a member in JSON.
const NAMES: [&str; 16] = [
    "session",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "api_key",
    "api-key",
    "credential",
    "cookie",
    "private_key",
    "privatekey",
    "access_key",
    "accesskey",
    "x-mcp-proxy-auth",
];
/// The same, of the whole name.
const WHOLE_NAMES: [&str; 6] = ["auth", "authorization", "jwt", "pwd", "sig", "signature"];
/// The same, but before `=` only: in JSON these are numbers of errors and names of properties.
const IN_QUERIES: [&str; 2] = ["code", "key"];
const LEFT_OUT: &str = "[left out]";
/// A word of letters and at least three digits from this length on is no name that somebody chose: an id, a key.
const OPAQUE: usize = 24;

/// Text in lines; control characters and bytes that are no text are spelled out.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = words(&values(&headers(&String::from_utf8_lossy(bytes))));
    let mut out = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.chars().for_each(|c| if harmless(c) { out.push(c) } else { out.extend(c.escape_unicode()) });
        out.push('\n');
    }
    out
}

fn harmless(c: char) -> bool {
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c == '\t' || !(c.is_control() || turns)
}

fn headers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut folded = false;
    for line in text.split_inclusive('\n') {
        // The rest of a value that was left out (obs-fold, RFC 9112 section 5.2).
        if folded && line.starts_with([' ', '\t']) {
            continue;
        }
        let name = line.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value));
        let named = name.filter(|(name, _)| !name.is_empty() && name.chars().all(in_name));
        let shown = match named {
            Some((name, _)) if HEADERS.contains(&name.as_str()) || NAMES.iter().any(|n| name.contains(n)) => Some(format!(" {LEFT_OUT}")),
            Some((name, value)) if CHALLENGES.contains(&name.as_str()) => Some(challenge(value.trim_end())),
            _ => None,
        };
        folded = shown.is_some();
        match (shown, line.split_once(':')) {
            (Some(shown), Some((name, _))) => {
                out.push_str(name);
                out.push(':');
                out.push_str(&shown);
                out.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
            _ => out.push_str(line),
        }
    }
    out
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// `Bearer realm="x", error="invalid_token"`; credentials in it are left out.
fn challenge(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        if first == ',' || first.is_whitespace() {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (word, after) = rest.split_at(rest.find(|c: char| matches!(c, '=' | ',' | '"') || c.is_whitespace()).unwrap_or(rest.len()));
        let Some(given) = after.strip_prefix('=') else {
            let scheme = SCHEMES.contains(&word.to_ascii_lowercase().as_str());
            out.push_str(if scheme { word } else { LEFT_OUT });
            rest = if scheme { after } else { rest.get(one(rest)..).unwrap_or_default() };
            continue;
        };
        let (given, after) = given.split_at(one(given));
        if PARAMETERS.contains(&word.to_ascii_lowercase().as_str()) {
            out.push_str(&format!("{word}={given}"));
        } else {
            out.push_str(LEFT_OUT);
        }
        rest = after;
    }
    out
}

/// The length of a word, or of a string with its quotes.
fn one(text: &str) -> usize {
    match text.strip_prefix('"') {
        Some(inside) => inside.find('"').map_or(text.len(), |end| end + 2),
        None => text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len()),
    }
}

/// Leaves out the value after each secret's name: `session_id=…`, `"access_token": "…"`, `"tokens": […]`. A name is what stands
/// directly before `=` or before `":`.
fn values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
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
        let (space, value) = after.split_at(blank(after, by_colon));
        let (open, len) = extent(value, by_colon);
        if len > 0 {
            out.push_str(space);
            out.push_str(open);
            out.push_str(LEFT_OUT);
            rest = value.get(open.len() + len..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// What stands between a name and its value. JSON may go on in the next line, also in that of an event stream.
fn blank(after: &str, by_colon: bool) -> usize {
    let mut rest = after;
    loop {
        let next = if by_colon { rest.trim_start() } else { rest.trim_start_matches([' ', '\t']) };
        let line_begins = next.len() < rest.len() && rest.get(..rest.len() - next.len()).is_some_and(|b| b.contains('\n'));
        match next.strip_prefix("data:").filter(|_| line_begins) {
            Some(beyond) => rest = beyond,
            None => return after.len() - next.len(),
        }
    }
}

/// What opens a value that is to be left out, and the length of what follows; nothing where it is to be shown or looked into.
fn extent(value: &str, by_colon: bool) -> (&str, usize) {
    let slashes = value.len() - value.trim_start_matches('\\').len();
    if value.get(slashes..).is_some_and(|v| v.starts_with('"')) {
        let (open, inside) = value.split_at(slashes + 1);
        return (open, string_end(inside, slashes));
    }
    let brackets = || bracket_end(value);
    match value.chars().next() {
        Some('[') if by_colon => ("", brackets()),
        // A schema says which secrets there are and holds none: it is looked into.
        Some('{') if by_colon => match value.get(..brackets()) {
            Some(object) if object.contains("\"type") => ("", 0),
            object => ("", object.map_or(0, str::len)),
        },
        Some(c) if by_colon && !(c.is_ascii_digit() || c == '-') => ("", 0),
        _ => (
            "",
            value
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '&' | '\'' | ',' | ';' | '<' | '}' | ']'))
                .unwrap_or(value.len()),
        ),
    }
}

/// Up to the quote that ends a string which began with a quote after that many backslashes; at most to the end of the line.
fn string_end(inside: &str, slashes: usize) -> usize {
    let mut run = 0;
    for (at, c) in inside.char_indices() {
        match c {
            '\\' => run += 1,
            '"' if run <= slashes => return at - run,
            '\n' => return at,
            _ => run = 0,
        }
    }
    inside.len()
}

/// To the end of an array or object, or of all where it is cut.
fn bracket_end(value: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, c) in value.char_indices() {
        match c {
            // In JSON inside JSON each quote has its backslash; there brackets in strings are rare, and the end is sure to come.
            '\\' => escaped = !escaped,
            '"' => quoted ^= !std::mem::take(&mut escaped),
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => escaped = false,
        }
    }
    value.len()
}

fn is_secret(before: &str, by_colon: bool) -> bool {
    let before = before.trim_end();
    let before = if by_colon {
        let Some(inside) = before.strip_suffix('"') else { return false };
        inside.trim_end_matches('\\')
    } else {
        before
    };
    let start =
        before.rfind(|c: char| !in_name(c)).map_or(0, |i| i + before.get(i..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8));
    let name = before.get(start..).unwrap_or_default().to_ascii_lowercase();
    // RFC 8414, 9728: where to ask, and in words that are no secret.
    let told = ["endpoint", "supported", "endpoint_auth_method"].iter().any(|n| name.ends_with(n));
    let secret = NAMES.iter().any(|n| name.contains(n))
        || WHOLE_NAMES.contains(&name.as_str())
        || name.ends_with("-authorization")
        || !by_colon && IN_QUERIES.contains(&name.as_str());
    secret && !told
}

/// Leaves out what is a secret by its looks, whatever its name: a JWT (RFC 7519), what follows `Bearer` or `Basic`, long ids.
fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut last = "";
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c: char| !(in_name(c) || c == '.' || c == '+')).unwrap_or(rest.len()));
        let between = after.find(|c: char| in_name(c) || c == '.' || c == '+').unwrap_or(after.len());
        let (gap, after) = after.split_at(between);
        out.push_str(if is_opaque(word, last) { LEFT_OUT } else { word });
        out.push_str(gap);
        last = if gap == " " { word } else { "" };
        rest = after;
    }
    out
}

fn is_opaque(word: &str, last: &str) -> bool {
    let digits = |w: &str| w.chars().filter(char::is_ascii_digit).count();
    let jwt = word.starts_with("eyJ") && word.contains('.');
    let shown_before = ["bearer", "basic"].iter().any(|s| last.eq_ignore_ascii_case(s)) && (digits(word) > 0 || word.len() >= OPAQUE);
    let id = word.split('.').any(|w| w.len() >= OPAQUE && digits(w) >= 3 && w.chars().any(|c| c.is_ascii_alphabetic()));
    jwt || shown_before || id
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
            (
                r#"{"Authorization":"Bearer 8f3a","private_key":"-----BEGIN\n8f3a"}"#,
                r#"{"Authorization":"[left out]","private_key":"[left out]"}"#,
            ),
            ("{\n\"access_token\":\n  \"8f3a\"}", "{\n\"access_token\":\n  \"[left out]\"}"),
            ("data: {\"token\":\ndata: \"8f3a\"}", "data: {\"token\":\ndata: \"[left out]\"}"),
            (r#"{"tokens":["8f3a",["x]8f3a"]],"a":[1]}"#, r#"{"tokens":[left out],"a":[1]}"#),
            (r#"{"credentials":{"value":"8f3a"},"pin_token":8,"a":1}"#, r#"{"credentials":[left out],"pin_token":[left out],"a":1}"#),
            (r#"{"token":{"type":"string"}}"#, r#"{"token":{"type":"string"}}"#),
            (r#"{"token_required":true,"code":-32600}"#, r#"{"token_required":true,"code":-32600}"#),
            (r#"{"text":"{\"tokens\":[\"8f3a\"],\"a\":1}"}"#, r#"{"text":"{\"tokens\":[left out],\"a\":1}"}"#),
            ("say eyJhbGciOiJub25lIn0.eyJzdWIiOiI4ZjNhIn0.8f3a, please", "say [left out], please"),
            ("send Bearer 8f3a", "send Bearer [left out]"),
            ("Location: /mcp/550e8400-e29b-41d4-a716-4466558f3a00", "Location: /mcp/[left out]"),
            ("X-Custom-Token: 8f3a", "X-Custom-Token: [left out]"),
            ("Authentication-Info: nextnonce=\"8f3a\"\r\n 8f3a\r\nA: b", "Authentication-Info: [left out]\nA: b"),
            (
                "WWW-Authenticate: Bearer realm=\"x\", error=\"invalid_token\", error_description=\"not 8f3a\"",
                "WWW-Authenticate: Bearer realm=\"x\", error=\"invalid_token\", [left out]",
            ),
            ("WWW-Authenticate: Negotiate 8f3a==, Basic realm=x", "WWW-Authenticate: Negotiate [left out], Basic realm=x"),
            ("GET /callback?code=8f3a&key=8f3a HTTP/1.1", "GET /callback?code=[left out]&key=[left out] HTTP/1.1"),
            ("MCP-Protocol-Version: 2025-06-18", "MCP-Protocol-Version: 2025-06-18"),
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
