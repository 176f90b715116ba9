//! Text from strangers, made safe to show.

/// A copy of `text` that can be written to a terminal, a log line or a page: control characters, bidirectional
/// overrides, zero-width and tag characters become `\u{..}` escapes, and at most `max` characters of the original are
/// kept (a cut is marked with `…`).
///
/// HTML still has to be escaped by whoever writes HTML; this only makes the text plain.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for (n, c) in text.chars().enumerate() {
        if n == max {
            out.push('…');
            break;
        }
        if is_deceptive(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether `text` can be shown as it is.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(is_deceptive)
}

/// As [`printable`], for bytes that may not be UTF-8.
pub fn printable_bytes(bytes: &[u8], max: usize) -> String {
    // A cut inside a character turns into a replacement signature, which is what it is.
    let end = bytes.len().min(max.saturating_mul(4));
    printable(&String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)), max)
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_escape_arrives_as_text() {
        assert_eq!(printable("a\u{1b}[31mred\n", 80), "a\\u{1b}[31mred\\u{a}");
    }

    #[test]
    fn bidi_and_tag_characters_are_spelled_out() {
        assert_eq!(printable("x\u{202e}y\u{e0041}", 80), "x\\u{202e}y\\u{e0041}");
    }

    #[test]
    fn a_cut_is_marked() {
        assert_eq!(printable("abcdef", 3), "abc…");
    }

    #[test]
    fn bytes_cut_inside_a_character_do_not_panic() {
        assert_eq!(printable_bytes("ééé".as_bytes(), 1), "é…");
    }
}
