//! Server-sent events (HTML Standard §9.2.6), as far as a probe needs them: name and data of each event.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty means `message`.
    pub name: String,
    pub data: String,
}

/// Splits a byte stream into events. Holds at most `max` bytes of one unfinished event; a longer one is dropped and counted.
#[derive(Debug)]
pub struct Events {
    max: usize,
    line: Vec<u8>,
    after_cr: bool,
    event: Event,
    has_data: bool,
    pub dropped: u64,
}

impl Events {
    pub fn new(max: usize) -> Events {
        Events { max, line: Vec::new(), after_cr: false, event: Event::default(), has_data: false, dropped: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut out = Vec::new();
        for &byte in bytes {
            let lf_of_crlf = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match byte {
                _ if lf_of_crlf => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    out.extend(self.take_line(&String::from_utf8_lossy(&line)));
                }
                _ if self.line.len() + self.event.data.len() >= self.max => {
                    self.dropped = self.dropped.saturating_add(1);
                    self.line.clear();
                    self.event = Event::default();
                    self.has_data = false;
                }
                _ => self.line.push(byte),
            }
        }
        out
    }

    fn take_line(&mut self, line: &str) -> Option<Event> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priming_comments_and_line_ends_do_not_matter() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["id: 1", "data: ", "", ": ping", "", "event: endpoint", "data: /m?sessionId=1", "", ""].join(end);
            for step in 1..text.len() {
                let mut events = Events::new(4096);
                let got: Vec<Event> = text.as_bytes().chunks(step).flat_map(|c| events.push(c)).collect();
                let want =
                    [Event { name: String::new(), data: String::new() }, Event { name: "endpoint".into(), data: "/m?sessionId=1".into() }];
                assert_eq!(got, want, "{end:?} by {step}");
            }
        }
    }

    #[test]
    fn an_endless_event_is_dropped_not_kept() {
        let mut events = Events::new(64);
        assert!(events.push(&[b'd'; 10_000]).is_empty());
        assert!(events.dropped > 0 && events.line.len() <= 64);
    }
}
