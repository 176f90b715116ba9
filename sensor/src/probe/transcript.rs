//! What was said and heard, kept for people: one file per server, redacted, bounded, safe to show on a terminal.
//!
//! Exchanges wait in memory until their endpoint turns out to hold a server; of what does not, nothing is written.

use rules::{Timestamp, endpoint::Endpoint};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

mod redact;

use redact::shown;

/// One request, and what came back on its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// `tls` or `tcp`, and what the handshake showed.
    pub over: String,
    pub sent: Vec<u8>,
    /// At most [`Exchange::MAX`].
    pub received: Vec<u8>,
    /// How it ended, when not with a whole answer.
    pub ended: &'static str,
}

impl Exchange {
    pub const MAX: usize = 16 << 10;
}

/// Endpoints whose exchanges are held, exchanges of one, files of one run.
const MAX_WAITING: usize = 1024;
const MAX_EXCHANGES: usize = 40;
const MAX_FILES: u32 = 10_000;

/// The transcripts of one scan.
#[derive(Debug)]
pub(super) struct Transcripts {
    dir: PathBuf,
    waiting: BTreeMap<Endpoint, Vec<(Timestamp, Exchange)>>,
    order: VecDeque<Endpoint>,
    pub(super) written: u32,
    /// What did not fit, or could not be written.
    pub(super) lost: u64,
}

impl Transcripts {
    /// Makes `dir` (mode 0700) where there is none, and fails where one cannot write.
    pub(super) fn open(dir: &Path) -> io::Result<Transcripts> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Better to learn it now than after an hour of asking.
        let trial = dir.join(format!(".gnomon-{}", std::process::id()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial)?;
        fs::remove_file(&trial)?;
        Ok(Transcripts { dir: dir.to_owned(), waiting: BTreeMap::new(), order: VecDeque::new(), written: 0, lost: 0 })
    }

    pub(super) fn add(&mut self, endpoint: Endpoint, exchanges: Vec<Exchange>, at: Timestamp) {
        // What is only refused or silent is no server.
        let heard = exchanges.into_iter().filter(|e| !e.received.is_empty() || !e.over.is_empty());
        for exchange in heard {
            if !self.waiting.contains_key(&endpoint) {
                self.order.push_back(endpoint);
                if self.order.len() > MAX_WAITING
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.waiting.remove(&oldest);
                }
            }
            let kept = self.waiting.entry(endpoint).or_default();
            if kept.len() < MAX_EXCHANGES {
                kept.push((at, exchange));
            } else {
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    /// The endpoint holds a server, or what may be one.
    pub(super) fn write(&mut self, endpoint: Endpoint) {
        let Some(exchanges) = self.waiting.remove(&endpoint) else { return };
        self.order.retain(|e| *e != endpoint);
        let text = text(endpoint, &exchanges);
        let done = (self.written < MAX_FILES).then(|| create(&self.dir, endpoint).and_then(|mut f| f.write_all(text.as_bytes())));
        match done {
            Some(Ok(())) => self.written += 1,
            Some(Err(why)) => {
                tracing::warn!(%endpoint, %why, "a transcript could not be written");
                self.lost = self.lost.saturating_add(1);
            }
            None => self.lost = self.lost.saturating_add(1),
        }
    }
}

/// A new file: what is there is neither followed (a link) nor overwritten.
fn create(dir: &Path, endpoint: Endpoint) -> io::Result<fs::File> {
    let stem = file_stem(endpoint);
    for number in 0..1000 {
        let name = if number == 0 { format!("{stem}.txt") } else { format!("{stem}-{number}.txt") };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name)) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there are 1000 transcripts of {stem}")))
}

/// `10.0.0.5_3001`, `fd00--10_8000`: of the address and the port alone; nothing a stranger says names a file.
fn file_stem(endpoint: Endpoint) -> String {
    format!("{}_{}", endpoint.address.to_string().replace(':', "-"), endpoint.port)
}

fn text(endpoint: Endpoint, exchanges: &[(Timestamp, Exchange)]) -> String {
    let mut out = format!("# {endpoint}, asked by gnomon {}; secrets are left out\n", env!("CARGO_PKG_VERSION"));
    for (at, exchange) in exchanges {
        out.push_str(&format!("\n# {at} {}\n", rules::printable::printable(&exchange.over, 300)));
        lines(&mut out, "> ", &exchange.sent);
        lines(&mut out, "< ", &exchange.received);
        if exchange.received.len() >= Exchange::MAX {
            out.push_str(&format!("# cut after {} bytes\n", Exchange::MAX));
        }
        if !exchange.ended.is_empty() {
            out.push_str(&format!("# {}\n", exchange.ended));
        }
    }
    out
}

fn lines(out: &mut String, signature: &str, bytes: &[u8]) {
    for line in shown(bytes).lines() {
        out.push_str(signature);
        out.push_str(line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn exchange(sent: &str, received: &str) -> Exchange {
        Exchange { over: "tcp".into(), sent: sent.into(), received: received.into(), ended: "" }
    }

    #[test]
    fn a_server_has_one_file_only_its_owner_reads_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("evidence");
        let endpoint: Endpoint = "[fd00::10]:8000".parse().unwrap();
        let other: Endpoint = "10.0.0.5:80".parse().unwrap();
        for _ in 0..2 {
            let mut transcripts = Transcripts::open(&place).unwrap();
            transcripts.add(endpoint, vec![exchange("POST /mcp HTTP/1.1\r\n\r\n{}", "HTTP/1.1 200 OK\r\n\r\n")], Timestamp::UNIX_EPOCH);
            transcripts.add(other, vec![exchange("x", "y")], Timestamp::UNIX_EPOCH);
            transcripts.write(endpoint);
            assert_eq!((transcripts.written, transcripts.lost), (1, 0));
        }
        let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|f| f.unwrap()).collect();
        names.sort_by_key(fs::DirEntry::file_name);
        assert_eq!(names.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), ["fd00--10_8000-1.txt", "fd00--10_8000.txt"]);
        assert!(names.iter().all(|f| f.metadata().unwrap().permissions().mode() & 0o777 == 0o600));
        let text = fs::read_to_string(names[0].path()).unwrap();
        assert!(text.contains("> POST /mcp HTTP/1.1\n") && text.contains("< HTTP/1.1 200 OK\n"), "{text}");
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut transcripts = Transcripts::open(dir.path()).unwrap();
        for port in 1..5000 {
            let endpoint = Endpoint::new("10.0.0.5".parse().unwrap(), port);
            transcripts.add(endpoint, vec![exchange("a", "b"); 50], Timestamp::UNIX_EPOCH);
        }
        assert_eq!((transcripts.waiting.len(), transcripts.order.len()), (MAX_WAITING, MAX_WAITING));
        assert!(transcripts.waiting.values().all(|e| e.len() <= MAX_EXCHANGES));
        assert!(transcripts.lost > 0);
    }
}
