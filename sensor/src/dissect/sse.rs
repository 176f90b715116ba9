//! Server-sent events out of a byte stream (HTML Standard, Server-sent events): LF, CR and CRLF, comments, data over several lines.

/// Data of one event kept, at most.
pub const MAX_EVENT: usize = 256 << 10;
/// Kept of one that is longer: what it begins with may tell what it is.
const BEGINNING: usize = 32 << 10;
const MAX_NAME: usize = 32;

/// One dispatched event. An event whose data is empty is not dispatched, as in a browser: it only primes the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Empty means `message`.
    pub name: &'a str,
    pub data: &'a [u8],
    /// Otherwise `data` is what it begins with.
    pub whole: bool,
}

#[derive(Debug)]
pub struct Decoder {
    /// Data of one event kept, at most.
    max: usize,
    /// Events whose data is empty are dispatched, too.
    primed: bool,
    line: Vec<u8>,
    name: String,
    data: Vec<u8>,
    after_cr: bool,
    started: bool,
    /// The line in hand is too long; it is kept as far as `BEGINNING`.
    cut: bool,
    /// The event in hand is too large, or a part of it is missing: its end is awaited.
    spoiled: bool,
    /// Events given up on.
    pub lost: u32,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new(MAX_EVENT)
    }
}

impl Decoder {
    pub fn new(max: usize) -> Decoder {
        Decoder {
            max,
            primed: false,
            line: Vec::new(),
            name: String::new(),
            data: Vec::new(),
            after_cr: false,
            started: false,
            cut: false,
            spoiled: false,
            lost: 0,
        }
    }

    /// As [`Decoder::new`]; an event that only primes the stream is dispatched, too: it shows that a server streams events.
    pub fn primed(max: usize) -> Decoder {
        Decoder { primed: true, ..Decoder::new(max) }
    }

    /// Bytes of an event that is not whole yet.
    pub fn buffered(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn beginning(&self) -> usize {
        BEGINNING.min(self.max)
    }

    /// Takes the next bytes; every event that they complete is handed to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], mut out: impl FnMut(Event<'_>)) {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.append(bytes);
                return;
            };
            let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            self.after_cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.take_line(line, &mut out);
            } else {
                self.append(line);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut out);
                self.spoiled |= std::mem::take(&mut self.cut);
            }
        }
    }

    /// Bytes are missing here: the event they were in is lost, but for what it began with.
    pub fn gap(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.line);
        self.cut = false;
        let mut begun = std::mem::take(&mut self.data);
        begun.extend_from_slice(line.strip_prefix(b"data:").unwrap_or_default());
        if std::mem::replace(&mut self.spoiled, true) { Vec::new() } else { begun }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.cut {
            return;
        }
        if self.line.len() + bytes.len() > self.max {
            self.line.extend(bytes.iter().take(self.beginning()));
            self.line.truncate(self.beginning());
            self.line.shrink_to_fit();
            self.cut = true;
        } else if !self.spoiled || bytes.len() < 16 {
            self.line.extend_from_slice(bytes);
        }
    }

    fn take_line(&mut self, line: &[u8], out: &mut impl FnMut(Event<'_>)) {
        let line = if std::mem::replace(&mut self.started, true) { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        if line.is_empty() {
            return self.dispatch(out);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment
            Some(0) => return,
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" if self.spoiled => {}
            b"data" if self.data.len() + value.len() < self.max => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"data" => {
                self.data.extend(value.iter().take(self.beginning()));
                self.data.truncate(self.beginning());
                self.spoiled = true;
            }
            b"event" => self.name = String::from_utf8_lossy(value.get(..MAX_NAME).unwrap_or(value)).into_owned(),
            _ => {}
        }
    }

    fn dispatch(&mut self, out: &mut impl FnMut(Event<'_>)) {
        let whole = !std::mem::take(&mut self.spoiled);
        self.lost = self.lost.saturating_add(u32::from(!whole));
        let data = self.data.strip_suffix(b"\n").unwrap_or(&self.data);
        if !data.is_empty() || (self.primed && !self.data.is_empty()) {
            out(Event { name: &self.name, data, whole });
        }
        self.name.clear();
        self.data.clear();
        if self.data.capacity() > 16 << 10 {
            self.data = Vec::new();
        }
    }
}
