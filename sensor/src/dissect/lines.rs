//! Newline-delimited JSON out of a byte stream: the stdio framing on a raw connection.

/// A longer line is skipped and counted.
const MAX_LINE: usize = 256 << 10;

#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
    skipping: bool,
    pub lost: u32,
}

impl Splitter {
    pub fn feed(&mut self, mut bytes: &[u8], mut out: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = rest.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                self.lost = self.lost.saturating_add(1);
            } else if self.partial.is_empty() {
                out(line);
            } else {
                self.partial.extend_from_slice(line);
                out(&std::mem::take(&mut self.partial));
            }
        }
        if self.skipping {
            return;
        }
        if self.partial.len() + bytes.len() > MAX_LINE {
            self.gap();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    pub fn buffered(&self) -> usize {
        self.partial.capacity()
    }

    /// The line in hand is lost.
    pub fn gap(&mut self) {
        self.partial = Vec::new();
        self.skipping = true;
    }

    /// What is left without a newline.
    pub fn finish(&mut self, out: impl FnOnce(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            out(&rest);
        }
    }
}
