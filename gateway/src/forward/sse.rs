//! Server-sent events (WHATWG HTML §9.2), cut out of a stream of bytes without holding back a finished one.

/// Cuts bytes into events, each with its line ends and the empty line that ends it. Line ends may be LF, CR LF or CR.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
    line_empty: bool,
    after_cr: bool,
}

impl Splitter {
    pub(crate) fn new() -> Splitter {
        Splitter { line_empty: true, ..Splitter::default() }
    }

    /// The events that `bytes` completes. What is joined together is what came in.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events: Vec<Vec<u8>> = Vec::new();
        for &byte in bytes {
            let second_half = byte == b'\n' && std::mem::take(&mut self.after_cr);
            if second_half && self.buffer.is_empty() {
                // Belongs to the event before, which did not wait for it.
                match events.last_mut() {
                    Some(event) => event.push(byte),
                    None => events.push(vec![byte]),
                }
                continue;
            }
            self.buffer.push(byte);
            if second_half {
                continue;
            }
            self.after_cr = byte == b'\r';
            match byte {
                b'\n' | b'\r' if self.line_empty => events.push(std::mem::take(&mut self.buffer)),
                b'\n' | b'\r' => self.line_empty = true,
                _ => self.line_empty = false,
            }
        }
        events
    }

    /// Bytes of an event that has not ended yet.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// What is left when the stream ends in the middle of an event.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}

/// The event's data: its `data` lines, joined by LF. Empty when it has none (comments, priming events).
pub(crate) fn data(event: &[u8]) -> Vec<u8> {
    let mut data: Vec<u8> = Vec::new();
    for (n, line) in lines(event).filter_map(data_of).enumerate() {
        if n > 0 {
            data.push(b'\n');
        }
        data.extend_from_slice(line);
    }
    data
}

/// The event's name; most have none, which means `message`.
pub(crate) fn name(event: &[u8]) -> Option<&[u8]> {
    lines(event).filter_map(|l| l.strip_prefix(b"event:")).last().map(<[u8]>::trim_ascii)
}

/// The same event with other data, which must be one line.
pub(crate) fn with_data(event: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64);
    for line in lines(event).filter(|l| !l.is_empty() && data_of(l).is_none()) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out
}

pub(crate) fn message(data: &[u8]) -> Vec<u8> {
    with_data(b"event: message\n\n", data)
}

fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    event.split(|b| matches!(b, b'\n' | b'\r'))
}

fn data_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data:") {
        Some(rest) => Some(rest.strip_prefix(b" ").unwrap_or(rest)),
        None => (line == b"data").then_some(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[&str] = &[
        ": ping\r\n\r\n",
        "id: 1\ndata: \n\n",
        "event: message\r\ndata: {\"a\":1}\r\nid: 2\r\n\r\n",
        "data: one\ndata: two\n\n",
        "data:x\r\r",
        "retry: 5\n\n",
    ];

    #[test]
    fn every_way_to_cut_the_bytes_gives_the_same_events_at_once() {
        let whole: String = STREAM.concat();
        for cut in 0..=whole.len() {
            let mut splitter = Splitter::new();
            let (a, b) = whole.as_bytes().split_at(cut);
            let mut got = splitter.push(a);
            got.extend(splitter.push(b));
            assert_eq!(String::from_utf8(got.concat()).unwrap(), whole, "cut at {cut}");
            assert_eq!(splitter.held(), 0);
            let data: Vec<_> = got.iter().map(|e| String::from_utf8(data(e)).unwrap()).filter(|d| !d.is_empty()).collect();
            assert_eq!(data, ["{\"a\":1}", "one\ntwo", "x"], "cut at {cut}");
        }
    }

    #[test]
    fn an_event_is_not_held_back_for_the_second_half_of_its_line_end() {
        let mut splitter = Splitter::new();
        assert_eq!(splitter.push(b"data: x\r\n\r"), [b"data: x\r\n\r"]);
        assert_eq!(splitter.push(b"\ndata: y"), [b"\n"]);
        assert_eq!(splitter.held(), 7);
    }

    #[test]
    fn other_lines_survive_new_data() {
        let event = b"event: message\r\nid: 7\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n";
        assert_eq!(data(event), b"{\"a\":\n1}");
        assert_eq!(with_data(event, b"{}"), b"event: message\nid: 7\ndata: {}\n\n");
    }
}
