//! Server-sent events (HTML Standard §9.2.6), as far as a probe needs them: name and data of each event, as text.
//!
//! The decoder is that of captured streams, [`crate::dissect::sse`]. Here an event that only primes the stream counts, and one that is
//! not whole does not: there is nothing to guess from its beginning, since the probe can ask again.

use crate::dissect::sse::Decoder;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty means `message`.
    pub name: String,
    pub data: String,
}

/// Splits a byte stream into events. Holds at most `max` bytes of one unfinished event; a longer one is dropped.
#[derive(Debug)]
pub struct Events {
    decoder: Decoder,
}

impl Events {
    pub fn new(max: usize) -> Events {
        Events { decoder: Decoder::primed(max) }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut out = Vec::new();
        self.decoder.feed(bytes, |event| {
            if event.whole {
                let data = String::from_utf8_lossy(event.data).into_owned();
                out.push(Event { name: event.name.to_owned(), data });
            }
        });
        out
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
        assert!(events.decoder.buffered() <= 64);
        // Its end is awaited, it is not told, and the next one is.
        let rest: Vec<Event> = events.push(b"\n\ndata: next\n\n");
        assert_eq!(rest, [Event { name: String::new(), data: "next".into() }]);
        assert_eq!(events.decoder.lost, 1);
    }
}
