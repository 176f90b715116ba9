//! Header compression (RFC 7541). Joined in the middle of a connection, entries from before are unknown: fields that refer to
//! them are left out, the others are right.

use super::huffman;
use std::collections::VecDeque;

/// A name or value, at most.
const MAX_STRING: usize = 16 << 10;
/// What a peer may ask a table to hold; beyond it the oldest entries are forgotten early.
const MAX_TABLE: usize = 64 << 10;
/// RFC 9113 §6.5.2, SETTINGS_HEADER_TABLE_SIZE.
const DEFAULT_TABLE: usize = 4096;
/// Fields of one block, at most.
const MAX_FIELDS: usize = 256;

#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest first: entry 62 is the front.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    size: usize,
    limit: usize,
}

/// The block is not HPACK; the table cannot be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { table: VecDeque::new(), size: 0, limit: DEFAULT_TABLE }
    }
}

impl Decoder {
    /// Decodes one block, field by field.
    pub(super) fn decode(&mut self, mut block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), Broken> {
        for _ in 0..MAX_FIELDS {
            let Some(first) = block.first().copied() else { return Ok(()) };
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                if let Some((name, value)) = self.entry(index) {
                    field(name, value);
                }
                continue;
            }
            if first & 0xe0 == 0x20 {
                self.limit = integer(&mut block, 5)?.min(MAX_TABLE);
                self.evict();
                continue;
            }
            let kept = first & 0x40 != 0;
            let index = integer(&mut block, if kept { 6 } else { 4 })?;
            let name = match index {
                0 => Some(string(&mut block)?),
                _ => self.entry(index).map(|(name, _)| name.to_vec()),
            };
            let value = string(&mut block)?;
            if let Some(name) = &name {
                field(name, &value);
            }
            if kept {
                // An entry of unknown name still takes its place in the numbering.
                self.insert(name.unwrap_or_default(), value);
            }
        }
        Err(Broken)
    }

    /// Bytes of the table, as the peer counts them.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        if let Some((name, value)) = STATIC.get(index.checked_sub(1)?) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(index - 1 - STATIC.len())?;
        (!name.is_empty()).then_some((name, value))
    }

    fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.size += cost(&name, &value);
        self.table.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit {
            let Some((name, value)) = self.table.pop_back() else { break };
            self.size = self.size.saturating_sub(cost(&name, &value));
        }
    }
}

/// RFC 7541 §4.1.
fn cost(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + 32
}

/// RFC 7541 §5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Broken> {
    let (first, mut rest) = block.split_first().ok_or(Broken)?;
    let mask = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        for shift in (0..28).step_by(7) {
            let (byte, after) = rest.split_first().ok_or(Broken)?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = rest;
                return Ok(value);
            }
        }
        return Err(Broken);
    }
    *block = rest;
    Ok(value)
}

/// RFC 7541 §5.2.
fn string(block: &mut &[u8]) -> Result<Vec<u8>, Broken> {
    let huffman = block.first().ok_or(Broken)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).filter(|_| length <= MAX_STRING).ok_or(Broken)?;
    *block = rest;
    if huffman { huffman::decode(text, MAX_STRING).ok_or(Broken) } else { Ok(text.to_vec()) }
}

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn decoded(decoder: &mut Decoder, block: &str) -> String {
        let mut out = String::new();
        let result = decoder.decode(&hex(block), |name, value| {
            out.push_str(&format!("{}={} ", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        });
        format!("{}{}", out.trim_end(), if result.is_err() { " !" } else { "" })
    }

    /// RFC 7541 C.4: three requests with Huffman coding on one connection.
    const REQUESTS: [(&str, &str); 3] = [
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", ":method=GET :scheme=http :path=/ :authority=www.example.com"),
        ("8286 84be 5886 a8eb 1064 9cbf", ":method=GET :scheme=http :path=/ :authority=www.example.com cache-control=no-cache"),
        (
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value",
        ),
    ];

    #[test]
    fn the_examples_of_the_specification() {
        let mut decoder = Decoder::default();
        for (block, fields) in REQUESTS {
            assert_eq!(decoded(&mut decoder, block), fields);
        }
    }

    #[test]
    fn joined_later_unknown_fields_are_left_out() {
        let mut decoder = Decoder::default();
        assert_eq!(decoded(&mut decoder, REQUESTS[1].0), ":method=GET :scheme=http :path=/ cache-control=no-cache");
    }

    #[test]
    fn nonsense_is_refused() {
        for block in ["00", "ff ff ff ff ff ff", "40 7f ff ff ff ff", "4083 ffff ffff", "41ff"] {
            assert!(decoded(&mut Decoder::default(), block).ends_with('!'), "{block}");
        }
    }
}
